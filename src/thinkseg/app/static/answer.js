// One question and its answer: its state, its column of the page, and the marks that are drafted to correct it.

import { download, follow, get, remove, thumbnail } from "./api.js";
import { colorOf, css, h, seconds } from "./dom.js";
import { Masks } from "./frames.js";

const STATES = { queued: "waiting", running: "working", done: "done", failed: "failed", cancelled: "cancelled" };
const FORMATS = [
  ["overlay", "Overlay video"], ["cutout", "Cutout video"], ["masks", "Mask images"], ["objects", "Masks per object"],
  ["labels", "Label maps"], ["coco", "COCO"], ["ytvis", "YouTube-VIS"], ["yolo", "YOLO"], ["npz", "NumPy"],
  ["csv", "Table"], ["cvat", "CVAT"], ["labelstudio", "Label Studio"], ["result", "Result folder"],
];

export class Answer {
  /** question: as the API has it; null to mark objects by hand. page: what it is part of. */
  constructor(question, page) {
    Object.assign(this, { question, page, summary: null, masks: null, keyframe: null, boxes: [] });
    Object.assign(this, { hidden: new Set(), editing: false, tool: "box", selected: 1, drafts: [], onlyNew: false });
    this.state = question ? question.state : "draft";
    this.build();
    if (question) this.end = follow(question.id, () => this.reset(), (event) => this.take(event));
  }

  close() {
    this.end?.();
  }

  get video() {
    return this.page.video;
  }

  // What is shown

  build() {
    const title = this.question ? titleOf(this.question) : "Marked by hand";
    this.status = h("p", { class: "status", role: "status" });
    this.progress = h("progress", { max: 1, hidden: true, "aria-label": "progress" });
    this.cancelButton = h("button", { type: "button", class: "plain", onclick: () => this.cancel() }, "Cancel");
    this.notes = h("div", { class: "notes" });
    this.turns = h("div", { class: "turns" });
    this.verdict = h("p", { class: "verdict" });
    this.objects = h("ul", { class: "objects", "aria-label": "objects" });
    this.tools = h("div", { class: "tools" });
    this.files = h("details", { class: "files", hidden: true }, h("summary", {}, "Download"));
    const chain = this.question && chainOf(this.question);
    this.element = h("section", { class: "column", "aria-label": title, "data-question": this.question?.id },
      h("header", {}, h("h2", {}, title), chain && h("span", { class: "chip" }, chain)),
      h("div", { class: "state" }, this.status, this.cancelButton), this.progress, this.notes, this.turns, this.verdict,
      this.objects, this.tools, this.files);
    this.showState();
    this.showTools();
  }

  /** The server sends all that has happened, again after a lost connection. */
  reset() {
    this.notes.replaceChildren();
    this.turns.replaceChildren();
    this.reply = null;
  }

  take(event) {
    const handle = {
      state: () => this.takeState(event),
      loading: () => this.work(`loading the ${event.what}`),
      models: () => this.page.showMachine(event),
      turn: () => this.takeTurn(event),
      reading: () => this.text || this.work("reading the frames and the question", event),
      text: () => this.takeText(event),
      reply: () => this.endReply(),
      answer: () => this.takeAnswer(event),
      progress: () => this.work("tracking", event),
      writing: () => this.work("writing"),
      note: () => this.notes.append(h("p", { class: "warning" }, event.text)),
    }[event.type];
    handle?.();
  }

  takeState(event) {
    this.state = event.state;
    this.showState(event);
    if (event.state === "done") this.load();
    this.page.changed(this);
  }

  showState(event = {}) {
    const position = event.position > 1 ? `, ${event.position - 1} before it` : "";
    this.status.textContent = this.state === "draft" ? "Draw a box, or set points, then track." : STATES[this.state] + position;
    if (event.error) this.status.textContent = `${STATES[this.state]}: ${event.error}`;
    this.status.dataset.state = this.state;
    this.cancelButton.hidden = !["queued", "running"].includes(this.state);
    this.progress.hidden = true;
  }

  work(text, event) {
    this.status.textContent = `${text}…`;
    this.progress.hidden = !event;
    if (event?.total) this.progress.value = event.done / event.total;
    else this.progress.removeAttribute("value");
  }

  takeTurn(event) {
    this.work("reading the frames and the question", {});
    this.reply = h("blockquote", { class: "thinking", hidden: true });
    const strip = h("ol", { class: "strip", "aria-label": "frames shown to the model" }, ...event.frames.map((one) => this.still(one)));
    this.turns.append(h("div", { class: "turn" }, strip, this.reply));
    this.text = "";
  }

  still({ frame, label }) {
    const show = () => this.page.player.show(frame);
    const picture = h("img", { src: thumbnail(this.video.id, frame), alt: `frame ${frame}`, loading: "lazy" });
    return h("li", {}, h("button", { type: "button", "data-frame": frame, onclick: show }, picture, h("span", {}, label)));
  }

