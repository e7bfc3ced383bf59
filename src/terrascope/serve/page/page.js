// The page: the form, what happens when a question is sent, and the keys.

import { at, make } from "./elements.js";
import { EXAMPLES } from "./examples.js";
import { offerFiles } from "./files.js";
import { appendImages, ImageList } from "./images.js";
import { forLonger } from "./kept.js";
import { Result } from "./result.js";
import { ask, readLimits, Refusal, token } from "./server.js";

const LETTERS = "ABCDE";
const TEXT_FIELDS = ["sensor", "sar_sensor", "gsd", "nodata", "bbox"];
/** Fields of the form by the names that a refusal gives them; all that concerns images stands beside the scene. */
const PLACES = Object.fromEntries(["question", "option", "token", ...TEXT_FIELDS].map((name) => [name, name]));
for (const name of ["optical", "sar", "optical_bands", "sar_bands", "optical_path", "sar_path", "sample", "date", "reference"]) PLACES[name] = "scene";
/** What a refusal without a field is about. */
const PLACES_BY_CODE = { scene: "scene", scale: "gsd", question: "question", too_large: "scene" };

/** What this page calls the fields that a sentence names. */
const NAMES = {
  sar_sensor: "the SAR sensor",
  sensor: "the optical sensor",
  gsd: "the pixel size",
  nodata: "the no-data number",
  bbox: "the part",
};

const LETTERS_KEY = "terrascope-letters";
const result = new Result();
const images = new ImageList(at("images"), () => {
  hideError("scene");
  at("drop").classList.toggle("small", images.images.length > 0);
});
let limits = {};
let running = null;

const speak = (text) => (at("spoken").textContent = text);
const state = (text) => (at("state").textContent = text);

// ---------------------------------------------------------------------------------------------------------------------
// The form.

function fieldOf(place) {
  if (place === "option") return at("options").querySelector("input");
  return at(place === "scene" ? "files" : place);
}

function showError(place, message) {
  const line = at(`error-${place}`);
  line.textContent = message;
  line.hidden = false;
  const field = fieldOf(place);
  line.closest("details")?.setAttribute("open", "");
  at("part-token").hidden &&= place !== "token";
  field?.setAttribute("aria-invalid", "true");
  field?.focus();
}

function hideError(place) {
  at(`error-${place}`).hidden = true;
  fieldOf(place)?.removeAttribute("aria-invalid");
}

const hideErrors = () => ["scene", "question", "option", "token", "all", ...TEXT_FIELDS].forEach(hideError);

const optionTexts = () => [...at("options").querySelectorAll("input")].map((input) => input.value.trim()).filter(Boolean);

function fillForm() {
  const form = new FormData();
  form.append("question", at("question").value.trim());
  for (const option of optionTexts()) form.append("option", option);
  appendImages(form, images.images);
  for (const name of TEXT_FIELDS) if (at(name).value.trim()) form.append(name, at(name).value.trim());
  for (const name of ["stream", "pictures"]) form.append(name, "true");
  return form;
}

/** What can be seen without the server; true if nothing is missing. */
function isComplete() {
  const files = images.images.flatMap((image) => image.files ?? []);
  const bytes = files.reduce((sum, { size }) => sum + size, 0);
  const megabytes = (number) => `${Math.ceil(number / 2 ** 20)} MB`;
  const problems = [
    [!images.images.length, "scene", "Give a scene: drop an image, choose files, or use the sample."],
    [files.length > limits.max_files, "scene", `${files.length} files are more than the ${limits.max_files} that this server takes.`],
    [bytes > limits.max_upload_bytes, "scene", `${megabytes(bytes)} are more than the ${megabytes(limits.max_upload_bytes)} that this server takes at once.`],
    [!at("question").value.trim(), "question", "Write a question, or choose one of the examples."],
    [optionTexts().length === 1, "option", "Give two to five options, or none."],
  ];
  const wrong = problems.find(([isWrong]) => isWrong);
  if (wrong) showError(wrong[1], wrong[2]);
  return !wrong;
}

// ---------------------------------------------------------------------------------------------------------------------
// A question.

async function send() {
  if (running) return;
  token.set(at("token").value.trim() || token.get());
  hideErrors();
  running = new AbortController();
  // Where a token was wanted, this is the first moment to have them.
  if (!limits.model) await start();
  if (!isComplete()) {
    running = null;
    return;
  }
  setRunning(true);
  const began = performance.now();
  let step = 0;
  state(images.images.some((image) => image.files) ? "Sending the images …" : "Sending …");
  speak("The question was sent.");
  const pixelSize = Number(at("gsd").value) || null;
  result.begin(at("question").value.trim(), optionTexts());
  if (matchMedia("(max-width: 54rem)").matches) at("result").scrollIntoView();
  const handlers = {
    queued: ({ position }) => state(position <= 1 ? "Waiting: you are next." : `Waiting: number ${position} in line.`),
    scene: async (told) => {
      state("Reasoning …");
      await result.showScene(told, pixelSize);
    },
    looked: ({ done, views }) => state(`Looking at the whole scene: ${done} of ${views} views.`),
    text: ({ text }) => result.showText(text),
    mask: (told) => {
      state(`Reasoning … step ${++step}`);
      speak(result.showMask(told));
    },
    answer: (told) => {
      speak(result.showAnswer(told));
      offerFiles(told);
      document.title = `${told.question} – TerraScope`;
      state(`Answered in ${((performance.now() - began) / 1000).toFixed(1)} s.`);
    },
  };
  try {
    for await (const { name, data } of ask(fillForm(), running.signal)) await handlers[name]?.(data);
  } catch (error) {
    fail(error);
  } finally {
    running = null;
    setRunning(false);
    result.end();
  }
}

