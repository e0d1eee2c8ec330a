"""Annotates with a failing server in a run that is killed: `python benchmarks/annotate_faults.py --count 500`.

A scripted server on loopback is the annotator. One request in ten fails: too many requests, an error, a timeout, half a
body, an invalid body. Some answers are refusals, truncated, invalid or wrong. `thinkseg annotate` runs in a process of
its own, is killed (SIGKILL) at random moments, and rerun. At the end, no stored answer was requested again, and the
set is byte-identical to that of an undisturbed run.

Prints the answers stored at each kill and ends with one JSON line. Exits with status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent / "tests" / "helpers"))

from scriptedserver import Response, ScriptedServer, busy, completion, failed

TIMEOUT = 4.0
"""Seconds per request."""

DOUBTFUL = (
    "At {} s it is on the left.",
    "At {} s it is at the top.",
    "At {} s all seven objects are in sight.",
    "At {} s it is the one with the thick outline.",
    "It can be seen clearly before the ground at 99 s.",
    "At {} s there is no such object in the frame.",
)
"""Claims that are wrong for some targets, or for all."""

FAULTS = ("busy", "error", "late", "cut", "garbage")


class Annotator:
    """The server. An answer depends on the prompt only; a fault also on the number of its requests so far.

    fault_rate: share of requests that fail. requested, answered: number of requests and complete answers, by the
    receipts in the answers. faults: number of faults by type.
    """

    def __init__(self) -> None:
        self.fault_rate = 0.0
        self.requested: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Resets the counters."""
        for counter in (self.requested, self.answered, self.faults):
            counter.clear()

    def __call__(self, body: dict[str, Any]) -> Response:
        content = body["messages"][0]["content"]
        receipt = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        with self._lock:
            self.requested[receipt] += 1
            rng = random.Random(f"{receipt} {self.requested[receipt]}")
            if rng.random() < self.fault_rate:
                fault = rng.choice(FAULTS)
                self.faults[fault] += 1
                return _fault_response(fault)
            self.answered[receipt] += 1
        prompt = " ".join(part["text"] for part in content if part["type"] == "text")
        return Response(_answer(prompt, receipt), delay=0.05)


def _fault_response(fault: str) -> Response:
    return {
        "busy": busy(0.2),
        "error": failed(500),
        "late": Response(completion("too late"), delay=TIMEOUT + 0.5),
        "cut": Response(completion("half of it"), cut=100),
        "garbage": Response(b"<html>Bad gateway</html>"),
    }[fault]


def _answer(prompt: str, receipt: str) -> dict[str, Any]:
    """Returns the answer to a prompt: about one in five is doubtful, a refusal, truncated or invalid."""
    rng = random.Random(receipt)
    keyframe = re.search(r"(\d+(?:\.\d+)?) s\b(?!:)", prompt)
    steps = {
        "summary": f"Coloured shapes drift over a cloudy ground, as film {receipt} shows from its first frame on.",
        "reason": "The question describes what to look for, and one has to compare the shapes to find it.",
        "place": "None of the shapes in these frames is what the question describes.",
    }
    if keyframe:
        steps["place"] = f"At {keyframe[1]} s it can be seen clearly before the ground."
        if rng.random() < 0.2:
            steps["place"] = rng.choice(DOUBTFUL).format(keyframe[1])
    text = "".join(f"<{name}>{step}</{name}>" for name, step in steps.items())
    draw = rng.random()
    if draw < 0.02:
        return completion(None, refusal=f"I would rather not say anything about film {receipt}.")
    if draw < 0.04:
        return completion(text[: len(text) // 2], finish_reason="length")
    return completion(text.replace("<place>", "Place: ") if draw < 0.06 else text)


def start(name: str, count: int, out: Path) -> subprocess.Popen[bytes]:
    draw = ["--count", str(count), "--pool", str(3 * count // 2), "--include-no-target", "--balance", "balanced"]
    requests = ["--annotator", name, "--timeout", str(TIMEOUT), "--concurrency", "8"]
    command = [sys.executable, "-m", "thinkseg", "annotate", "shapes", *draw, *requests, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def receipts(out: Path) -> list[str]:
    """Returns the receipts in the stored answers."""
    path = out / "answers.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    # Truncated answers contain it too: it is at the beginning.
    return [re.findall("film ([0-9a-f]{16})", json.loads(line).get("reply", ""))[0] for line in lines]


def run_with_kills(annotator: Annotator, name: str, count: int, out: Path, kills: int) -> int:
    """Kills the run `kills` times, then completes it. Returns the number of repeated requests for stored answers."""
    states = []
    for number in range(kills):
        goal = len(receipts(out)) + random.randint(1, max(1, (count - len(receipts(out))) // 2))
        process = start(name, count, out)
        while process.poll() is None and len(receipts(out)) < goal:
            time.sleep(0.02)
        process.kill()
        process.wait()
        stored, requested = receipts(out), annotator.requested.copy()
        print(f"kill {number + 1}: {len(stored)} answers stored, {annotator.answered.total()} given", flush=True)
        states.append((set(stored), requested))
    start(name, count, out).wait()
    return sum(annotator.requested[one] > requested[one] for stored, requested in states for one in stored)


def contents(out: Path) -> dict[str, object]:
    """Returns the content of all files of a set."""
    names = ("samples.jsonl", "rejected.jsonl", "counts.json", "settings.json")
    frames = {str(path.relative_to(out)): path.read_bytes() for path in (out / "frames").rglob("*.jpg")}
    return {**{name: (out / name).read_bytes() for name in names}, "frames": frames}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500, help="number of questions")
    parser.add_argument("--kills", type=int, default=2, help="number of kills")
    parser.add_argument("--faults", type=float, default=0.1, help="share of requests that fail")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--keep", type=Path, help="folder for the set (default: a temporary one)")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    annotator = Annotator()
    with tempfile.TemporaryDirectory() as temporary, ScriptedServer(annotator) as server:
        undisturbed, killed = Path(temporary) / "undisturbed", arguments.keep or Path(temporary) / "killed"
        name = f"openai:scripted@{server.base_url}"
        start(name, arguments.count, undisturbed).wait()
        annotator.clear()
        annotator.fault_rate = arguments.faults
        repeated = run_with_kills(annotator, name, arguments.count, killed, arguments.kills)
        expected, found = contents(undisturbed), contents(killed)
        counts = json.loads((killed / "counts.json").read_text())
        stored = len(receipts(killed))
    same = {part: expected[part] == found[part] for part in expected}
    report = {
        "faults": dict(annotator.faults),
        "requests": annotator.requested.total(),
        "answers given": annotator.answered.total(),
        "answers stored": stored,
        "in flight at a kill": annotator.answered.total() - stored,
        "stored and requested again": repeated,
        "same": same,
        "counts": counts,
    }
    print(json.dumps(report))
    return 0 if all(same.values()) and not repeated and stored == counts["drawn"] else 1


if __name__ == "__main__":
    sys.exit(main())
