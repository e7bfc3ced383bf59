// The cards of the reasoning: what a step says, and what is measured on its mask.

import { make } from "./elements.js";
import { formatArea, formatCoverage, formatDistance, formatObjects } from "./numbers.js";

/** The list of cards. `onPreview(step | null)` while one is pointed at or focused, `onPin(step)` when it is chosen. */
export class StepList {
  #list;
  #cards = new Map();
  #handlers;

  constructor(list, handlers) {
    this.#list = list;
    this.#handlers = handlers;
  }

  clear() {
    this.#cards.clear();
    this.#list.replaceChildren();
  }

  /** Draw or redraw a card; `where` says on which image it lies, empty with one image; `hasBoth`: optical and SAR. */
  put(step, where, hasBoth) {
    let card = this.#cards.get(step.step);
    if (!card) {
      card = this.#make(step.step);
      this.#cards.set(step.step, card);
      this.#list.append(card);
    }
    card.style.setProperty("--color", step.color);
    card.classList.toggle("disagrees", step.agrees === false);
    card.querySelector(".words").textContent = step.text || "(no words)";
    const parts = [];
    if (step.finding) parts.push(make("p", { className: "finding", textContent: step.finding }));
    parts.push(facts(step, where));
    if (hasBoth) parts.push(evidence(step));
    for (const { message } of step.disagreements ?? []) parts.push(warning(message));
    card.querySelector(".body").replaceChildren(...parts);
  }

  drop(step) {
    this.#cards.get(step)?.remove();
    this.#cards.delete(step);
  }

  /** Mark which steps are chosen, and which lie on another picture than the shown ones. */
  mark(chosen, isElsewhere) {
    for (const [step, card] of this.#cards) {
      card.querySelector(".head").ariaPressed = String(chosen.has(step));
      card.classList.toggle("chosen", chosen.has(step));
      card.classList.toggle("elsewhere", isElsewhere(step));
    }
  }

  #make(step) {
    const card = make("li", { className: "step" });
    card.dataset.step = step;
    const head = make("button", { type: "button", className: "head", ariaPressed: "false" });
    const swatch = make("span", { className: "swatch", ariaHidden: "true" });
    head.append(swatch, make("span", { className: "number", textContent: `${step}.` }), make("span", { className: "words" }));
    card.append(head, make("div", { className: "body" }));
    const { onPreview, onPin } = this.#handlers;
    // A finger has no hovering: its tap chooses, and a preview would stay behind.
    card.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && onPreview(step));
    card.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && onPreview(null));
    head.addEventListener("focus", () => head.matches(":focus-visible") && onPreview(step));
    head.addEventListener("blur", () => onPreview(null));
    card.addEventListener("click", (event) => {
      if (event.target.closest(".head") || !getSelection().toString()) onPin(step);
    });
    return card;
  }
}

function facts(step, where) {
  const list = make("dl", { className: "facts" });
  const rows = [
    ["Image", where],
    ["Coverage", formatCoverage(step.coverage_percent)],
    ["Area", step.area_m2 == null ? "scale unknown" : formatArea(step.area_m2)],
    ["Found", formatObjects(step.num_objects)],
    ["Position", step.position],
    ["To step before", step.distance_to_previous_step_m == null ? null : formatDistance(step.distance_to_previous_step_m)],
    ["Confidence", step.confidence.toFixed(2)],
  ];
  for (const [name, value] of rows) {
    if (!value) continue;
    const part = make("div");
    part.dataset.fact = name.toLowerCase();
    part.append(make("dt", { textContent: name }), make("dd", { textContent: value }));
    list.append(part);
  }
  return list;
}

/** The share of optical and of SAR tokens that the mask brought into the reasoning. */
function evidence({ num_optical_tokens: optical, num_sar_tokens: sar }) {
  const part = make("div", { className: "evidence" });
  const all = optical + sar;
  if (!all) {
    part.textContent = "looked at nothing: no visual tokens";
    return part;
  }
  const bar = make("span", { className: "bar", ariaHidden: "true" });
  const [one, two] = ["optical", "sar"].map((name) => make("span", { className: name }));
  one.style.setProperty("flex-grow", optical);
  two.style.setProperty("flex-grow", sar);
  bar.append(...(optical ? [one] : []), ...(sar ? [two] : []));
  const share = (number) => `${Math.round((100 * number) / all)} %`;
  const legend = make("span", { className: "legend" });
  legend.append(
    make("span", { className: "optical", textContent: `optical ${share(optical)}` }),
    make("span", { className: "sar", textContent: `SAR ${share(sar)}` }),
  );
  part.title = `${optical} optical and ${sar} SAR tokens`;
  part.append(make("span", { className: "label", textContent: "Looked at" }), bar, legend);
  return part;
}

function warning(message) {
  const line = make("p", { className: "warning" });
  line.append(make("b", { textContent: "Text and mask disagree. " }), message);
  return line;
}