function fail(error) {
  state("");
  if (!result.scene) result.giveUp();
  if (error.name === "AbortError") {
    state("Stopped.");
    speak("Stopped.");
    return;
  }
  if (!(error instanceof Refusal)) console.error(error);
  const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  const told = [...error.message.matchAll(/the field (\w+)/g)].map(([, name]) => name).filter((name) => NAMES[name]);
  const place = told[0] ?? PLACES[error.field] ?? PLACES_BY_CODE[error.code] ?? "all";
  const message = told.reduce((text, name) => text.replaceAll(`the field ${name}`, NAMES[name]), error.message);
  showError(place, sentence(message) + wait);
}

/** With a full stop, and a capital unless it begins with a name. */
const sentence = (text) =>
  text.replace(/^[a-z]+(?=[ ,])/, (word) => word[0].toUpperCase() + word.slice(1)).replace(/[^.!?]$/, "$&.");

function setRunning(isRunning) {
  at("ask").disabled = isRunning;
  const hadFocus = document.activeElement === at(isRunning ? "ask" : "stop");
  at("stop").hidden = !isRunning;
  if (hadFocus || document.activeElement === document.body) (isRunning ? at("stop") : at("ask")).focus();
}

// ---------------------------------------------------------------------------------------------------------------------
// Wiring.

for (const [kind, question] of EXAMPLES) {
  const chip = make("button", { type: "button", className: "chip", title: question });
  chip.append(make("b", { textContent: kind }), ` ${question}`);
  chip.addEventListener("click", () => {
    at("question").value = question;
    hideError("question");
    at("question").focus();
  });
  at("examples").append(chip);
}
for (const letter of LETTERS) {
  const line = make("li");
  const input = make("input", { ariaLabel: `Option ${letter}`, autocomplete: "off" });
  input.setAttribute("aria-describedby", "error-option");
  line.append(make("b", { textContent: letter, ariaHidden: "true" }), input);
  at("options").append(line);
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
at("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
at("form").addEventListener("input", ({ target }) => {
  if (target.id in PLACES) hideError(target.id);
  if (target.closest("#options")) hideError("option");
});
at("stop").addEventListener("click", () => running?.abort());
at("files").addEventListener("change", () => {
  images.addFiles(at("files").files);
  at("files").value = "";
});
at("sample").addEventListener("click", () => useSample());
function addPath() {
  if (at("path").value.trim()) images.addPath(at("path").value.trim());
  at("path").value = "";
}
at("add-path").addEventListener("click", addPath);
at("path").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  addPath();
});

function useSample() {
  images.useSample();
  if (!at("question").value) at("question").value = EXAMPLES[0][1];
  at("question").focus();
  // Whoever types asks something else.
  at("question").select();
}

// Files may be dropped anywhere; a browser that opened one instead would lose the page.
let depth = 0;
const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragenter", (event) => {
  if (holdsFiles(event)) document.body.classList.toggle("dropping", ++depth > 0);
});
document.addEventListener("dragleave", (event) => {
  if (holdsFiles(event)) document.body.classList.toggle("dropping", --depth > 0);
});
document.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  depth = 0;
  document.body.classList.remove("dropping");
  images.addFiles(event.dataTransfer.files);
});

at("letters-on").checked = forLonger.get(LETTERS_KEY) !== "off";
at("letters-on").addEventListener("change", () => forLonger.set(LETTERS_KEY, at("letters-on").checked ? "" : "off"));
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && running) running.abort();
  const isTyping = event.target.closest?.("input, textarea, select");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !at("letters-on").checked) return;
  // A key that was hit by chance must not throw images away.
  const sample = images.images.length ? null : useSample;
  const action = { s: sample, q: () => at("question").focus() }[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  action();
});

async function start() {
  try {
    limits = await readLimits();
    at("model").textContent = limits.model ? `model ${limits.model}` : "";
    at("sensors").replaceChildren(...(limits.sensors ?? []).map((name) => new Option(name)));
    at("on-server").hidden = !limits.paths;
    images.bandPattern = limits.band_name;
  } catch (error) {
    // Where a token is wanted the page is usable without the limits; the field for it is offered at once.
    if (error.status === 401) at("part-token").hidden = false;
    else showError("all", error.message);
  }
}
start();