  takeText(event) {
    if (!this.reply) this.takeTurn({ frames: [] });
    this.text = event.restarts ? event.text : this.text + event.text;
    this.status.textContent = "thinking…";
    this.progress.hidden = true;
    this.reply.hidden = false;
    this.reply.replaceChildren(...thinkingOf(this.text), h("span", { class: "caret" }));
    this.reply.scrollTop = this.reply.scrollHeight;
  }

  endReply() {
    this.reply?.querySelector(".caret")?.remove();
  }

  takeAnswer(event) {
    this.endReply();
    this.keyframe = event.keyframe;
    this.boxes = event.boxes;
    this.showVerdict(event);
    for (const button of this.turns.querySelectorAll("[data-frame]")) {
      button.classList.toggle("keyframe", Number(button.dataset.frame) === event.keyframe);
    }
    this.turns.querySelector(".keyframe")?.scrollIntoView({ block: "nearest", inline: "center" });
    if (event.keyframe !== null && this.state === "running") this.page.player.show(event.keyframe);
    this.page.redraw();
  }

  showVerdict({ failure, no_target: none, keyframe, boxes, time }) {
    const count = counted(boxes.length, "object");
    this.verdict.className = failure ? "verdict bad" : "verdict";
    if (failure) this.verdict.textContent = `The reply could not be used: ${failure}`;
    else if (none) this.verdict.textContent = "There is no such object in the video.";
    else {
      const jump = h("button", { type: "button", class: "link", onclick: () => this.page.player.show(keyframe) },
        `frame ${keyframe}${time === null || time === undefined ? "" : `, ${seconds(time)}`}`);
      this.verdict.replaceChildren(`Keyframe: `, jump, `, ${count}`);
    }
  }

  async load() {
    const found = await get(`questions/${this.question.id}`).catch((error) => this.showState({ error: error.message }));
    if (!found?.summary) return;
    this.question = found;
    this.summary = found.summary;
    this.keyframe = found.summary.keyframe;
    this.boxes = found.summary.boxes;
    if (this.summary.objects.length) this.masks = new Masks(found.id);
    const work = found.seconds === null ? "" : ` in ${found.seconds.toFixed(1)} s`;
    this.status.textContent = `done${work}`;
    this.showObjects();
    this.showFiles();
    this.showTools();
    if (!found.summary.failure) this.showVerdict({ ...found.summary, time: this.video.times[this.keyframe] });
    this.page.redraw();
  }

  nameOf(object) {
    return localStorage.getItem(`name-${this.question?.id}-${object}`) || `object ${object + 1}`;
  }

  rename(object, name) {
    localStorage.setItem(`name-${this.question?.id}-${object}`, name.trim());
    this.page.redraw();
  }

  showObjects() {
    this.objects.replaceChildren(...this.summary.objects.map((one, object) => this.objectRow(one, object)));
  }

  objectRow(one, object) {
    const seen = one.seen.reduce((sum, value) => sum + value, 0);
    const swatch = h("i", { class: "swatch" });
    swatch.style.background = css(colorOf(object));
    const name = h("input", { value: this.nameOf(object), maxLength: 60, "aria-label": `name of object ${object + 1}`,
      onchange: (event) => this.rename(object, event.target.value) });
    const toggle = h("button", { type: "button", class: "plain", onclick: (event) => {
      if (!this.hidden.delete(object)) this.hidden.add(object);
      event.target.textContent = this.hidden.has(object) ? "Show" : "Hide";
      this.page.redraw();
    } }, "Hide");
    return h("li", {}, swatch, name, h("small", {}, `${seen} of ${one.seen.length} frames`), toggle);
  }

  showFiles() {
    if (!this.summary.objects.length) return;
    const links = FORMATS.map(([format, title]) => h("a", { href: download(this.question.id, format), download: "" }, title));
    this.files.hidden = false;
    this.files.append(h("div", {}, ...links));
  }

  // Correction

  showTools() {
    const ready = this.state === "draft" || (this.state === "done" && !this.summary?.failure);
    this.tools.hidden = !ready;
    if (!ready) return;
    const edit = h("button", { type: "button", "aria-pressed": this.editing, onclick: () => this.edit(!this.editing) },
      this.editing ? "Stop editing" : "Correct by hand");
    if (!this.editing) {
      this.tools.replaceChildren(edit);
      return;
    }
    this.tools.replaceChildren(h("div", { class: "row" }, this.toolChoice(), this.objectChoice()), this.draftList(),
      h("div", { class: "row" }, this.forgetChoice(), this.trackButton(), this.state === "draft" ? null : edit));
  }

  toolChoice() {
    const tools = [["box", "▭ Box", "box around it"], ["positive", "+ Point", "point on it"], ["negative", "− Point", "point beside it"]];
    const buttons = tools.map(([tool, text, title]) => h("button", { type: "button", title, "aria-label": title, "aria-pressed": this.tool === tool,
      onclick: () => { this.tool = tool; this.showTools(); } }, text));
    return h("div", { class: "group", role: "group", "aria-label": "tool" }, ...buttons);
  }

