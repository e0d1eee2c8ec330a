"""Speed of J and F, compared with the steps of DAVIS's evaluator in OpenCV and NumPy: `python benchmarks/metrics.py`.

Both implementations score the same masks in one process on one thread, at 480x854 and 1080x1920; their results must be
bit-identical. Frames are of three types: an object of typical size whose prediction is shifted, noise, which has the
longest contours, and empty frames. Masks are given as arrays and as RLEs, which the plain implementation decodes.

Times are CPU milliseconds per object and frame, the best of several rounds. Prints a table, ends with one JSON line,
and writes that line to the file of --out.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from thinkseg.ops.masks import from_stacks
from thinkseg.ops.metrics import j_and_f, masklets_j_and_f

SIZES = {"480x854": (480, 854), "1080x1920": (1080, 1920)}
NUM_FRAMES = 8

Scores = tuple[np.ndarray, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds, of which the best counts (default: 7)")
    parser.add_argument("--out", type=Path, help="file for the JSON line")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    results: dict[str, dict[str, float]] = {}
    print(f"{'frames':<22}{'plain':>9}{'ours':>9}{'ratio':>8}{'plain, RLE':>13}{'ours, RLE':>11}{'ratio':>8}")
    for size, (height, width) in SIZES.items():
        for name, make in FRAMES.items():
            row = measure(*make(height, width), args.rounds)
            results[f"{size} {name}"] = row
            cells = f"{row['plain_ms']:>9.3f}{row['ours_ms']:>9.4f}{row['ratio']:>8.1f}"
            cells += f"{row['plain_rle_ms']:>13.3f}{row['ours_rle_ms']:>11.4f}{row['ratio_rle']:>8.1f}"
            print(f"{size + ' ' + name:<22}{cells}", flush=True)
    machine = {"cpu": cpu_name(), "python": platform.python_version(), "opencv": cv2.__version__}
    line = json.dumps({"benchmark": "metrics", **machine, "figures": results})
    if args.out:
        args.out.write_text(line + "\n", "utf-8")
    print(line)


def measure(predicted: np.ndarray, truth: np.ndarray, rounds: int) -> dict[str, float]:
    """Milliseconds per object and frame of each implementation, and the ratios of plain to ours."""
    from thinkseg.rle import decode

    ours, true = from_stacks(predicted[None]), from_stacks(truth[None])
    blank = np.zeros(truth.shape[1:], bool)

    def decoded(track) -> np.ndarray:
        return np.stack([blank if rle is None else decode(rle) for rle in track])

    implementations: dict[str, Callable[[], Scores]] = {
        "plain_ms": lambda: plain_j_and_f(predicted, truth),
        "ours_ms": lambda: j_and_f(predicted, truth),
        "plain_rle_ms": lambda: plain_j_and_f(decoded(ours.rles[0]), decoded(true.rles[0])),
        "ours_rle_ms": lambda: masklets_j_and_f(ours, true),
    }
    expected = plain_j_and_f(predicted, truth)
    for name, implementation in implementations.items():
        assert np.array_equal(implementation(), expected), f"{name}: differs from plain_ms"
    best = dict.fromkeys(implementations, float("inf"))
    for _ in range(rounds):
        for name, implementation in implementations.items():
            start = time.process_time()
            implementation()
            best[name] = min(best[name], (time.process_time() - start) * 1e3 / len(truth))
    best["ratio"] = best["plain_ms"] / best["ours_ms"]
    best["ratio_rle"] = best["plain_rle_ms"] / best["ours_rle_ms"]
    return {name: round(value, 4) for name, value in best.items()}


def plain_j_and_f(predicted: np.ndarray, truth: np.ndarray) -> Scores:
    """J and F in the steps of DAVIS's evaluator: full arrays, a mask of void pixels, dilated contours.

    Keeps all of its copies and conversions, because they are part of its cost.
    """
    ours, true = predicted.astype(bool), truth.astype(bool)
    void = np.zeros_like(ours)
    shared = ((ours & true) & np.logical_not(void)).sum(axis=(1, 2))
    either = ((ours | true) & np.logical_not(void)).sum(axis=(1, 2))
    j = np.divide(shared, either, out=np.ones(len(truth)), where=either > 0)
    f = [plain_f(*masks) for masks in zip(predicted, truth, strict=True)]
    return j, np.array(f, np.float64)


def plain_f(predicted: np.ndarray, truth: np.ndarray) -> float:
    void = np.zeros_like(predicted).astype(bool)
    radius = int(np.ceil(0.008 * np.linalg.norm(truth.shape)))
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    ours, true = (plain_contour(mask * np.logical_not(void)) for mask in (predicted, truth))
    near_ours, near_true = cv2.dilate(ours.astype(np.uint8), disk), cv2.dilate(true.astype(np.uint8), disk)
    found, met = ours * near_true, true * near_ours
    num_ours, num_true = np.sum(ours), np.sum(true)
    if num_ours == 0 or num_true == 0:
        return float(num_ours == num_true)
    precision, recall = np.sum(found) / float(num_ours), np.sum(met) / float(num_true)
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


def plain_contour(mask: np.ndarray) -> np.ndarray:
    mask = mask.astype(bool)
    mask[mask > 0] = True
    east, south, diagonal = (np.zeros_like(mask) for _ in range(3))
    east[:, :-1] = mask[:, 1:]
    south[:-1] = mask[1:]
    diagonal[:-1, :-1] = mask[1:, 1:]
    contour = mask ^ east | mask ^ south | mask ^ diagonal
    contour[-1] = mask[-1] ^ east[-1]
    contour[:, -1] = mask[:, -1] ^ south[:, -1]
    contour[-1, -1] = False
    return contour


def moving_object(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A lobed object that moves and turns, about a third of the frame high, and a prediction shifted by some pixels."""
    truth, predicted = np.zeros((2, NUM_FRAMES, height, width), np.uint8)
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    for frame in range(NUM_FRAMES):
        for masks, turn, shift in ((truth, 0.0, 0.0), (predicted, 0.06, 0.012)):
            lobes = 0.15 * np.cos(3 * angles + turn) + 0.1 * np.cos(7 * angles - 2 * turn + 0.1 * frame)
            x = width * (0.4 + 0.01 * frame) + height * (shift + 0.17 * (1 + lobes) * np.cos(angles))
            y = height * (0.5 + shift) + height * 0.17 * (1 + lobes) * np.sin(angles)
            cv2.fillPoly(masks[frame], [np.stack([x, y], axis=1).astype(np.int32)], 1)
    return predicted.astype(bool), truth.astype(bool)


def noise(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    predicted, truth = rng.random((2, NUM_FRAMES, height, width), np.float32) < 0.5
    return predicted, truth


def empty(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    predicted, truth = np.zeros((2, NUM_FRAMES, height, width), bool)
    return predicted, truth


FRAMES = {"object": moving_object, "noise": noise, "empty": empty}


def cpu_name() -> str:
    """The processor's name, e.g. "AMD EPYC", or its architecture if the system does not report a name."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
