"""Speed of scoring mask images, from files to metrics: `python benchmarks/scoring.py`.

Writes clips of shapes in the layout of ReVOS and predictions for them as PNG files (the ground truth, shifted by three
pixels). Scores these as `thinkseg score` does, and with a plain implementation, which decodes an image and an RLE per
frame and dilates contours with OpenCV. The results must be bit-identical. Prints the times and ends with one JSON line.

Times are CPU times of this process on one thread, so that other load on the machine is not counted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco

from thinkseg.cli.parsers import size
from thinkseg.data import open_benchmark
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.data.shapes.writer import write_dataset
from thinkseg.evaluation.offline import score
from thinkseg.evaluation.predictions import PngPredictions, encode_png
from thinkseg.ops.metrics import tolerance_px


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=100, help="clips, with up to three questions each (default: 100)")
    parser.add_argument(
        "--size", type=size, default=(224, 224), metavar="WxH", help="size of the frames (default: 224x224)"
    )
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        root, predictions = Path(name) / "data", Path(name) / "predictions"
        root.mkdir()
        write_dataset(root, "val", range(arguments.clips), arguments.size, num_questions=3)
        benchmark = open_benchmark("revos", root)
        frames = predict(benchmark, predictions)
        # The first run compiles and caches, which is not timed.
        score(benchmark, PngPredictions(predictions))
        started = time.process_time()
        rows = score(benchmark, PngPredictions(predictions))
        ours = time.process_time() - started
        started = time.process_time()
        plain = scored_plainly(benchmark, root, predictions)
        theirs = time.process_time() - started
    same = [(row["j"], row["f"]) for row in rows] == plain
    width, height = arguments.size
    print(f"{len(rows)} expressions, {frames} frames of {width}x{height}; bit-identical: {same}")
    print(f"thinkseg score {ours:.2f} s, plain {theirs:.2f} s: {theirs / ours:.1f} times as fast")
    result = {"expressions": len(rows), "frames": frames, "size": [width, height], "ours_s": ours, "plain_s": theirs}
    print(json.dumps({**result, "ratio": theirs / ours, "same": same}))


def predict(benchmark: Benchmark, folder: Path) -> int:
    """Writes the shifted ground truth as PNG files. Returns their number."""
    count = 0
    for expression in benchmark.expressions:
        target = folder / expression.folders[0]
        target.mkdir(parents=True)
        truth = benchmark.sample(expression).truth
        assert truth is not None
        for frame, name in enumerate(benchmark.videos[expression.video].frames):
            (target / f"{name}.png").write_bytes(encode_png(np.roll(truth.union(frame), 3, axis=1)))
            count += 1
    return count


def scored_plainly(benchmark: Benchmark, root: Path, folder: Path) -> list[tuple[float, float]]:
    """J and F of each expression in the steps of the official scripts."""
    masks = json.loads((root / "mask_dict.json").read_text())
    scores = []
    for expression in benchmark.expressions:
        frames = []
        for frame, name in enumerate(benchmark.videos[expression.video].frames):
            image = cv2.imread(str(folder / expression.folders[0] / f"{name}.png"), cv2.IMREAD_GRAYSCALE)
            ours = np.asarray(image) != 0
            true = np.zeros(ours.shape, np.uint8)
            for obj in expression.objects or ():
                rle = masks[obj][frame]
                true += 0 if rle is None else coco.decode(rle)
            frames.append((region(ours, true != 0), contour(ours, true != 0)))
        j, f = np.array(frames).T.copy()
        scores.append((float(j.mean()), float(f.mean())))
    return scores


def region(ours: np.ndarray, true: np.ndarray) -> float:
    """J of one frame."""
    union = np.sum(ours | true)
    return 1.0 if union == 0 else float(np.sum(ours & true) / union)


def contour(ours: np.ndarray, true: np.ndarray) -> float:
    """F of one frame."""
    radius = tolerance_px(*true.shape)
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    predicted, wanted = edges(ours), edges(true)
    num_predicted, num_wanted = predicted.sum(), wanted.sum()
    if num_predicted == 0 or num_wanted == 0:
        return float(num_predicted == num_wanted)
    precision = np.sum(predicted & cv2.dilate(wanted, disk)) / num_predicted
    recall = np.sum(wanted & cv2.dilate(predicted, disk)) / num_wanted
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


def edges(mask: np.ndarray) -> np.ndarray:
    """Marks pixels that differ from the pixel to the right, below, or diagonally below, uint8."""
    right, below, across = (np.zeros_like(mask) for _ in range(3))
    right[:, :-1], below[:-1], across[:-1, :-1] = mask[:, 1:], mask[1:], mask[1:, 1:]
    found = (mask ^ right) | (mask ^ below) | (mask ^ across)
    found[-1], found[:, -1] = (mask ^ right)[-1], (mask ^ below)[:, -1]
    found[-1, -1] = False
    return found.astype(np.uint8)


if __name__ == "__main__":
    main()
