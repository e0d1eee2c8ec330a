"""Many questions in one command against a command each: `python benchmarks/many_questions.py`.

Renders clips of the shapes world and asks questions about each, with the bundled policy and the tracker flow: with one
`thinkseg segment --queries`, and with one `thinkseg segment` per question. Prints the wall time, the processor time and
the peak memory of both. Ends with one JSON line, which --out appends to a file. Needs Linux.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thinkseg.cli.parsers import count
from thinkseg.console import table
from thinkseg.data.shapes import episode
from thinkseg.data.shapes.writer import write_dataset

SPLIT = "val"

COLUMNS = ("", "seconds", "processor seconds", "peak MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=count, default=10, help="clips (default: 10)")
    parser.add_argument("--questions", type=count, default=5, help="most questions per clip (default: 5)")
    parser.add_argument("--out", type=Path, help="file to which the JSON line is appended")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        questions = write_questions(folder, arguments.clips, arguments.questions)
        many = [["--queries", str(folder / "questions.csv"), "--out", str(folder / "many")]]
        alone = [
            [str(folder / video), query, "--out", str(folder / "alone" / str(number))]
            for number, (video, query) in enumerate(questions)
        ]
        measured = {"one command": measure(many), f"{len(alone)} commands": measure(alone)}
    rows = [(label, *(f"{value:.0f}" for value in values.values())) for label, values in measured.items()]
    print(table(COLUMNS, rows, numbers=range(1, 4)))
    line = json.dumps({"clips": arguments.clips, "questions": len(questions), **measured, "machine": machine()})
    print(line)
    if arguments.out:
        with arguments.out.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def write_questions(folder: Path, clips: int, most: int) -> list[tuple[str, str]]:
    """Writes clips and questions.csv. Returns the video and the query of each question."""
    write_dataset(folder, SPLIT, range(clips), num_questions=most)
    episodes = [episode(SPLIT, index, most) for index in range(clips)]
    questions = [(f"videos/{one.id}.mp4", text) for one in episodes for text in one.texts]
    with (folder / "questions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("video", "query"), *questions])
    return questions


def measure(commands: Sequence[Sequence[str]]) -> dict[str, float]:
    """Runs `thinkseg segment` with each of these arguments. Returns the sums of times, and the largest peak memory."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    peaks = [run([sys.executable, "-m", "thinkseg", "segment", *command]) for command in commands]
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(wall, 1), "processor_seconds": round(processor, 1), "peak_mb": round(max(peaks), 1)}


def run(command: Sequence[str]) -> float:
    """Runs a command. Returns its peak memory in MB. Raises CalledProcessError, but not for unusable replies."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_maxrss / 1024


def machine() -> dict[str, Any]:
    """What the measurement ran on."""
    return {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


if __name__ == "__main__":
    main()
