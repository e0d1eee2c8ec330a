"""Speed of SAM 2's image encoder with and without compilation: `python benchmarks/sam2_compiled.py`.

Creates a SAM 2 at 1024 pixels with random weights, and encodes frames of 720p with both. Prints the seconds per frame,
the seconds for compilation, and the largest difference of features. Ends with one JSON line.

Times are CPU times of this process on one thread. On a GPU, and for compilation, which uses further processes, they are
wall-clock times.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch
from sam2_reward import SIZES, create, timed

from thinkseg.cli.parsers import count
from thinkseg.models.trackers.sam2 import Sam2Tracker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="hiera-tiny", choices=SIZES, help="model size (default: hiera-tiny)")
    parser.add_argument("--frames", type=count, default=3, help="frames to encode with each (default: 3)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tracker = Sam2Tracker(create(arguments.model).to(arguments.device))
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (720, 1280, 3), dtype=np.uint8) for _ in range(arguments.frames)]
    encode(tracker, frames[:1])  # libraries load on first use, which is not timed
    plain_s, plain = timed(lambda: encode(tracker, frames))
    tracker.model.vision_encoder.compile()
    started = time.perf_counter()
    encode(tracker, frames[:1])
    compiling_s = time.perf_counter() - started
    compiled_s, compiled = timed(lambda: encode(tracker, frames))
    report = {
        "plain_s": plain_s / len(frames),
        "compiled_s": compiled_s / len(frames),
        "compiling_s": compiling_s,
        "max_difference": max(float((one - other).abs().max()) for one, other in zip(plain, compiled, strict=True)),
    }
    print("{plain_s:.4f} s per frame, {compiled_s:.4f} compiled".format(**report))
    print("features differ by {max_difference:.1e}; compilation took {compiling_s:.0f} s".format(**report))
    print(json.dumps({**vars(arguments), **report}))


@torch.inference_mode()
def encode(tracker: Sam2Tracker, frames: list[np.ndarray]) -> list[torch.Tensor]:
    """Features of all frames and levels."""
    return [level for frame in frames for level in tracker._encode(frame)]


if __name__ == "__main__":
    main()
