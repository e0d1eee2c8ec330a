"""What compiling SAM 2's image encoder gains: `python benchmarks/sam2_compiled.py`.

Makes a SAM 2 at 1024 pixels with random weights, in the size of hiera-tiny or another, and encodes frames of 720p, both
plain and compiled. Prints the seconds a frame takes, those that compiling takes, and how far the features are from one
another. Ends with one JSON line.

Times are those of this process on one thread of the processor, so that other work on the machine does not count; on a
GPU, and for compiling, which other processes help with, they are those of the clock.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from sam2_reward import SIZES, create, timed

from thinkseg.cli.options import count
from thinkseg.models.trackers.sam2 import Sam2Tracker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="hiera-tiny", choices=SIZES, help="its size (default: hiera-tiny)")
    parser.add_argument("--frames", type=count, default=3, help="frames encoded each time (default: 3)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tracker = Sam2Tracker(create(arguments.model).to(arguments.device))
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8) for _ in range(arguments.frames)]
    encode(tracker, pictures[:1])  # what libraries load on first use is no part of it
    plain_s, plain = timed(lambda: encode(tracker, pictures))
    tracker.model.vision_encoder.compile()
    started = time.perf_counter()
    encode(tracker, pictures[:1])
    compiling_s = time.perf_counter() - started
    compiled_s, compiled = timed(lambda: encode(tracker, pictures))
    told = {
        "plain_s": plain_s / len(pictures),
        "compiled_s": compiled_s / len(pictures),
        "compiling_s": compiling_s,
        "apart": max(float((one - other).abs().max()) for one, other in zip(plain, compiled, strict=True)),
    }
    print("{plain_s:.4f} s a frame as it is, {compiled_s:.4f} compiled; features {apart:.1e} apart".format(**told))
    print("{compiling_s:.0f} s until the first frame was there".format(**told))
    print(json.dumps({**vars(arguments), **told}))


@torch.inference_mode()
def encode(tracker: Sam2Tracker, pictures: list[np.ndarray]) -> list[torch.Tensor]:
    """Features of all pictures, level by level."""
    return [level for picture in pictures for level in tracker._encode(picture)]


if __name__ == "__main__":
    main()
