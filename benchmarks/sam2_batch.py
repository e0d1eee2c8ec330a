"""Speed of tracking objects as one batch with SAM 2: `python benchmarks/sam2_batch.py --objects 4`.

Creates a SAM 2 at 1024 pixels with random weights, and tracks objects through a few frames with random features, so
that image encoding is not timed. Repeats this with different batch sizes. Prints the seconds per object and frame, and
the largest difference of mask logits from those of the first batch size. Ends with one JSON line.

Times are CPU times of this process on one thread; on a GPU they are wall-clock times.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch
from sam2_reward import SIZES, create, timed

from thinkseg.cli.parsers import count
from thinkseg.models.trackers.sam2_session import Session
from thinkseg.types import ObjectPrompt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="hiera-tiny", choices=SIZES, help="model size (default: hiera-tiny)")
    parser.add_argument("--objects", type=count, default=4, help="objects to track (default: 4)")
    parser.add_argument("--frames", type=count, default=3, help="frames to track through (default: 3)")
    sizes = "batch sizes to compare (default: 1 4)"
    parser.add_argument("--objects-per-batch", type=count, nargs="+", default=[1, 4], help=sizes)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = create(arguments.model).to(arguments.device)
    features = [random_features(model, frame) for frame in range(arguments.frames)]
    boxes = random_boxes(arguments.objects)
    print(f"{arguments.model} at 1024, {arguments.objects} objects in {arguments.frames} frames")
    rows, expected = [], None
    for size in arguments.objects_per_batch:
        total, logits = timed(lambda: track(model, boxes, features, size))  # noqa: B023
        expected = logits if expected is None else expected
        difference = float((logits - expected).abs().max())
        seconds = total / arguments.objects / arguments.frames
        rows.append({"objects_per_batch": size, "seconds": seconds, "max_difference": difference})
        print(f"{size} per batch: {seconds:.2f} s per object and frame, logits differ by {difference:.1e}")
    print(json.dumps({**vars(arguments), "objects_per_batch": rows}))


def random_features(model: Any, seed: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Random features and a position encoding, in the shapes of the image encoder."""
    rng = torch.Generator().manual_seed(seed)
    channels = (model.hidden_dim // 8, model.hidden_dim // 4, model.hidden_dim)
    sizes = zip(model.backbone_feature_sizes, channels, strict=True)
    levels = [torch.randn(height * width, 1, depth, generator=rng) for (height, width), depth in sizes]
    return [level.to(model.device) for level in levels], torch.randn_like(levels[-1]).to(model.device)


def random_boxes(num: int) -> np.ndarray:
    """Boxes float32 (num, 4) in a frame of 1280x720."""
    corners = np.random.default_rng(0).uniform(0, 300, (num, 2))
    return np.concatenate([corners, corners + 300], axis=1).astype(np.float32)


def track(
    model: Any, boxes: np.ndarray, features: list[tuple[list[torch.Tensor], torch.Tensor]], objects_per_batch: int
) -> torch.Tensor:
    """Mask logits (T, N, 1, h, w) of objects tracked from the first frame on."""
    prompts = [ObjectPrompt(0, obj, box) for obj, box in enumerate(boxes)]
    session = Session(model, len(features), (1280, 720), prompts, objects_per_batch)
    session.prompt(0, *features[0])
    return torch.stack([session.step(frame, *frame_features)[1] for frame, frame_features in enumerate(features)])


if __name__ == "__main__":
    main()
