// The images of the scene to be asked: what they are, of which day, in which order they are sent.

import { make } from "./elements.js";
import { formatSize } from "./numbers.js";

const SAR_WORD = /^(sar|s1(?!\d).*|vv|vh|hh|hv|vvvh|grd|rtc|slc|sigma0|gamma0)$/;

/** `optical` or `sar`, by the words of a file's name. */
export function guessKind(name) {
  const words = name.toLowerCase().split(/[^a-z0-9]+/);
  return words.some((word) => SAR_WORD.test(word)) || /sentinel[-_ ]?1(?!\d)/i.test(name) ? "sar" : "optical";
}

/** The one day that a name holds, `YYYY-MM-DD`; empty for none or several, as `terrascope.rasters.product_names.date_in`. */
export function guessDate(name) {
  const days = new Set();
  for (const [, year, , month, day] of name.matchAll(/(?<!\d)(\d{4})([-:]?)(\d{2})\2(\d{2})(?!\d)/g)) {
    const text = `${year}-${month}-${day}`;
    const date = new Date(`${text}T00:00:00Z`);
    const isDay = !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text);
    if (isDay && year >= 1960 && year <= 2100) days.add(text);
  }
  return days.size === 1 ? [...days][0] : "";
}

/** A name without the last band in it, and that band; null where it holds none. `pattern` is what `/v1/limits` tells. */
export function splitBand(name, pattern) {
  const found = [...name.matchAll(new RegExp(pattern, "gi"))].at(-1);
  if (!found) return null;
  return { image: `${name.slice(0, found.index)}*${name.slice(found.index + found[0].length)}`, band: found[0] };
}

/**
 * The images with files of one band each brought together, as their names say: those that differ in the band alone.
 * A band that an image has begins the next one.
 */
export function groupBands(images, pattern) {
  const known = new Map();
  return images.filter((image) => {
    const split = pattern && image.files && !image.isApart && splitBand(image.files[0].name, pattern);
    if (!split) return true;
    const key = `${image.kind} ${split.image}`;
    const last = known.get(key);
    const bands = new Set(last?.files.map((file) => splitBand(file.name, pattern).band.toLowerCase()));
    if (!last || image.files.some((file) => bands.has(splitBand(file.name, pattern).band.toLowerCase()))) {
      known.set(key, image);
      return true;
    }
    last.files = [...last.files, ...image.files];
    last.name = split.image;
    return false;
  });
}

/**
 * The scene's part of the form.
 *
 * Images of a kind go in the order of their days, so that the first of both kinds belong together. Days are stated
 * where all images of the leading kind have one, and none of the other kind has another: a SAR image of the next day
 * keeps its own, which its name tells the server.
 */
export function appendImages(form, images) {
  if (images.some((image) => image.sample)) {
    form.append("sample", "demo");
    return;
  }
  const kinds = ["optical", "sar"].map((kind) => inOrder(images.filter((image) => image.kind === kind)));
  kinds.flat().forEach((image) => {
    if (image.path) form.append(`${image.kind}_path`, image.path);
    const field = image.files?.length > 1 ? `${image.kind}_bands` : image.kind;
    for (const file of image.files ?? []) form.append(field, file, file.name);
  });
  const [leading, other] = kinds[0].length ? kinds : [kinds[1], kinds[0]];
  const isStated = leading.every((image) => image.date);
  const areOneDay = other.every((image, at) => !image.date || image.date === leading[at]?.date);
  if (isStated && (areOneDay || images.some((image) => image.isDated))) {
    leading.forEach((image) => form.append("date", image.date));
  }
}

function inOrder(images) {
  if (!images.every((image) => image.date)) return images;
  return [...images].sort((a, b) => (a.date < b.date ? -1 : a.date > b.date ? 1 : 0));
}

/** The list on the page: a row per image. */
export class ImageList {
  #list;
  #onChange;
  #bandPattern = null;

  constructor(list, onChange) {
    this.#list = list;
    this.#onChange = onChange;
    this.images = [];
  }

  /** How a band stands in the name of a file, as a regular expression. */
  set bandPattern(pattern) {
    this.#bandPattern = pattern;
    this.#changed();
  }

  addFiles(files) {
    for (const file of files) this.#add({ files: [file], name: file.name });
    this.#changed();
  }

  addPath(path) {
    this.#add({ path, name: path, note: "on the server" });
    this.#changed();
  }

  useSample() {
    this.images = [{ sample: true, name: "Sample scene", note: "generated: a lake half under clouds, optical and SAR, 10 m" }];
    this.#changed();
  }

  #add(image) {
    this.images = this.images.filter((other) => !other.sample);
    const base = image.name.split("/").pop();
    this.images.push({ ...image, kind: guessKind(base), date: guessDate(base), isDated: false });
  }

  #remove(image) {
    const at = this.images.indexOf(image);
    this.images = this.images.filter((other) => other !== image);
    this.#changed();
    // The focus stays in the list, or goes to what fills it.
    const rows = this.#list.querySelectorAll(".remove");
    (rows[Math.min(at, rows.length - 1)] ?? document.querySelector("#files")).focus();
  }

  /** Let each file of an image be an image. */
  #separate(image) {
    const apart = image.files.map((file) => ({ ...image, files: [file], name: file.name, isApart: true }));
    this.images.splice(this.images.indexOf(image), 1, ...apart);
    this.#changed();
    this.#list.querySelector("select")?.focus();
  }

  #changed() {
    this.images = groupBands(this.images, this.#bandPattern);
    this.#list.replaceChildren(...this.images.map((image, at) => this.#row(image, at + 1)));
    this.#onChange();
  }

  #row(image, number) {
    const row = document.createElement("li");
    const title = image.files?.map((file) => file.name).join("\n") ?? image.name;
    const name = make("span", { className: "name", textContent: image.name, title });
    const size = image.files && formatSize(image.files.reduce((sum, file) => sum + file.size, 0));
    const note = make("span", { className: "note", textContent: image.note ?? size });
    const remove = make("button", { type: "button", className: "remove", textContent: "×", ariaLabel: `Remove ${image.name}` });
    remove.addEventListener("click", () => this.#remove(image));
    row.append(name, remove);
    if (image.sample) {
      row.append(note);
      return row;
    }
    const kind = make("select", { ariaLabel: `Kind of image ${number}` });
    kind.append(new Option("optical", "optical"), new Option("SAR", "sar"));
    kind.value = image.kind;
    kind.addEventListener("change", () => {
      image.kind = kind.value;
      this.#onChange();
    });
    const date = make("input", { type: "date", value: image.date, ariaLabel: `Day of image ${number}`, min: "1960-01-01", max: "2100-12-31" });
    date.addEventListener("change", () => Object.assign(image, { date: date.value, isDated: true }));
    const fields = make("span", { className: "row" });
    fields.append(kind, date, note);
    row.append(fields);
    if (image.files?.length > 1) row.append(this.#bands(image));
    return row;
  }

  /** What was brought together, and the way back. */
  #bands(image) {
    const bands = image.files.map((file) => splitBand(file.name, this.#bandPattern).band);
    const line = make("p", { className: "note bands", textContent: `One image of ${bands.length} files: ${bands.join(", ")}. ` });
    const separate = make("button", { type: "button", className: "only", textContent: "Separate them", ariaLabel: `Separate ${image.name}` });
    separate.addEventListener("click", () => this.#separate(image));
    line.append(separate);
    return line;
  }
}
