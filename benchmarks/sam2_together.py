"""What following objects as one batch gains with SAM 2: `python benchmarks/sam2_together.py --objects 4`.

Makes a SAM 2 at 1024 pixels with random weights, in the size of hiera-tiny or another, and follows objects through a
few frames with random features, so that what is timed is what each object costs and no encoding of pictures. Does so
with different numbers of objects going through the model at once. Prints the seconds an object costs in a frame, and
how far mask logits are from those of objects followed one by one. Ends with one JSON line.

Times are those of this process on one thread of the processor, so that other work on the machine does not count; on a
GPU they are those of the clock.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import torch
from sam2_reward import SIZES, create, timed

from thinkseg.cli.options import count
from thinkseg.models.trackers.sam2_session import Session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="hiera-tiny", choices=SIZES, help="its size (default: hiera-tiny)")
    parser.add_argument("--objects", type=count, default=4, help="objects followed (default: 4)")
    parser.add_argument("--frames", type=count, default=3, help="frames they are followed through (default: 3)")
    parser.add_argument("--together", type=count, nargs="+", default=[1, 4], help="at once (default: 1 4)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = create(arguments.model).to(arguments.device)
    features = [random_features(model, frame) for frame in range(arguments.frames)]
    boxes = random_boxes(arguments.objects)
    print(f"{arguments.model} at 1024, {arguments.objects} objects in {arguments.frames} frames")
    told, expected = [], None
    for together in arguments.together:
        seconds, logits = timed(lambda: follow(model, boxes, features, together))  # noqa: B023
        expected = logits if expected is None else expected
        apart = float((logits - expected).abs().max())
        told.append({"together": together, "seconds": seconds / arguments.objects / arguments.frames, "apart": apart})
        print("{together} at once: {seconds:.2f} s an object and frame, logits {apart:.1e} apart".format(**told[-1]))
    print(json.dumps({**vars(arguments), "together": told}))


def random_features(model: Any, seed: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Features of a picture that no one has seen, and a position encoding, as the image encoder shapes them."""
    rng = torch.Generator().manual_seed(seed)
    channels = (model.hidden_dim // 8, model.hidden_dim // 4, model.hidden_dim)
    sizes = zip(model.backbone_feature_sizes, channels, strict=True)
    levels = [torch.randn(height * width, 1, depth, generator=rng) for (height, width), depth in sizes]
    return [level.to(model.device) for level in levels], torch.randn_like(levels[-1]).to(model.device)


def random_boxes(num: int) -> np.ndarray:
    """Boxes float32 (num, 4) in a picture of 1280x720."""
    corners = np.random.default_rng(0).uniform(0, 300, (num, 2))
    return np.concatenate([corners, corners + 300], axis=1).astype(np.float32)


def follow(
    model: Any, boxes: np.ndarray, features: list[tuple[list[torch.Tensor], torch.Tensor]], together: int
) -> torch.Tensor:
    """Mask logits (T, N, 1, h, w) of objects followed from the first frame on."""
    session = Session(model, len(features), (1280, 720), 0, boxes, together)
    return torch.stack([session.look(frame, *found) for frame, found in enumerate(features)])


if __name__ == "__main__":
    main()
