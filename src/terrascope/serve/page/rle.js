// COCO's compressed run-length code, decoded; terrascope.masks.decode_rle is the same in Python.

/**
 * Where the runs end, down the columns, the first one outside of the mask.
 *
 * Five bits a character, lowest first, offset 48; bit 5 says that the number goes on, bit 4 of the last is the sign.
 * From the fourth number on, each is the difference to the number two before.
 */
export function runsOf({ size: [height, width], counts }) {
  const ends = [];
  const lengths = [];
  let total = 0;
  for (let at = 0; at < counts.length; ) {
    let number = 0;
    let place = 1;
    let digit;
    do {
      digit = counts.charCodeAt(at++) - 48;
      if (!(digit >= 0 && digit < 64)) throw new Error("the mask's code is damaged");
      number += (digit & 31) * place;
      place *= 32;
    } while (digit & 32);
    if (digit & 16) number -= place;
    if (lengths.length > 2) number += lengths[lengths.length - 2];
    if (number < 0) throw new Error("the mask's code is damaged");
    lengths.push(number);
    total += number;
    ends.push(total);
  }
  if (total !== height * width) throw new Error(`the mask's runs do not fill ${height} × ${width} pixels`);
  return ends;
}

/**
 * The mask row by row, 1 inside: `{width, height, block, inside: Uint8Array}`.
 *
 * Of a mask with a side above `maxSide`, every `block` × `block` pixels become one, inside if any of them is.
 */
export function decodeRle(rle, maxSide = Infinity) {
  const [height, width] = rle.size;
  const block = Math.max(1, Math.ceil(Math.max(height, width) / maxSide));
  const columns = Math.ceil(width / block);
  const rows = Math.ceil(height / block);
  const inside = new Uint8Array(columns * rows);
  const ends = runsOf(rle);
  for (let run = 1; run < ends.length; run += 2) {
    for (let from = ends[run - 1]; from < ends[run]; ) {
      const column = Math.floor(from / height);
      const until = Math.min(ends[run], (column + 1) * height);
      const x = Math.floor(column / block);
      const last = Math.floor((until - 1 - column * height) / block);
      for (let y = Math.floor((from - column * height) / block); y <= last; y++) inside[y * columns + x] = 1;
      from = until;
    }
  }
  return { width: columns, height: rows, block, inside };
}
