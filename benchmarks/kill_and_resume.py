"""Resumes an evaluation that is killed at random times: `python benchmarks/kill_and_resume.py --kills 20`.

Evaluates a small data set in the layout of ReVOS in a separate process, kills the process (SIGKILL) at a random time
after it has written a row, and starts it again. The final results must equal those of an uninterrupted evaluation: the
same rows in the same order, the same scores and the same masks. Prints the progress of each run and ends with one JSON
line. Exits with status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.data import open_benchmark
from thinkseg.data.shapes.writer import write_dataset
from thinkseg.evaluation.evaluate import Method, evaluate
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.masks import from_stacks
from thinkseg.types import Dialogue, Frames, Masklets, ProgressCallback, Turn, View

SIZE_WH = (32, 24)

REPLY_SECONDS = 0.02


class BoxTracker:
    """Returns the filled boxes as masks of every frame."""

    name = "boxes"

    def track(
        self, video: Frames, keyframe: int, boxes: np.ndarray, progress: ProgressCallback | None = None
    ) -> Masklets:
        width, height = video.size_wh
        masks = np.zeros((len(boxes), len(video), height, width), bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().astype(int), strict=True):
            mask[:, y1:y2, x1:x2] = True
        return from_stacks(masks)


def reply(dialogue: Dialogue) -> str:
    """Returns a reply that depends on the question only; one in eight is unusable."""
    time.sleep(REPLY_SECONDS)
    question = dialogue[0]
    assert isinstance(question, Turn)  # every dialogue begins with a turn
    random_bits = zlib.crc32(str(question.content[-1]).encode())
    if random_bits % 8 == 0:
        return "no idea"
    x, y = random_bits % 16, random_bits // 16 % 12
    return (
        f'<think>.</think><answer>{{"keyframe_timestamp": 0, "bbox_2d_list": [[{x}, {y}, {x + 9}, {y + 9}]]}}</answer>'
    )


def run(root: Path, out: Path) -> None:
    policy = ScriptedPolicy(reply, view=View(num_frames=2, frame_wh=SIZE_WH))
    evaluate(open_benchmark("revos", root), Method("veason", policy, BoxTracker(), batch_size=2), out)


def start(root: Path, out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--root", str(root), "--out", str(out)])


def count_rows(out: Path) -> int:
    path = out / "results.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_repeatedly(root: Path, out: Path, kills: int) -> int:
    """Starts and kills an evaluation up to `kills` times. Returns the number of kills; a run may finish first."""
    for count in range(kills):
        before, process = count_rows(out), start(root, out)
        while process.poll() is None and count_rows(out) == before:
            time.sleep(0.005)
        time.sleep(random.uniform(0, 6 * REPLY_SECONDS))
        if process.poll() is not None:
            return count
        process.kill()
        process.wait()
        print(f"kill {count + 1}: {before} -> {count_rows(out)} rows")
    return kills


def contents(out: Path) -> dict[str, Any]:
    """Reads the results of an evaluation, without times."""
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]
    files = {str(path.relative_to(out)): path.read_bytes() for path in (out / "masks").rglob("*.json")}
    return {"rows": rows, "scores": json.loads((out / "scores.json").read_text()), "masks": files}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.root:
        run(arguments.root, arguments.out)
        return 0
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        root, uninterrupted, resumed = (Path(name) / part for part in ("data", "uninterrupted", "resumed"))
        root.mkdir()
        write_dataset(root, "val", range(arguments.clips), SIZE_WH, num_questions=3)
        run(root, uninterrupted)
        kills = kill_repeatedly(root, resumed, arguments.kills)
        start(root, resumed).wait()
        expected, found = contents(uninterrupted), contents(resumed)
    same = {part: expected[part] == found[part] for part in expected}
    print(json.dumps({"kills": kills, "rows": len(found["rows"]), "same": same}))
    return 0 if all(same.values()) and kills == arguments.kills else 1


if __name__ == "__main__":
    sys.exit(main())