  objectChoice() {
    const count = Math.max(this.numObjects, ...this.drafts.map((one) => one.object));
    const options = [...Array(count + 1).keys()].map((object) =>
      h("option", { value: object + 1, selected: object + 1 === this.selected }, object < count ? this.nameOf(object) : "new object"));
    return h("select", { "aria-label": "object to mark", onchange: (event) => {
      this.selected = Number(event.target.value);
      this.page.redraw();
    } }, ...options);
  }

  get numObjects() {
    return this.summary?.objects.length ?? 0;
  }

  draftList() {
    if (!this.drafts.length) {
      return h("p", { class: "note" }, "Move or resize the box on any frame, or set points; scrub to choose the frame. "
        + "Alt with the arrow keys moves a box by a pixel.");
    }
    const rows = this.drafts.map((one) => h("li", {},
      h("button", { type: "button", class: "link", onclick: () => this.page.player.show(one.frame) }, `frame ${one.frame}`),
      ` ${this.nameOf(one.object - 1)}: ${[one.box && "box", one.points.length && counted(one.points.length, "point")].filter(Boolean).join(", ")}`,
      h("button", { type: "button", class: "plain", "aria-label": "remove", onclick: () => this.drop(one) }, "✕")));
    return h("ul", { class: "drafts" }, ...rows);
  }

  forgetChoice() {
    if (this.state === "draft") return null;
    const box = h("input", { type: "checkbox", checked: this.onlyNew, onchange: (event) => { this.onlyNew = event.target.checked; } });
    return h("label", { class: "note" }, box, " forget earlier marks of these objects");
  }

  trackButton() {
    const title = this.state === "draft" ? "Track" : "Track again";
    return h("button", { type: "button", class: "primary", disabled: !this.drafts.length, onclick: () => this.track() }, title);
  }

  edit(editing) {
    this.editing = editing;
    if (editing) this.page.player.pause();
    this.showTools();
    this.page.redraw();
  }

  draftOn(frame, object) {
    return this.drafts.find((one) => one.frame === frame && one.object === object);
  }

  draftFor(frame) {
    const found = this.draftOn(frame, this.selected);
    if (found) return found;
    this.drafts.push({ frame, object: this.selected, box: null, points: [], labels: [] });
    return this.drafts.at(-1);
  }

  setBox(frame, box) {
    if (box[2] - box[0] < 2 || box[3] - box[1] < 2) return;
    this.draftFor(frame).box = box.map((side) => Math.round(side * 10) / 10);
    this.drafted();
  }

  addPoint(frame, point, label) {
    const draft = this.draftFor(frame);
    draft.points.push(point.map((side) => Math.round(side * 10) / 10));
    draft.labels.push(label);
    this.drafted();
  }

  drop(draft) {
    this.drafts = this.drafts.filter((one) => one !== draft);
    this.drafted();
  }

  drafted() {
    this.showTools();
    this.page.redraw();
  }

  /** Boxes and points on a frame: drafts in place of, or beside, those of the answer. */
  marksOn(frame) {
    const earlier = this.summary ? this.summary.prompts.filter((one) => one.frame === frame) : this.answerMarks(frame);
    const drafts = this.drafts.filter((one) => one.frame === frame).map((one) => ({ ...one, draft: true }));
    const replaced = (mark) => drafts.some((one) => one.object === mark.object && one.box);
    return [...earlier.filter((mark) => !replaced(mark)), ...drafts];
  }

  answerMarks(frame) {
    if (frame !== this.keyframe) return [];
    return this.boxes.map((box, object) => ({ frame, object: object + 1, box, points: [], labels: [] }));
  }

  track() {
    const asked = this.question ? { result: this.question.id } : { video: this.video.id };
    if (this.question && this.onlyNew) {
      asked.drop = [...new Set(this.drafts.map((one) => one.object))].filter((object) => object <= this.numObjects);
    }
    this.page.ask([{ ...asked, prompts: this.drafts }], this);
  }

  async cancel() {
    this.cancelButton.disabled = true;
    await remove(`questions/${this.question.id}`).catch((error) => this.notes.append(h("p", { class: "warning" }, error.message)));
    this.cancelButton.disabled = false;
  }
}

const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** The chain that answers a question; null for one that prompts no policy. */
export const chainOf = (question) => (question.query && !question.result ? question.chain : null);

/** What a question is called. */
export function titleOf(question) {
  const text = question.query || "Marked by hand";
  return question.result ? `${text} (corrected)` : text;
}

/** The thinking in a reply, and the answer behind it, as elements. */
function thinkingOf(text) {
  const thinking = /<think>([\s\S]*?)(<\/think>|$)/.exec(text), answer = /<answer>([\s\S]*?)(<\/answer>|$)/.exec(text);
  if (!thinking && !answer) return [h("p", {}, text)];
  const parts = [h("p", {}, (thinking?.[1] ?? "").trim())];
  if (answer) parts.push(h("code", {}, answer[1].trim()));
  return parts;
}
