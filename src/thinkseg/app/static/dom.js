// Small helpers for elements.

/** Makes an element. attributes: properties, "class", "data-*" and "aria-*", and on* listeners. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class" || name.includes("-") || name === "for" || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const $ = (id) => document.getElementById(id);

/** Shows a problem in an element, or hides it if there is none. */
export function tell(element, text) {
  element.hidden = !text;
  element.textContent = text || "";
}

export const seconds = (time) => (time === null || time === undefined ? "" : `${time.toFixed(2)} s`);

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) [count, unit] = [count / 1000, unit + 1];
  return `${count.toFixed(count < 10 && unit ? 1 : 0)} ${units[unit]}`;
}

// The colors of objects in overlays and film strips.
const PALETTE = [
  [255, 82, 82], [41, 182, 246], [255, 214, 64], [105, 220, 120], [213, 122, 255], [255, 152, 48], [38, 214, 196],
  [255, 128, 186],
];
export const colorOf = (object) => PALETTE[object % PALETTE.length];
export const css = (color, alpha = 1) => `rgb(${color.join(" ")} / ${alpha})`;
