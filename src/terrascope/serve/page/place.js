// Where a pixel lies on the ground: map coordinates, longitude and latitude, metres per pixel, north.

const A = 6378137;
const F = 1 / 298.257223563;
const E2 = F * (2 - F);
const N = F / (2 - F);
const RADIUS = (A / (1 + N)) * (1 + N ** 2 / 4 + N ** 4 / 64);
const BETA = [
  N / 2 - (2 * N ** 2) / 3 + (37 * N ** 3) / 96 - N ** 4 / 360,
  N ** 2 / 48 + N ** 3 / 15 - (437 * N ** 4) / 1440,
  (17 * N ** 3) / 480 - (37 * N ** 4) / 840,
  (4397 * N ** 4) / 161280,
];
const DELTA = [
  2 * N - (2 * N ** 2) / 3 - 2 * N ** 3 + (116 * N ** 4) / 45,
  (7 * N ** 2) / 3 - (8 * N ** 3) / 5 - (227 * N ** 4) / 45,
  (56 * N ** 3) / 15 - (136 * N ** 4) / 35,
  (4279 * N ** 4) / 630,
];
const degrees = (radians) => (radians * 180) / Math.PI;
const radians = (degree) => (degree * Math.PI) / 180;

/** Longitude and latitude of UTM coordinates on WGS 84, by Krüger's series: exact to millimetres within a zone. */
export function fromUtm(easting, northing, zone, isSouth) {
  const xi = (northing - (isSouth ? 1e7 : 0)) / (0.9996 * RADIUS);
  const eta = (easting - 5e5) / (0.9996 * RADIUS);
  let [u, v] = [xi, eta];
  BETA.forEach((beta, j) => {
    u -= beta * Math.sin(2 * (j + 1) * xi) * Math.cosh(2 * (j + 1) * eta);
    v -= beta * Math.cos(2 * (j + 1) * xi) * Math.sinh(2 * (j + 1) * eta);
  });
  const chi = Math.asin(Math.sin(u) / Math.cosh(v));
  const lat = DELTA.reduce((sum, delta, j) => sum + delta * Math.sin(2 * (j + 1) * chi), chi);
  return [zone * 6 - 183 + degrees(Math.atan2(Math.sinh(v), Math.cos(u))), degrees(lat)];
}

/** A function from map coordinates to [longitude, latitude], null where this page does not know the CRS. */
function inverseOf(crs) {
  const code = /^EPSG:(\d+)$/i.exec(crs ?? "")?.[1];
  if (code === "4326") return (x, y) => [x, y];
  if (code === "3857") return (x, y) => [degrees(x / A), degrees(Math.atan(Math.sinh(y / A)))];
  const utm = /^32([67])(\d\d)$/.exec(code ?? "");
  return utm && +utm[2] >= 1 && +utm[2] <= 60 ? (x, y) => fromUtm(x, y, +utm[2], utm[1] === "7") : null;
}

/** Between the corners (upper left, upper right, lower right, lower left), as if the grid were even in degrees. */
function betweenCorners(corners, u, v) {
  const west = corners[0][0];
  const [a, b, c, d] = corners.map(([lon, lat]) => [west + ((((lon - west + 180) % 360) + 360) % 360) - 180, lat]);
  return [0, 1].map((i) => (1 - v) * ((1 - u) * a[i] + u * b[i]) + v * ((1 - u) * d[i] + u * c[i]));
}

export class Place {
  #inverse;
  #corners;

  /** `scene` of the answer's JSON; `corners` as the scene event has them, or null. */
  constructor(scene, corners) {
    this.width = scene.width_px;
    this.height = scene.height_px;
    this.transform = scene.transform;
    this.crs = scene.crs;
    this.#corners = corners ?? null;
    this.#inverse = scene.transform && corners ? inverseOf(scene.crs) : null;
  }

  /** Map coordinates of a point of the grid, (0, 0) being the first pixel's outer corner; null without a transform. */
  map(column, row) {
    if (!this.transform || !this.crs) return null;
    const [a, b, c, d, e, f] = this.transform;
    return [a * column + b * row + c, d * column + e * row + f];
  }

  /** Longitude and latitude, null where unknown. `isExact` is false between corners of a CRS unknown to this page. */
  lonLat(column, row) {
    if (!this.#corners) return null;
    const at = this.#inverse
      ? this.#inverse(...this.map(column, row))
      : betweenCorners(this.#corners, column / this.width, row / this.height);
    return { lon: ((((at[0] + 180) % 360) + 360) % 360) - 180, lat: at[1], isExact: this.#inverse !== null };
  }

  /** Width of a pixel at the centre on the ground, in metres; null without a place. */
  metresPerPixel() {
    const step = Math.min(8, this.width / 2);
    const [x, y] = [this.width / 2, this.height / 2];
    const [one, two] = [this.lonLat(x - step, y), this.lonLat(x + step, y)];
    return one && two ? metresBetween(one, two) / (2 * step) : null;
  }

  /** Degrees by which north is turned from up, clockwise; null without a place, NaN where the scene is mirrored. */
  northTurn() {
    const [x, y] = [this.width / 2, this.height / 2];
    const middle = this.lonLat(x, y);
    if (!middle) return null;
    const shrink = Math.cos(radians(middle.lat));
    const toward = (column, row) => {
      const there = this.lonLat(column, row);
      return [(there.lon - middle.lon) * shrink, there.lat - middle.lat];
    };
    const [up, right] = [toward(x, y - 0.5), toward(x + 0.5, y)];
    return right[0] * up[1] - right[1] * up[0] < 0 ? NaN : -degrees(Math.atan2(up[0], up[1]));
  }
}

/** Metres between two near points on the ellipsoid. */
function metresBetween(one, two) {
  const lat = radians((one.lat + two.lat) / 2);
  const w = 1 - E2 * Math.sin(lat) ** 2;
  const east = radians(((((two.lon - one.lon + 180) % 360) + 360) % 360) - 180) * Math.cos(lat) * (A / Math.sqrt(w));
  const north = radians(two.lat - one.lat) * ((A * (1 - E2)) / w ** 1.5);
  return Math.hypot(east, north);
}

/** The longest of 1, 2, 5, 10 ... metres that fits: `{metres, text}`. */
export function scaleFor(maxMetres) {
  const power = 10 ** Math.floor(Math.log10(maxMetres));
  const metres = [5, 2, 1].map((n) => n * power).find((length) => length <= maxMetres * (1 + 1e-9)) ?? power;
  return { metres, text: metres >= 1000 ? `${+(metres / 1000).toPrecision(3)} km` : `${+metres.toPrecision(3)} m` };
}
