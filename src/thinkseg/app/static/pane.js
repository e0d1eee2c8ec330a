// A picture of the current frame with the masks and boxes of one answer, on which boxes and points are edited.

import { colorOf, css, h } from "./dom.js";
import { paint } from "./rle.js";

const HANDLE = 12, OPACITY = 0.42, MAX_WIDTH = 1600;
const EDGES = { move: "move", new: "crosshair", n: "ns-resize", s: "ns-resize", w: "ew-resize", e: "ew-resize",
  nw: "nwse-resize", se: "nwse-resize", ne: "nesw-resize", sw: "nesw-resize" };

export class Pane {
  constructor(player, answer) {
    this.player = player;
    this.answer = answer;
    this.canvas = h("canvas", { class: "screen", tabIndex: 0, role: "img", "aria-label": "frame of the video with masks" });
    const [width, height] = player.video.size;
    this.canvas.style.setProperty("--ratio", width / height);
    this.caption = h("figcaption");
    this.element = h("figure", { class: "pane" }, this.canvas, this.caption);
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", () => this.release());
    this.canvas.addEventListener("keydown", (event) => this.nudge(event));
  }

  masksOf(frame) {
    return this.answer.masks ? this.answer.masks.get(frame) : [];
  }

  tracks() {
    const { summary } = this.answer;
    if (!summary) return [];
    return summary.objects
      .map((one, object) => ({ object, seen: one.seen, confidence: summary.confidence?.[object] }))
      .filter((track) => !this.answer.hidden.has(track.object));
  }

  keyframes() {
    const frames = this.answer.summary ? this.answer.summary.prompts.map((one) => one.frame) : [];
    return this.answer.keyframe === null ? frames : [...frames, this.answer.keyframe];
  }

  fail(message) {
    this.caption.textContent = message;
  }

  draw(bitmap, masks, frame) {
    this.shown = { bitmap, masks, frame };
    const { canvas } = this, context = canvas.getContext("2d", { willReadFrequently: true });
    const width = Math.min(MAX_WIDTH, Math.max(bitmap.width, Math.round(canvas.clientWidth * window.devicePixelRatio)));
    [canvas.width, canvas.height] = [width, Math.round((width * bitmap.height) / bitmap.width)];
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    if (masks.some(Boolean)) {
      const image = context.getImageData(0, 0, canvas.width, canvas.height);
      masks.forEach((mask, object) => {
        if (mask && !this.answer.hidden.has(object)) paint(mask, image, colorOf(object), OPACITY);
      });
      context.putImageData(image, 0, 0);
    }
    this.drawMarks(context, frame);
    canvas.classList.toggle("editing", this.answer.editing);
  }

  redraw() {
    if (this.shown) this.draw(this.shown.bitmap, this.shown.masks, this.shown.frame);
  }

  /** Canvas pixels per pixel of the video. */
  get scale() {
    return this.canvas.width / this.player.video.size[0];
  }

  /** Canvas pixels per pixel of the screen. */
  get zoom() {
    return this.canvas.width / (this.canvas.clientWidth || this.canvas.width);
  }

  drawMarks(context, frame) {
    const { answer } = this;
    for (const mark of answer.marksOn(frame)) {
      if (!answer.hidden.has(mark.object - 1)) this.drawMark(context, mark, mark.draft);
    }
    if (answer.editing) {
      const box = this.boxOf(answer.selected);
      if (box) this.drawHandles(context, box);
    }
  }

  drawMark(context, mark, strong) {
    const color = css(colorOf(mark.object - 1)), scale = this.scale;
    if (mark.box) {
      const [x1, y1, x2, y2] = mark.box.map((side) => side * scale);
      context.lineWidth = 5 * this.zoom;
      context.strokeStyle = "rgb(0 0 0 / .55)";
      context.strokeRect(x1, y1, x2 - x1, y2 - y1);
      context.lineWidth = 2.5 * this.zoom;
      context.strokeStyle = strong ? color : "#ffc42e";
      context.strokeRect(x1, y1, x2 - x1, y2 - y1);
      this.drawName(context, mark.object - 1, x1, y1, color);
    }
    mark.points.forEach(([x, y], index) => this.drawPoint(context, x * scale, y * scale, mark.labels[index] ?? 1));
  }

  drawName(context, object, x, y, color) {
    const size = 13 * this.zoom, name = this.answer.nameOf(object);
    context.font = `600 ${size}px system-ui, sans-serif`;
    const width = context.measureText(name).width + size, top = Math.max(0, y - 1.5 * size);
    context.fillStyle = color;
    context.fillRect(x, top, width, 1.5 * size);
    context.fillStyle = "#14171c";
    context.fillText(name, x + size / 2, top + 1.1 * size);
  }

