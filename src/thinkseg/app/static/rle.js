// COCO's compressed RLE: run lengths in column order, outside first; from the fourth on, the difference to the one two before.

const EDGE = 2;

/** Returns the run lengths in a text of counts. */
export function runsOf(counts) {
  const runs = [];
  let at = 0;
  while (at < counts.length) {
    let value = 0, shift = 0, more = true, code = 0;
    while (more) {
      code = counts.charCodeAt(at++) - 48;
      value |= (code & 31) << shift;
      shift += 5;
      more = (code & 32) !== 0;
    }
    if (code & 16 && shift < 32) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

/** Returns a mask, {pixels: Uint8Array in column order, width, height, box: [x1, y1, x2, y2]}; null for an empty one. */
export function decode(counts, [height, width]) {
  if (!counts) return null;
  const pixels = new Uint8Array(width * height);
  let at = 0, inside = false, x1 = width, y1 = height, x2 = 0, y2 = 0;
  for (const run of runsOf(counts)) {
    if (inside && run) {
      pixels.fill(1, at, at + run);
      const first = Math.floor(at / height), last = Math.floor((at + run - 1) / height);
      x1 = Math.min(x1, first);
      x2 = Math.max(x2, last + 1);
      y1 = first === last ? Math.min(y1, at % height) : 0;
      y2 = first === last ? Math.max(y2, ((at + run - 1) % height) + 1) : height;
    }
    at += run;
    inside = !inside;
  }
  return x2 > x1 ? { pixels, width, height, box: [x1, y1, x2, y2] } : null;
}

/** Draws a mask into image data of another size: tinted inside, opaque along its edge. color: [r, g, b]. */
export function paint(mask, image, color, opacity) {
  const { pixels, width, height, box } = mask;
  const sx = width / image.width, sy = height / image.height, data = image.data;
  const left = Math.floor(box[0] / sx), right = Math.min(image.width, Math.ceil(box[2] / sx));
  const top = Math.floor(box[1] / sy), bottom = Math.min(image.height, Math.ceil(box[3] / sy));
  const at = (x, y) => {
    const column = Math.floor((x + 0.5) * sx), row = Math.floor((y + 0.5) * sy);
    return x >= 0 && y >= 0 && column < width && row < height && pixels[column * height + row];
  };
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      if (!at(x, y)) continue;
      const edge = !(at(x - EDGE, y) && at(x + EDGE, y) && at(x, y - EDGE) && at(x, y + EDGE));
      const alpha = edge ? 1 : opacity, to = 4 * (y * image.width + x), rest = 1 - alpha;
      for (let channel = 0; channel < 3; channel++) {
        data[to + channel] = edge ? color[channel] : color[channel] * alpha + data[to + channel] * rest;
      }
      data[to + 3] = 255;
    }
  }
}
