// The scene on a canvas that can be moved and zoomed: pictures, masks, a divider between two pictures.

import { watchGestures } from "./gestures.js";

/** Side, on the screen, to which a pixel of the picture can be enlarged. */
const MAX_PIXEL = 40;

export class SceneView {
  #canvas;
  #context;
  #frame = 0;
  #zoom = 1;
  #center = [0, 0];
  #isFitted = true;

  /**
   * `onMove()` is called whenever another part is shown, `onPoint([column, row] | null)` where the pointer is.
   */
  constructor(canvas, { onMove, onPoint }) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.onMove = onMove;
    this.clear();
    watchGestures(canvas, {
      drag: (dx, dy) => this.moveBy(-dx, -dy),
      zoom: (factor, x, y) => this.zoomBy(factor, x, y),
      fit: () => this.fit(),
      point: (x, y) => onPoint(x === null ? null : this.gridAt(x, y)),
      isFitted: () => this.#isFitted,
    });
    new ResizeObserver(() => this.#resize()).observe(canvas);
    // A window that moves to another screen changes its pixels, not its size.
    matchMedia(`(resolution: ${devicePixelRatio}dppx)`).addEventListener("change", () => this.#resize());
  }

  clear() {
    this.size = null;
    this.pictures = [];
    this.layers = new Map();
    this.shown = 0;
    this.sides = null;
    this.divider = 0.5;
    this.opacity = this.opacity ?? 0.6;
    this.filled = new Set();
    this.draw();
  }

  /** `pictures`: `{image, element, width, height}`, all of them covering the grid of `width` × `height`. */
  setScene(width, height, pictures) {
    this.size = [width, height];
    this.pictures = pictures;
    this.fit();
  }

  /** `layer` as `makeLayer` gives it. */
  setMask(step, image, color, layer) {
    this.layers.set(step, { image, color, ...layer });
    this.draw();
  }

  fit() {
    if (!this.size) return;
    this.#isFitted = true;
    this.#zoom = this.#fittingZoom();
    this.#center = [this.size[0] / 2, this.size[1] / 2];
    this.#moved();
  }

  zoomBy(factor, x = this.#canvas.clientWidth / 2, y = this.#canvas.clientHeight / 2) {
    if (!this.size) return;
    const [column, row] = this.gridAt(x, y);
    const least = this.#fittingZoom();
    const most = Math.max(least * 2, (MAX_PIXEL * (this.pictures[0]?.width ?? this.size[0])) / this.size[0]);
    this.#zoom = Math.min(Math.max(this.#zoom * factor, least), most);
    this.#isFitted = this.#zoom === least;
    this.#center = [
      column - (x - this.#canvas.clientWidth / 2) / this.#zoom,
      row - (y - this.#canvas.clientHeight / 2) / this.#zoom,
    ];
    this.#moved();
  }

  /** By pixels of the screen. */
  moveBy(dx, dy) {
    this.#center = [this.#center[0] + dx / this.#zoom, this.#center[1] + dy / this.#zoom];
    this.#moved();
  }

  /** The point of the grid at a point of the canvas. */
  gridAt(x, y) {
    return [
      this.#center[0] + (x - this.#canvas.clientWidth / 2) / this.#zoom,
      this.#center[1] + (y - this.#canvas.clientHeight / 2) / this.#zoom,
    ];
  }

  /** The point of the grid in the middle of the canvas. */
  get center() {
    return this.#center;
  }

  /** Pixels of the screen per pixel of the grid. */
  get zoom() {
    return this.#zoom;
  }

  draw() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#paint());
  }

  #fittingZoom() {
    return Math.min(this.#canvas.clientWidth / this.size[0], this.#canvas.clientHeight / this.size[1]) || 1;
  }

  #resize() {
    const ratio = devicePixelRatio;
    this.#canvas.width = Math.round(this.#canvas.clientWidth * ratio);
    this.#canvas.height = Math.round(this.#canvas.clientHeight * ratio);
    if (this.#isFitted) this.fit();
    else this.#moved();
    this.#paint();
  }

  #moved() {
    if (!this.size) return;
    const canvas = [this.#canvas.clientWidth, this.#canvas.clientHeight];
    this.#center = this.#center.map((at, axis) => {
      const half = canvas[axis] / 2 / this.#zoom;
      const size = this.size[axis];
      return 2 * half >= size ? size / 2 : Math.min(Math.max(at, half), size - half);
    });
    this.draw();
    this.onMove();
  }

  #paint() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const context = this.#context;
    const { width, height } = this.#canvas;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.size) return;
    if (!this.sides) {
      this.#paintSide(this.shown);
      return;
    }
    const cut = Math.round(width * this.divider);
    [
      [this.sides[0], 0, cut],
      [this.sides[1], cut, width - cut],
    ].forEach(([picture, from, wide]) => {
      context.save();
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.beginPath();
      context.rect(from, 0, wide, height);
      context.clip();
      this.#paintSide(picture);
      context.restore();
    });
  }

  #paintSide(index) {
    const context = this.#context;
    const scale = this.#zoom * (this.#canvas.width / this.#canvas.clientWidth);
    const [column, row] = this.gridAt(0, 0);
    context.setTransform(scale, 0, 0, scale, -column * scale, -row * scale);
    const picture = this.pictures[index];
    if (picture) {
      // Enlarged pixels are shown as such: smoothing would invent what was not measured.
      context.imageSmoothingEnabled = (scale * this.size[0]) / picture.width < 1.5;
      context.imageSmoothingQuality = "high";
      context.drawImage(picture.element, 0, 0, ...this.size);
    }
    for (const [step, layer] of this.layers) {
      // A mask belongs to its image: on the picture of another date it would point at what was not there.
      if (picture && layer.image !== picture.image) continue;
      this.#paintLayer(layer, this.filled.has(step), scale);
    }
  }

  #paintLayer(layer, isFilled, scale) {
    const context = this.#context;
    if (isFilled) {
      context.imageSmoothingEnabled = false;
      context.globalAlpha = this.opacity;
      context.drawImage(layer.picture, 0, 0, layer.width, layer.height);
      context.globalAlpha = 1;
    }
    if (!layer.outline) return;
    context.lineJoin = "miter";
    context.lineCap = "square";
    // Where a pixel of the grid is small on the screen, a bold line would hide what it surrounds.
    const boldness = Math.min(1, Math.max(0.4, this.#zoom / 2)) * devicePixelRatio;
    for (const [color, width] of isFilled ? [["#fff", 3.5], [layer.color, 1.5]] : [["#000a", 3], ["#fff", 1.25]]) {
      context.strokeStyle = color;
      context.lineWidth = (width * boldness) / scale;
      context.stroke(layer.outline);
    }
  }
}
