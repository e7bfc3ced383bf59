// What was understood of the images, as the report tells it.

import { make } from "./elements.js";

/** Elements that describe the `scene` part of an answer. */
export function describeScene(scene) {
  const parts = [
    terms([
      ["Size", `${scene.width_px.toLocaleString("en")} × ${scene.height_px.toLocaleString("en")} pixels`],
      ["Ground scale", scene.scale_basis ?? "unknown: no areas, no distances"],
      ["CRS", scene.crs ?? "none"],
    ]),
  ];
  for (const image of scene.images) {
    for (const kind of ["optical", "sar"]) {
      const seen = image[kind];
      if (!seen) continue;
      const title = [scene.images.length > 1 && `Image ${image.image}`, kind === "sar" ? "SAR" : "optical", seen.date ?? image.date];
      parts.push(make("h3", { textContent: title.filter(Boolean).join(" · ") }));
      parts.push(
        terms([
          ["Source", seen.source],
          ["Sensor", seen.sensor],
          ["Bands", seen.bands.join(", ")],
          ["Measured", `${seen.valid_percent} % of the pixels`],
          ["Evidence", seen.evidence.join("; ")],
          ["Assumed", seen.assumptions.join(" ")],
        ]),
      );
    }
  }
  return parts;
}

function terms(rows) {
  const list = make("dl");
  for (const [name, value] of rows) {
    if (value) list.append(make("dt", { textContent: name }), make("dd", { textContent: value }));
  }
  return list;
}