  drawPoint(context, x, y, label) {
    const radius = 7 * this.zoom;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = label ? "#2ec27e" : "#e5484d";
    context.fill();
    context.lineWidth = 2 * this.zoom;
    context.strokeStyle = "#fff";
    context.stroke();
    context.fillStyle = "#fff";
    const arm = radius * 0.55, thin = 2 * this.zoom;
    context.fillRect(x - arm, y - thin / 2, 2 * arm, thin);
    if (label) context.fillRect(x - thin / 2, y - arm, thin, 2 * arm);
  }

  drawHandles(context, box) {
    const side = 9 * this.zoom, [x1, y1, x2, y2] = box.map((value) => value * this.scale);
    const drafted = this.answer.draftOn(this.player.frame, this.answer.selected)?.box;
    context.setLineDash(drafted ? [] : [6 * this.zoom, 4 * this.zoom]);
    context.lineWidth = 2 * this.zoom;
    context.strokeStyle = "#fff";
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.setLineDash([]);
    context.fillStyle = "#fff";
    context.strokeStyle = "#14171c";
    context.lineWidth = this.zoom;
    for (const x of [x1, (x1 + x2) / 2, x2]) {
      for (const y of [y1, (y1 + y2) / 2, y2]) {
        if (x === (x1 + x2) / 2 && y === (y1 + y2) / 2) continue;
        context.fillRect(x - side / 2, y - side / 2, side, side);
        context.strokeRect(x - side / 2, y - side / 2, side, side);
      }
    }
  }

  /** The box of an object (from 1) on the current frame: drafted, of the answer, or around its mask. */
  boxOf(object) {
    const mark = this.answer.marksOn(this.player.frame).find((one) => one.object === object && one.box);
    return mark?.box ?? this.shown?.masks[object - 1]?.box ?? null;
  }

  place(event) {
    const bounds = this.canvas.getBoundingClientRect(), [width, height] = this.player.video.size;
    const x = ((event.clientX - bounds.left) / bounds.width) * width;
    const y = ((event.clientY - bounds.top) / bounds.height) * height;
    return [Math.max(0, Math.min(x, width - 0.01)), Math.max(0, Math.min(y, height - 0.01))];
  }

  /** What pressing at a place does to the box: "move", "new", or the edges that are dragged, as in "ne". */
  gripAt([x, y]) {
    const box = this.boxOf(this.answer.selected);
    if (!box) return "new";
    const near = (HANDLE * this.zoom) / this.scale, [x1, y1, x2, y2] = box;
    if (x < x1 - near || x > x2 + near || y < y1 - near || y > y2 + near) return "new";
    const vertical = Math.abs(y - y1) < near ? "n" : Math.abs(y - y2) < near ? "s" : "";
    const horizontal = Math.abs(x - x1) < near ? "w" : Math.abs(x - x2) < near ? "e" : "";
    return vertical + horizontal || "move";
  }

  press(event) {
    if (!this.answer.editing) return;
    event.preventDefault();
    this.canvas.focus();
    this.player.pause();
    const at = this.place(event), { answer } = this;
    if (answer.tool !== "box") {
      answer.addPoint(this.player.frame, at, answer.tool === "positive" ? 1 : 0);
      return;
    }
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { grip: this.gripAt(at), from: at, box: this.boxOf(answer.selected) };
  }

  move(event) {
    if (!this.answer.editing) return;
    const at = this.place(event);
    if (!this.drag) {
      this.canvas.style.cursor = this.answer.tool === "box" ? EDGES[this.gripAt(at)] : "crosshair";
      return;
    }
    this.answer.setBox(this.player.frame, this.dragged(at));
  }

  dragged([x, y]) {
    const { grip, from, box } = this.drag, [width, height] = this.player.video.size;
    if (grip === "new") return ordered([from[0], from[1], x, y]);
    if (grip === "move") {
      const dx = Math.max(-box[0], Math.min(x - from[0], width - box[2]));
      const dy = Math.max(-box[1], Math.min(y - from[1], height - box[3]));
      return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy];
    }
    const sides = [...box];
    if (grip.includes("w")) sides[0] = x;
    if (grip.includes("e")) sides[2] = x;
    if (grip.includes("n")) sides[1] = y;
    if (grip.includes("s")) sides[3] = y;
    return ordered(sides);
  }

  release() {
    this.drag = null;
  }

  /** Alt with the arrow keys moves the box by a pixel; with Shift, its lower right corner. */
  nudge(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const box = step && event.altKey && this.answer.editing && this.boxOf(this.answer.selected);
    if (!box) return;
    event.preventDefault();
    event.stopPropagation();
    const start = event.shiftKey ? [0, 0] : step;
    const moved = [box[0] + start[0], box[1] + start[1], box[2] + step[0], box[3] + step[1]];
    this.answer.setBox(this.player.frame, ordered(moved));
  }
}

const ordered = ([x1, y1, x2, y2]) => [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
