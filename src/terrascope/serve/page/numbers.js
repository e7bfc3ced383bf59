// Numbers as people read them, in the words of terrascope.quantities.

/** True if the decimal digits after the wanted ones are exactly one half: Python then rounds to the even digit. */
const isTie = (digits) => /^50*$/.test(digits);

function roundSignificant(value) {
  if (value === 0) return 0;
  const [digits, exponent] = value.toExponential(60).split("e");
  const plain = digits.replace(".", "");
  const up = Number(value.toPrecision(2));
  if (!isTie(plain.slice(2)) || Number(plain[1]) % 2) return up;
  return Number(`${plain[0]}.${plain[1]}e${exponent}`);
}

function fixed(value, places) {
  const [whole, decimals] = value.toFixed(60).split(".");
  const kept = `${whole}.${decimals.slice(0, places)}`;
  return isTie(decimals.slice(places)) && Number(kept.at(-1)) % 2 === 0 ? kept : value.toFixed(places);
}

const short = (value, digits) => String(Number(value.toPrecision(digits)));

export function formatCoverage(percent) {
  const coverage = percent / 100;
  return coverage > 0 && coverage < 0.0005 ? "< 0.1 %" : `${fixed(100 * coverage, 1)} %`;
}

export function formatArea(area) {
  const rounded = roundSignificant(area);
  if (rounded < 1e4) return `${short(rounded, 6)} m2`;
  return rounded < 1e7 ? `${short(rounded / 1e4, 6)} ha` : `${short(rounded / 1e6, 10)} km2`;
}

export function formatDistance(distance) {
  const rounded = roundSignificant(distance);
  return rounded < 1000 ? `${short(rounded, 6)} m` : `${short(rounded / 1000, 10)} km`;
}

export const formatObjects = (number) => `${number} object${number === 1 ? "" : "s"}`;

export function formatSize(bytes) {
  if (bytes < 1e3) return `${bytes} B`;
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
