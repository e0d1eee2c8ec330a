"""One worker of Ray against two: `python benchmarks/ray_workers.py --out benchmarks/results/ray.json`.

Evaluates the bundled policy on the shapes world with `thinkseg evaluate shapes`: without Ray, and with one and two
workers. Prints the seconds of each, in all and from when the first models are loaded, and whether all rows are equal
but for times. Each process has one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thinkseg.cli.parsers import count
from thinkseg.console import table

RUNS = {"no Ray": [], "1 worker": ["--ray", "--workers", "1"], "2 workers": ["--ray", "--workers", "2"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=count, default=60, help="questions (default: 60)")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folders = {label: Path(name) / str(number) for number, label in enumerate(RUNS)}
        seconds = {label: run(RUNS[label], arguments.limit, folder) for label, folder in folders.items()}
        rows = [rows_of(folder) for folder in folders.values()]
    result = {
        "limit": arguments.limit,
        "seconds": seconds,
        "ratio": round(seconds["1 worker"]["loaded"] / seconds["2 workers"]["loaded"], 2),
        "equal_rows": all(other == rows[0] for other in rows),
        "machine": {"cores": os.cpu_count(), "load_before": round(load, 1), "python": platform.python_version()},
    }
    cells = [(label, f"{times['all']:.1f}", f"{times['loaded']:.1f}") for label, times in seconds.items()]
    print(table(("", "seconds", "after loading"), cells, numbers={1, 2}))
    print(json.dumps(result))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 0 if result["equal_rows"] else 1


def run(options: Sequence[str], limit: int, out: Path) -> dict[str, float]:
    """Returns the seconds of a command, and those from when its models are loaded and it writes settings.json."""
    command = [sys.executable, "-m", "thinkseg", "evaluate", "shapes", "--limit", str(limit), "--out", str(out)]
    started, loaded = time.monotonic(), 0.0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, env=environment)
    while process.poll() is None:
        if not loaded and (out / "settings.json").exists():
            loaded = time.monotonic()
        time.sleep(0.05)
    ended = time.monotonic()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {"all": round(ended - started, 2), "loaded": round(ended - loaded, 2)}


def rows_of(out: Path) -> dict[str, Any]:
    """Returns the rows of an evaluation by id, without times."""
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text("utf-8").splitlines()]
    return {row["id"]: {name: value for name, value in row.items() if name != "seconds"} for row in rows}


if __name__ == "__main__":
    sys.exit(main())
