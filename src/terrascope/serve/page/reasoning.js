// A reasoning while it is written: a rough reading of terrascope.trace's grammar, until the answer brings the exact one.

const SEG = "[SEG]";
const SENTENCE_BREAK = /(?<=[.!?])\s+|\s*\n\s*/g;

/** `{steps: [{text, finding}], draft, answer}`: `draft` is what no mask belongs to yet, `answer` null until it begins. */
export function readReasoning(written) {
  // A letter or a tag may be half written.
  const text = written.replace(/\uFFFD+$/, "").replace(/<\/?[a-z]*$|\[S?E?G?$/, "");
  const [thought, answered] = text.split("<answer>");
  const plain = thought.replace(/<\/?think>/g, "");
  const gaps = plain.split(SEG);
  const steps = [];
  let open = "";
  gaps.forEach((gap, at) => {
    const isLast = at === gaps.length - 1;
    const { before, lead } = at === 0 ? { before: "", lead: gap } : cut(gap, isLast);
    if (steps.length) steps[steps.length - 1].finding = before.trim();
    if (isLast) open = lead;
    else steps.push({ text: withoutImage(lead), finding: "" });
  });
  return { steps, draft: withoutImage(open), answer: answered === undefined ? null : answered.replace("</answer>", "").trim() };
}

const withoutImage = (text) => text.replace(/\s*Image:\s*\d*\s*$/i, "").trim();

/** What is said of the mask before, and the sentence that leads to the next one. */
function cut(gap, isLast) {
  const trimmed = isLast ? gap : gap.trimEnd();
  const breaks = [...trimmed.trimStart().matchAll(SENTENCE_BREAK)];
  const last = breaks.at(-1);
  if (!last) return isLast || /[.!?]$/.test(trimmed) ? { before: gap, lead: "" } : { before: "", lead: gap };
  const text = trimmed.trimStart();
  return { before: text.slice(0, last.index), lead: text.slice(last.index + last[0].length) };
}
