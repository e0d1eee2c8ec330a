// The page: the library of videos, the desk with one of them, and what is asked about it.

import { get, post, remove, thumbnail, upload } from "./api.js";
import { Answer, chainOf, titleOf } from "./answer.js";
import { $, bytes, h, seconds, tell } from "./dom.js";
import { Pane } from "./pane.js";
import { Player } from "./player.js";

const POLL_MS = 8000;

class Page {
  constructor() {
    this.video = null;
    this.answers = [];
    this.limits = {};
  }

  async start() {
    this.listen();
    await Promise.all([this.loadModels(), this.loadLibrary()]);
    setInterval(() => document.hidden || this.loadModels(), POLL_MS);
    await this.openHash();
  }

  listen() {
    $("file").addEventListener("change", (event) => this.upload(event.target.files[0]));
    $("ask").addEventListener("submit", (event) => this.submit(event));
    $("play").addEventListener("click", () => this.player.toggle());
    $("scrub").addEventListener("input", (event) => this.player.show(Number(event.target.value)));
    $("delete-video").addEventListener("click", () => this.deleteVideo());
    document.addEventListener("keydown", (event) => this.press(event));
    window.addEventListener("resize", () => this.player?.drawRibbon());
    window.addEventListener("hashchange", () => this.openHash());
    for (const type of ["dragover", "dragleave", "drop"]) {
      document.addEventListener(type, (event) => this.dragged(type, event));
    }
  }

