// The scene with its controls: pictures, comparison, opacity, zoom, scale bar, and where the pointer is.

import { at, make } from "./elements.js";
import { scaleFor } from "./place.js";
import { SceneView } from "./scene_view.js";

/** Pixels of the screen. */
const MAX_BAR = 130;

const DIVIDER_STEP = 0.02;

export class Stage {
  #place = null;
  #metresPerPixel = null;
  #pictures = [];
  #chosen = 0;
  #pointed = null;

  constructor() {
    this.onPicture = () => {};
    this.view = new SceneView(at("canvas"), {
      onMove: () => this.#drawScale(),
      onPoint: (point) => this.#tell(point),
    });
    at("zoom-in").addEventListener("click", () => this.view.zoomBy(1.5));
    at("zoom-out").addEventListener("click", () => this.view.zoomBy(1 / 1.5));
    at("zoom-fit").addEventListener("click", () => this.view.fit());
    at("opacity").addEventListener("input", () => {
      this.view.opacity = at("opacity").value / 100;
      this.view.draw();
    });
    for (const id of ["compare", "left", "right"]) at(id).addEventListener("change", () => this.#compare());
    this.#watchDivider();
  }

  clear() {
    this.view.clear();
    this.#place = null;
    this.#metresPerPixel = null;
    this.#pictures = [];
    this.#pointed = null;
    at("readout").textContent = "";
    at("coming").hidden = false;
    at("compare").checked = false;
    for (const id of ["compare-part", "scale"]) at(id).hidden = true;
    this.#compare();
  }

  /** `pictures` as in the scene event. Resolves once they can be drawn. */
  async setScene(scene, place, pictures, metresPerPixel) {
    const elements = await Promise.all(pictures.map(loadPicture));
    this.#place = place;
    this.#metresPerPixel = metresPerPixel;
    this.#pictures = pictures;
    at("coming").hidden = true;
    at("stage").style.setProperty("--width", scene.width_px);
    at("stage").style.setProperty("--height", scene.height_px);
    this.view.setScene(
      scene.width_px,
      scene.height_px,
      pictures.map(({ image, width, height }, index) => ({ image, width, height, element: elements[index] })),
    );
    this.#offerPictures();
    this.#tell(null);
  }

  setMask(step, image, color, layer) {
    this.view.setMask(step, image, color, layer);
  }

  dropMask(step) {
    this.view.layers.delete(step);
    this.view.draw();
  }

  setScale(metresPerPixel) {
    this.#metresPerPixel = metresPerPixel;
    this.#drawScale();
  }

  /** Numbers of the images that are seen. */
  images() {
    const seen = this.view.sides ?? [this.view.shown];
    return seen.map((index) => this.#pictures[index]?.image).filter((image) => image !== undefined);
  }

  /** Choose a picture of an image, of the same kind as the chosen one if there is one. */
  turnTo(image) {
    this.#chosen = this.#pictureOf(image);
    for (const radio of at("pictures").querySelectorAll("input")) radio.checked = Number(radio.value) === this.#chosen;
  }

  /** Fill the masks of these steps; where one lies on another image than the chosen one, show that `image` meanwhile. */
  show(steps, image) {
    this.view.filled = steps;
    this.#pointed = image;
    this.#draw();
  }

  #pictureOf(image) {
    const now = this.#pictures[this.#chosen];
    if (!now || now.image === image) return this.#chosen;
    const same = this.#pictures.findIndex((other) => other.image === image && other.modality === now.modality);
    const any = this.#pictures.findIndex((other) => other.image === image);
    return same >= 0 ? same : any >= 0 ? any : this.#chosen;
  }

  #draw() {
    this.view.shown = this.#pointed === null ? this.#chosen : this.#pictureOf(this.#pointed);
    this.view.draw();
  }

