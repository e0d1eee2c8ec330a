// One clock for all panes: which frame is shown, and playing.

import { $, colorOf, css, seconds } from "./dom.js";
import { Frames } from "./frames.js";

const STILL_FPS = 12;

export class Player {
  constructor(video) {
    this.video = video;
    this.frames = new Frames(video);
    this.frame = 0;
    this.playing = false;
    this.panes = [];
    $("scrub").max = video.frames - 1;
    $("transport").hidden = video.frames < 2;
  }

  time(frame) {
    return this.video.times[frame] ?? frame / STILL_FPS;
  }

  /** Shows a frame in all panes. */
  async show(frame) {
    this.frame = Math.max(0, Math.min(frame, this.video.frames - 1));
    this.tellFrame();
    await this.draw();
  }

  tellFrame() {
    const time = this.video.times[this.frame];
    $("scrub").value = this.frame;
    $("scrub").setAttribute("aria-valuetext", `frame ${this.frame}, ${seconds(time)}`);
    $("clock").textContent = `${seconds(time)} · ${this.frame}`;
    this.drawRibbon();
  }

  /** Draws the current frame, unless another one is wanted by the time it is loaded. */
  async draw() {
    const frame = this.frame;
    try {
      const bitmap = await this.frames.get(frame);
      const masks = await Promise.all(this.panes.map((pane) => pane.masksOf(frame)));
      if (frame !== this.frame) return;
      this.panes.forEach((pane, index) => pane.draw(bitmap, masks[index], frame));
      this.frames.prepare(frame);
    } catch (error) {
      this.panes.forEach((pane) => pane.fail(error.message));
      this.pause();
    }
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.frame >= this.video.frames - 1) this.frame = 0;
    this.setPlaying(true);
    const began = performance.now() / 1000 - this.time(this.frame);
    const step = async () => {
      if (!this.playing) return;
      const now = performance.now() / 1000 - began;
      let next = this.frame;
      while (next < this.video.frames - 1 && this.time(next + 1) <= now) next++;
      if (next !== this.frame) await this.show(next);
      if (this.frame >= this.video.frames - 1) this.pause();
      else requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  pause() {
    this.setPlaying(false);
  }

  setPlaying(playing) {
    this.playing = playing;
    $("play").textContent = playing ? "❚❚" : "▶";
    $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
  }

  /** Draws where objects are seen, as strong as the tracker is sure, with the keyframes and the current frame. */
  drawRibbon() {
    const canvas = $("ribbon"), scale = window.devicePixelRatio || 1, total = this.video.frames;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    const context = canvas.getContext("2d"), width = canvas.width, height = canvas.height - 2 * scale;
    const tracks = this.panes.flatMap((pane) => pane.tracks());
    const x = (frame) => (frame / total) * width;
    tracks.forEach((track, row) => {
      const top = (row * height) / tracks.length, high = height / tracks.length - scale;
      for (let frame = 0; frame < total; frame++) {
        if (!track.seen[frame]) continue;
        context.fillStyle = css(colorOf(track.object), 0.25 + 0.75 * (track.confidence?.[frame] ?? 1));
        context.fillRect(x(frame), top, Math.max(1, x(frame + 1) - x(frame) + 0.5), high);
      }
    });
    context.fillStyle = getComputedStyle(canvas).color;
    for (const frame of new Set(this.panes.flatMap((pane) => pane.keyframes()))) {
      context.beginPath();
      context.arc(x(frame + 0.5), height / 2, 4 * scale, 0, 2 * Math.PI);
      context.fillStyle = "#ffc42e";
      context.fill();
      context.lineWidth = 1.5 * scale;
      context.strokeStyle = "#5a4300";
      context.stroke();
    }
    context.fillStyle = getComputedStyle(canvas).color;
    context.fillRect(x(this.frame + 0.5) - scale, 0, 2 * scale, canvas.height);
  }

  close() {
    this.pause();
    this.frames.close();
  }
}