  dragged(type, event) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    $("drop").classList.toggle("over", type === "dragover");
    if (type === "drop") this.upload(event.dataTransfer.files[0]);
  }

  // Models and library

  async loadModels() {
    const models = await get("models").catch(() => null);
    if (!models) return;
    this.limits = models.limits;
    if (!$("preset").options.length) {
      const own = h("option", { value: "" }, `${models.policy ?? models.preset} + ${models.tracker}`);
      const others = models.presets.filter((one) => one.name !== models.preset);
      $("preset").append(own, ...others.map((one) => h("option", { value: one.name, title: one.summary }, one.name)));
      $("preset").disabled = others.length === 0;
      $("chain").value = models.chain;
    }
    this.showDevices(models.devices);
    this.showMachine(models);
  }

  showDevices(devices) {
    if ($("device").options.length || devices.length < 2) return;
    $("device").append(...["", ...devices].map((name) => h("option", { value: name }, name || "default device")));
    $("device").parentElement.hidden = false;
  }

  showMachine({ device, memory, queued }) {
    const gpu = memory?.gpu ? `, ${bytes(memory.gpu)} on it` : "";
    const loaded = memory ? `${device ?? "served"}${gpu} · ${bytes(memory.process)} memory` : "not loaded yet";
    const waiting = queued ? ` · ${queued} waiting` : "";
    $("machine").textContent = loaded + waiting;
  }

  async loadLibrary() {
    const videos = await get("videos");
    const own = videos.filter((one) => !one.queries.length);
    const examples = videos.filter((one) => one.queries.length).reverse();
    $("own").replaceChildren(...own.map((one) => this.card(one)));
    $("examples").replaceChildren(...examples.map((one) => this.card(one)));
    $("own-title").hidden = !own.length;
    if (examples.length < 4) setTimeout(() => this.loadLibrary(), 3000);
    this.markCurrent();
  }

  card(video) {
    const picture = h("img", { src: thumbnail(video.id, Math.floor(video.frames / 2)), alt: "", loading: "lazy" });
    const facts = h("small", {}, video.seconds === null ? `${video.frames} frames` : seconds(video.seconds));
    const open = () => this.go(video.id, []);
    return h("li", {}, h("button", { type: "button", "data-video": video.id, onclick: open }, picture, h("span", {}, video.name), facts));
  }

  markCurrent() {
    for (const button of document.querySelectorAll("[data-video]")) {
      button.setAttribute("aria-current", button.dataset.video === this.video?.id);
    }
  }

  async upload(file) {
    if (!file) return;
    tell($("upload-problem"), "");
    if (file.size > this.limits.max_upload_bytes) {
      tell($("upload-problem"), `${file.name} has ${bytes(file.size)}; at most ${bytes(this.limits.max_upload_bytes)} are taken`);
      return;
    }
    $("uploading").hidden = false;
    try {
      const video = await upload(file, (share) => { $("uploading").value = share; });
      await this.loadLibrary();
      this.go(video.id, []);
    } catch (error) {
      tell($("upload-problem"), `${file.name}: ${error.message}`);
    }
    $("uploading").hidden = true;
    $("file").value = "";
  }

  async deleteVideo() {
    if (!window.confirm(`Delete ${this.video.name} and all about it?`)) return;
    try {
      await remove(`videos/${this.video.id}`);
      window.location.hash = "";
      await this.loadLibrary();
    } catch (error) {
      tell($("ask-problem"), error.message);
    }
  }

  // The desk

  go(video, questions) {
    const hash = `#${[video, ...questions].join("/")}`;
    if (window.location.hash === hash) this.openHash();
    else window.location.hash = hash;
  }

  async openHash() {
    const [video, ...questions] = window.location.hash.slice(1).split("/").filter(Boolean);
    if (!video) return this.closeVideo();
    try {
      if (video !== this.video?.id) await this.openVideo(video);
      const found = await Promise.all(questions.map((id) => get(`questions/${id}`)));
      this.showAnswers(found.map((one) => new Answer(one, this)));
    } catch (error) {
      tell($("upload-problem"), error.message);
    }
    await this.loadHistory();
  }

  closeVideo() {
    this.showAnswers([]);
    this.player?.close();
    [this.video, this.player] = [null, null];
    $("desk").hidden = true;
    $("welcome").hidden = false;
    this.markCurrent();
  }

  async openVideo(id) {
    const video = await get(`videos/${id}`);
    this.player?.close();
    this.video = video;
    this.player = new Player(video);
    $("desk").hidden = false;
    $("welcome").hidden = true;
    $("name").textContent = video.name;
    const rate = video.fps ? `, ${video.fps.toFixed(2)} frames per second` : "";
    $("video-facts").textContent = `${video.frames} frames of ${video.size.join(" × ")}${rate}`;
    $("delete-video").hidden = video.queries.length > 0;
    tell($("ask-problem"), "");
    this.showSuggestions();
    this.markCurrent();
  }

  showSuggestions() {
    const { queries } = this.video;
    $("suggestions").hidden = !queries.length;
    const take = (query) => { $("query").value = query; $("query").focus(); };
    $("suggestions").replaceChildren("Try ", ...queries.map((query) =>
      h("button", { type: "button", class: "chip", onclick: () => take(query) }, query)));
  }

  /** Shows answers beside each other; without one, the video, on which objects can be marked by hand. */
  showAnswers(answers) {
    this.answers.forEach((answer) => answer.close());
    this.answers = answers;
    if (!this.player) return;
    const shown = answers.length ? answers : [new Answer(null, this)];
    if (!answers.length) this.answers = shown;
    this.player.panes = shown.map((answer) => new Pane(this.player, answer));
    this.player.panes.forEach((pane) => { pane.caption.textContent = shown.length > 1 ? pane.answer.question.chain : ""; });
    $("stage").replaceChildren(...this.player.panes.map((pane) => pane.element));
    $("columns").replaceChildren(...shown.map((answer) => answer.element));
    $("work").dataset.count = shown.length;
    this.player.show(this.player.frame);
  }

  redraw() {
    this.player?.panes.length && this.player.show(this.player.frame);
  }

  changed(answer) {
    if (["done", "failed", "cancelled"].includes(answer.state)) {
      this.loadHistory();
      this.loadModels();
    }
  }

  async submit(event) {
    event.preventDefault();
    const query = $("query").value.trim(), chain = $("chain").value;
    const chains = chain === "both" ? ["veason", "revseg"] : [chain];
    const preset = $("preset").value || null;
    if (!query) {
      $("query").focus();
      return;
    }
    await this.ask(chains.map((one) => ({ video: this.video.id, query, chain: one, preset })));
  }

  /** Asks questions, which are shown beside each other; one that corrects an answer takes its place. */
  async ask(asked, corrected = null) {
    tell($("ask-problem"), "");
    $("ask-button").disabled = true;
    try {
      const made = [];
      for (const one of asked) made.push(await post("questions", { ...one, device: $("device").value || null }));
      const beside = this.answers.filter((one) => corrected && one !== corrected && one.question).map((one) => one.question.id);
      const at = this.answers.indexOf(corrected);
      const ids = made.map((one) => one.id);
      this.go(this.video.id, at > 0 ? [...beside, ...ids] : [...ids, ...beside]);
    } catch (error) {
      tell($("ask-problem"), error.message);
    }
    $("ask-button").disabled = false;
  }

  async loadHistory() {
    if (!this.video) return;
    const questions = await get(`questions?video=${this.video.id}`).catch(() => []);
    $("history").hidden = !questions.length;
    $("questions").replaceChildren(...questions.map((one) => this.historyRow(one)));
  }

  historyRow(question) {
    const shown = this.answers.some((one) => one.question?.id === question.id);
    const time = new Date(question.created * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const open = h("button", { type: "button", class: "link", "aria-current": shown, onclick: () => this.go(this.video.id, [question.id]) },
      titleOf(question));
    const gone = async () => {
      await remove(`questions/${question.id}`).catch((error) => tell($("ask-problem"), error.message));
      if (shown) this.go(this.video.id, []);
      await this.loadHistory();
    };
    return h("li", {}, open, h("small", {}, [chainOf(question), question.state, time].filter(Boolean).join(" · ")),
      h("button", { type: "button", class: "plain", "aria-label": `delete “${titleOf(question)}”`, onclick: gone }, "✕"));
  }

  // Keys

  press(event) {
    const typing = event.target.closest("input:not([type=range]), select, textarea, [contenteditable]");
    if (!this.player || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && event.target.closest("button, summary, a") && event.target.id !== "play") return;
    const step = event.shiftKey ? 10 : 1;
    const keys = {
      " ": () => this.player.toggle(),
      ArrowLeft: () => this.step(-step),
      ArrowRight: () => this.step(step),
      k: () => this.toKeyframe(),
      e: () => this.answers[0]?.edit(!this.answers[0].editing),
    };
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  step(by) {
    this.player.pause();
    this.player.show(this.player.frame + by);
  }

  toKeyframe() {
    const keyframe = this.answers.map((one) => one.keyframe).find((one) => one !== null);
    if (keyframe !== undefined) this.player.show(keyframe);
  }
}

const page = new Page();
page.start().catch((error) => tell($("upload-problem"), error.message));
