// Frames and masks of a video, loaded in blocks and decoded when they are needed.

import { frameBlock, get } from "./api.js";
import { decode } from "./rle.js";

export const BLOCK = 32;
const DECODED = 24, AHEAD = 6, BLOCKS = 40;

/** Keeps the latest values of a function by key. */
class Latest {
  constructor(size, make, drop = () => {}) {
    Object.assign(this, { size, make, drop, kept: new Map() });
  }

  get(key) {
    const value = this.kept.get(key) ?? this.make(key);
    this.kept.delete(key);
    this.kept.set(key, value);
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= this.size) break;
      this.drop(this.kept.get(oldest));
      this.kept.delete(oldest);
    }
    return value;
  }

  clear() {
    this.kept.forEach(this.drop);
    this.kept.clear();
  }
}

const start = (frame) => frame - (frame % BLOCK);

/** The frames of a video as bitmaps. */
export class Frames {
  constructor(video) {
    this.video = video;
    this.blocks = new Latest(BLOCKS, (block) => frameBlock(video.id, block));
    this.bitmaps = new Latest(DECODED, (frame) => this.decode(frame), (lost) => lost.then((one) => one.close(), () => {}));
  }

  async decode(frame) {
    const block = await this.blocks.get(start(frame)).catch((error) => {
      this.blocks.kept.delete(start(frame));
      throw error;
    });
    return createImageBitmap(block[frame - start(frame)]);
  }

  /** Returns the promise of a frame. */
  get(frame) {
    return this.bitmaps.get(frame);
  }

  /** Starts to decode the frames that follow one. */
  prepare(frame) {
    for (let next = frame + 1; next <= Math.min(frame + AHEAD, this.video.frames - 1); next++) {
      this.get(next).catch(() => {});
    }
    if (start(frame) + BLOCK < this.video.frames) this.blocks.get(start(frame) + BLOCK).catch(() => {});
  }

  close() {
    this.bitmaps.clear();
  }
}

/** The masks of a question: decoded, per frame a list with one per object, null where it is not seen. */
export class Masks {
  constructor(question) {
    this.blocks = new Latest(BLOCKS, (block) => get(`questions/${question}/masks?frame=${block}`));
    this.frames = new Latest(DECODED, (frame) => this.decode(frame));
  }

  async decode(frame) {
    const block = await this.blocks.get(start(frame));
    return block.objects.map((counts) => decode(counts[frame - block.start], block.size));
  }

  get(frame) {
    return this.frames.get(frame);
  }
}
