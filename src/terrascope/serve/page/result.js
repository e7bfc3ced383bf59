// The answer on the page: from the first event of a question to its last.

import { at, make } from "./elements.js";
import { makeLayer } from "./mask_layer.js";
import { formatArea, formatCoverage } from "./numbers.js";
import { Place } from "./place.js";
import { readReasoning } from "./reasoning.js";
import { decodeRle } from "./rle.js";
import { describeScene } from "./scene_text.js";
import { Stage } from "./stage.js";
import { StepList } from "./steps.js";

const LETTERS = "ABCDE";
/** A mask with a longer side is drawn reduced; its numbers come from the server. */
const MAX_MASK_SIDE = 2048;

export class Result {
  constructor() {
    this.stage = new Stage();
    this.cards = new StepList(at("steps"), {
      onPreview: (step) => this.#preview(step),
      onPin: (step) => this.#pin(step),
    });
    this.#reset();
    at("all-masks").addEventListener("click", () => {
      const areAll = this.chosen.size === this.steps.size;
      this.chosen = new Set(areAll ? [] : this.steps.keys());
      this.#show();
    });
    this.stage.onPicture = () => this.#show();
  }

  #reset() {
    this.steps = new Map();
    this.chosen = new Set();
    this.preview = null;
    this.scene = null;
    this.cards.clear();
  }

  /** A question was sent. */
  begin(question, options) {
    this.#reset();
    this.stage.clear();
    at("welcome").hidden = true;
    at("answer").hidden = false;
    at("answer").setAttribute("aria-busy", "true");
    at("asked").textContent = question;
    this.#showOptions(options, null);
    this.#say("…");
    for (const id of ["measured-part", "warnings", "files-part", "scene-part", "raw-part", "all-masks"]) at(id).hidden = true;
    for (const id of ["introduction", "conclusion"]) at(id).textContent = "";
    this.#draft("");
  }

  /** The `scene` event. Resolves once its pictures can be drawn. */
  async showScene({ scene, corners, pictures }, statedPixelSize) {
    this.scene = scene;
    const place = new Place(scene, corners);
    await this.stage.setScene(scene, place, pictures ?? [], scene.scale_basis ? statedPixelSize || place.metresPerPixel() : null);
    at("scene-part").hidden = false;
    at("scene").replaceChildren(...describeScene(scene));
  }

  /** The `text` event. */
  showText(text) {
    const { steps, draft, answer } = readReasoning(text);
    steps.forEach((step, index) => {
      const known = this.steps.get(index + 1);
      if (known && (known.text !== step.text || known.finding !== step.finding)) this.#put({ ...known, ...step });
    });
    this.written = steps;
    // What a mask is being made for is shown until its card is there.
    const waiting = steps.slice(this.steps.size).map((step) => step.text);
    this.#draft(answer === null ? [...waiting, draft].join(" ").trim() || "…" : "");
    if (answer) this.#say(answer);
  }

  /** The `mask` event; returns a sentence of it. */
  showMask(mask) {
    const words = this.written?.[mask.step - 1] ?? { text: "", finding: "" };
    this.stage.setMask(mask.step, mask.image, mask.color, makeLayer(decodeRle(mask.mask_rle, MAX_MASK_SIDE), mask.color));
    this.#put({ ...mask, ...words, agrees: true, disagreements: [] });
    this.#draft("");
    this.#choose(mask.step);
    const area = mask.area_m2 == null ? "" : `, ${formatArea(mask.area_m2)}`;
    return `Step ${mask.step}: ${words.text} covers ${formatCoverage(mask.coverage_percent)}${area}.`;
  }

  /** The `answer` event; returns a sentence of it. */
  showAnswer(answer) {
    for (const number of [...this.steps.keys()].filter((one) => one > answer.steps.length)) this.#drop(number);
    for (const step of answer.steps) {
      const known = this.steps.get(step.step);
      const color = step.color ?? known?.color ?? "#e6550d";
      if (!known || known.color !== color || known.mask_rle?.counts !== step.mask_rle.counts) {
        this.stage.setMask(step.step, step.image, color, makeLayer(decodeRle(step.mask_rle, MAX_MASK_SIDE), color));
      }
      this.#put({ ...known, ...step, color });
    }
    const measured = answer.steps.find((step) => step.area_m2 && step.num_pixels);
    if (measured) this.stage.setScale(Math.sqrt(measured.area_m2 / measured.num_pixels));
    at("introduction").textContent = answer.introduction;
    at("conclusion").textContent = answer.conclusion;
    this.#draft("");
    this.#showOptions(answer.options, answer.answer_option);
    const said = answer.answer_option ? `${answer.answer}. ${answer.answer_option}` : answer.answer || "none";
    this.#say(said);
    at("measured-part").hidden = answer.measured === null;
    at("measured").textContent = answer.measured ?? "";
    this.#warn(answer);
    at("all-masks").hidden = answer.steps.length < 2;
    at("raw-part").hidden = false;
    at("raw").textContent = answer.reasoning;
    this.#show();
    const measurement = answer.measured === null ? "" : ` Measured on the masks: ${answer.measured}.`;
    return `Answer: ${said}.${measurement}`;
  }

  /** There was no scene to reason about. */
  giveUp() {
    at("welcome").hidden = false;
    at("answer").hidden = true;
  }

  /** Nothing more comes. */
  end() {
    at("answer").setAttribute("aria-busy", "false");
    this.#draft("");
    if (at("said").textContent === "…") this.#say("none");
  }

  #say(text) {
    at("said").textContent = text;
    at("said").classList.toggle("waiting", text === "…");
  }

  #draft(text) {
    at("draft").hidden = !text;
    at("draft").textContent = text;
  }

  #put(step) {
    this.steps.set(step.step, step);
    const images = this.scene?.images ?? [];
    const date = images[step.image - 1]?.date;
    const hasBoth = images.some((image) => image.optical) && images.some((image) => image.sar);
    this.cards.put(step, images.length > 1 ? [step.image, date].filter(Boolean).join(" · ") : "", hasBoth);
  }

  #drop(number) {
    this.steps.delete(number);
    this.chosen.delete(number);
    this.cards.drop(number);
    this.stage.dropMask(number);
  }

  #showOptions(options, chosen) {
    at("chosen").hidden = !options.length;
    at("chosen").replaceChildren(
      ...options.map((option, index) => {
        const item = make("li", { className: option === chosen ? "chosen" : "" });
        item.append(make("b", { textContent: LETTERS[index] }), ` ${option}`);
        return item;
      }),
    );
  }

  #warn({ num_disagreements: number, notes }) {
    at("warnings").hidden = !number && !notes.length;
    const lines = notes.map((note) => make("p", { textContent: note }));
    if (number) {
      const line = make("p");
      const words = number === 1 ? "1 stated number disagrees" : `${number} stated numbers disagree`;
      line.append(make("b", { textContent: `${words} with the masks.` }), " Trust the measured numbers.");
      lines.unshift(line);
    }
    at("warnings").replaceChildren(...lines);
  }

  #isOn(image) {
    return this.stage.images().includes(image);
  }

  #preview(step) {
    this.preview = step;
    this.#show();
  }

  #pin(step) {
    if (this.chosen.size === 1 && this.chosen.has(step)) {
      this.chosen.clear();
      this.#show();
    } else this.#choose(step);
  }

  #choose(step) {
    this.chosen = new Set([step]);
    this.stage.turnTo(this.steps.get(step).image);
    this.#show();
  }

  #show() {
    const pointed = this.steps.get(this.preview);
    this.stage.show(pointed ? new Set([this.preview]) : this.chosen, pointed?.image ?? null);
    this.cards.mark(this.chosen, (step) => !this.#isOn(this.steps.get(step).image));
    at("all-masks").ariaPressed = String(this.steps.size > 0 && this.chosen.size === this.steps.size);
  }
}
