// A mask as the view draws it: its colour as a picture, its outline as a path along the pixels' edges.

/** Longer outlines would make every movement slow; the boundary's pixels are then filled instead. */
const MAX_EDGES = 60_000;

/**
 * `{picture: canvas, outline: Path2D | null, block}` of a decoded mask.
 *
 * The outline is in pixels of the scene's grid, the picture covers the grid.
 */
export function makeLayer({ width, height, block, inside }, color) {
  const outline = outlineOf(inside, width, height, block);
  return { picture: paint(inside, width, height, color, outline === null), outline, width: width * block, height: height * block };
}

function paint(inside, width, height, color, withBoundary) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const pixels = new Uint32Array(image.data.buffer);
  const bytes = new Uint8Array(4);
  const word = new Uint32Array(bytes.buffer);
  bytes.set([red, green, blue, 255]);
  const filled = word[0];
  bytes.set([255, 255, 255, 255]);
  const edge = word[0];
  for (let at = 0; at < inside.length; at++) {
    if (inside[at]) pixels[at] = withBoundary && isAtEdge(inside, width, height, at) ? edge : filled;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

function isAtEdge(inside, width, height, at) {
  const column = at % width;
  const row = (at - column) / width;
  return !(
    (column === 0 || inside[at - 1]) &&
    (column === width - 1 || inside[at + 1]) &&
    (row === 0 || inside[at - width]) &&
    (row === height - 1 || inside[at + width])
  );
}

/** Straight pieces between pixels inside and outside; null if there are more than `MAX_EDGES`. */
function outlineOf(inside, width, height, block) {
  const path = new Path2D();
  let num = 0;
  const trace = (lines, length, differs, draw) => {
    for (let line = 0; line <= lines; line++) {
      for (let at = 0; at < length; at++) {
        if (!differs(line, at)) continue;
        const start = at;
        while (at < length && differs(line, at)) at++;
        if (++num > MAX_EDGES) return false;
        draw(line * block, start * block, at * block);
      }
    }
    return true;
  };
  const pixel = (row, column) => row >= 0 && row < height && column >= 0 && column < width && inside[row * width + column] === 1;
  const isDrawn =
    trace(height, width, (row, column) => pixel(row - 1, column) !== pixel(row, column), (y, from, to) => {
      path.moveTo(from, y);
      path.lineTo(to, y);
    }) &&
    trace(width, height, (column, row) => pixel(row, column - 1) !== pixel(row, column), (x, from, to) => {
      path.moveTo(x, from);
      path.lineTo(x, to);
    });
  return isDrawn ? path : null;
}