  #offerPictures() {
    this.#chosen = 0;
    const several = this.#pictures.length > 1;
    at("pictures").hidden = !several;
    at("compare-part").hidden = !several;
    const labels = this.#pictures.map(({ label }, index) => {
      const radio = make("input", { type: "radio", name: "picture", value: index, checked: index === 0 });
      radio.addEventListener("change", () => {
        this.#chosen = index;
        this.#pointed = null;
        this.#draw();
        this.onPicture();
      });
      const line = make("label");
      line.append(radio, ` ${label}`);
      return line;
    });
    at("pictures").replaceChildren(at("pictures").querySelector("legend"), ...labels);
    for (const id of ["left", "right"]) {
      at(id).replaceChildren(...this.#pictures.map(({ label }, index) => new Option(label, index)));
    }
    // Before and after of one kind says more than two kinds of one day.
    const after = this.#pictures.findLastIndex((other) => other.modality === this.#pictures[0]?.modality);
    at("right").value = String(after > 0 ? after : Math.min(1, this.#pictures.length - 1));
  }

  #compare() {
    const isOn = at("compare").checked && this.#pictures.length > 1;
    const sides = isOn ? [Number(at("left").value), Number(at("right").value)] : null;
    this.view.sides = sides;
    at("pictures").hidden = isOn || this.#pictures.length < 2;
    for (const id of ["sides", "divider", "side-left", "side-right"]) at(id).hidden = !isOn;
    if (sides) {
      const [left, right] = sides.map((index) => this.#pictures[index].label);
      at("side-left").textContent = left;
      at("side-right").textContent = right;
      at("divider").ariaLabel = `Divider between ${left} and ${right}`;
    }
    this.#divide(0.5);
    this.onPicture();
  }

  #divide(share) {
    this.view.divider = Math.min(Math.max(share, 0), 1);
    const percent = Math.round(100 * this.view.divider);
    at("divider").style.setProperty("left", `${100 * this.view.divider}%`);
    at("divider").ariaValueNow = String(percent);
    at("divider").ariaValueText = `${percent} % of the left picture`;
    this.view.draw();
  }

  #watchDivider() {
    const divider = at("divider");
    const follow = (event) => {
      const box = at("stage").getBoundingClientRect();
      this.#divide((event.clientX - box.left) / box.width);
    };
    divider.addEventListener("pointerdown", (event) => {
      divider.setPointerCapture(event.pointerId);
      event.preventDefault();
      divider.focus();
    });
    divider.addEventListener("pointermove", (event) => divider.hasPointerCapture(event.pointerId) && follow(event));
    const moves = {
      ArrowLeft: -DIVIDER_STEP,
      ArrowDown: -DIVIDER_STEP,
      ArrowRight: DIVIDER_STEP,
      ArrowUp: DIVIDER_STEP,
      PageDown: -5 * DIVIDER_STEP,
      PageUp: 5 * DIVIDER_STEP,
      Home: -1,
      End: 1,
    };
    divider.addEventListener("keydown", (event) => {
      if (!(event.key in moves)) return;
      event.preventDefault();
      this.#divide(this.view.divider + moves[event.key]);
    });
  }

  #drawScale() {
    const metres = this.#metresPerPixel;
    at("scale").hidden = !metres;
    if (!metres) return;
    const perPixel = metres / this.view.zoom;
    const { metres: length, text } = scaleFor(MAX_BAR * perPixel);
    at("scale").style.setProperty("width", `${length / perPixel}px`);
    at("scale").firstElementChild.textContent = text;
  }

  /** Where a point of the grid lies; without one, what is known of the whole. */
  #tell(point) {
    if (!this.#place) return;
    const { width, height, crs } = this.#place;
    const [column, row] = point ?? [-1, -1];
    const isInside = column >= 0 && row >= 0 && column < width && row < height;
    const parts = isInside ? this.#whereabouts(column, row) : [`${width} × ${height} pixels`, crs ?? "no CRS", northNote(this.#place)];
    at("readout").replaceChildren(...parts.filter(Boolean).map((textContent) => make("span", { textContent })));
  }

  #whereabouts(column, row) {
    const map = this.#place.map(column, row);
    const lonLat = this.#place.lonLat(column, row);
    const isGeographic = this.#place.crs === "EPSG:4326";
    const inMap = map && !isGeographic && `x ${inUnits(map[0])}, y ${inUnits(map[1])}`;
    const about = lonLat && !lonLat.isExact ? "about " : "";
    const inDegrees =
      lonLat &&
      `${about}${Math.abs(lonLat.lat).toFixed(about ? 3 : 5)}° ${lonLat.lat < 0 ? "S" : "N"}, ` +
        `${Math.abs(lonLat.lon).toFixed(about ? 3 : 5)}° ${lonLat.lon < 0 ? "W" : "E"}`;
    return [inDegrees, inMap, `column ${Math.floor(column)}, row ${Math.floor(row)}`];
  }
}

const inUnits = (value) => value.toLocaleString("en", { maximumFractionDigits: Math.abs(value) < 1000 ? 4 : 1 });

function northNote(place) {
  const turn = place.northTurn();
  if (turn === null) return "";
  if (Number.isNaN(turn)) return "mirrored: east is left of north";
  return Math.abs(turn) < 3 ? "north is up" : `north is ${Math.abs(turn).toFixed(0)}° ${turn > 0 ? "right" : "left"} of up`;
}

async function loadPicture({ data, label }) {
  const image = new Image();
  image.src = data;
  await image.decode().catch(() => {
    throw new Error(`the picture "${label}" cannot be shown`);
  });
  return image;
}
