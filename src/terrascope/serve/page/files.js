// The files of an answer: links, or fetched where the server wants a token; and forgetting them.

import { at, make } from "./elements.js";
import { fetchFile, fileAddress, forget, token } from "./server.js";

const TITLES = {
  "report.html": ["Report", "for people, one page that needs nothing else"],
  "masks.geojson": ["GeoJSON", "outlines of the masks"],
  "masks.tif": ["masks.tif", "COG, one band per step"],
  "steps.tif": ["steps.tif", "COG, all steps in one band, with colours"],
  "answer.json": ["answer.json", "everything that was said and measured"],
  "all.zip": ["All as ZIP", "these, GeoParquet, overlay, STAC item"],
};

/** Offer the files of an answer. */
export function offerFiles({ id, files }) {
  const names = Object.keys(TITLES).filter((name) => name === "all.zip" || name in (files ?? {}));
  at("files-part").hidden = !id;
  at("error-files").hidden = true;
  const items = names.map((name) => {
    const link = make("a", { href: fileAddress(id, name), textContent: TITLES[name][0] });
    const isRead = name === "report.html";
    if (isRead) Object.assign(link, { target: "_blank", rel: "noopener" });
    else link.download = name;
    link.addEventListener("click", (event) => token.get() && take(event, id, name));
    const item = make("li");
    item.append(link, " ", make("span", { textContent: TITLES[name][1] }));
    return item;
  });
  const drop = make("button", { type: "button", className: "button quiet", textContent: "Have the server forget this answer" });
  drop.addEventListener("click", () => told(() => forget(id).then(() => at("taken").replaceChildren(gone()))));
  const last = make("li", { className: "forget" });
  last.append(drop);
  at("taken").replaceChildren(...items, last);
}

const gone = () => make("li", { textContent: "The server has forgotten this answer; the page still shows it until you leave." });

/** A link cannot bear a token, so the file is fetched and saved from here. */
function take(event, id, name) {
  event.preventDefault();
  return told(async () => {
    const address = URL.createObjectURL(await fetchFile(id, name));
    make("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  });
}

async function told(work) {
  at("error-files").hidden = true;
  try {
    await work();
  } catch (error) {
    at("error-files").hidden = false;
    at("error-files").textContent = error.message;
  }
}
