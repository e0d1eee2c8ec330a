"""A set made through a server that fails, by a run that is killed: `python benchmarks/annotate_faults.py --count 500`.

A scripted server on loopback plays the annotator. One request in ten goes wrong: too many requests, an error, no answer
in time, half a body, a body that is no completion. Of the answers themselves some are refused, cut short, out of form
or wrong. `thinkseg annotate` runs against it in a process of its own, is killed (SIGKILL) at random moments, and
started again. In the end no answer that was kept has been asked for again, and the set is the one that a run makes that
nothing disturbs: the same samples, the same rejected answers, the same frames, byte by byte.

Prints how far each run got and ends with one JSON line; the status is 1 if anything differs.
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
"""Seconds that the run gives the server for an answer."""

DOUBTFUL = (
    "At {} s it is on the left.",
    "At {} s it is at the top.",
    "At {} s all seven objects are in sight.",
    "At {} s it is the one with the thick outline.",
    "It can be seen clearly before the ground at 99 s.",
    "At {} s there is no such object in the frame.",
)
"""What is wrong of some targets, or of any."""

FAULTS = ("busy", "error", "late", "cut", "garbage")


class Annotator:
    """What the server says. An answer depends on its question alone; what goes wrong, on how often it was asked, too.

    faults: share of the first attempts that go wrong, and of the second ones, and so on.
    asked: how often each question was, `paid`: how often it was answered in full; by the receipts in the answers.
    """

    def __init__(self) -> None:
        self.faults = 0.0
        self.asked: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Begins to count anew."""
        for counted in (self.asked, self.paid, self.met):
            counted.clear()

    def __call__(self, body: dict[str, Any]) -> Response:
        content = body["messages"][0]["content"]
        receipt = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        with self._lock:
            self.asked[receipt] += 1
            chance = random.Random(f"{receipt} {self.asked[receipt]}")
            if chance.random() < self.faults:
                kind = chance.choice(FAULTS)
                self.met[kind] += 1
                return _fault(kind)
            self.paid[receipt] += 1
        words = " ".join(part["text"] for part in content if part["type"] == "text")
        return Response(_answer(words, receipt), delay=0.05)


def _fault(kind: str) -> Response:
    return {
        "busy": busy(0.2),
        "error": failed(500),
        "late": Response(completion("too late"), delay=TIMEOUT + 0.5),
        "cut": Response(completion("half of it"), cut=100),
        "garbage": Response(b"<html>Bad gateway</html>"),
    }[kind]


def _answer(words: str, receipt: str) -> dict[str, Any]:
    """An answer to a prompt: what it asks for, or in one case of five something that must not be kept."""
    chance = random.Random(receipt)
    moment = re.search(r"(\d+(?:\.\d+)?) s\b(?!:)", words)
    steps = {
        "summary": f"Coloured shapes drift over a cloudy ground, as film {receipt} shows from its first frame on.",
        "reason": "The question describes what to look for, and one has to compare the shapes to find it.",
        "place": "None of the shapes in these frames is what the question describes.",
    }
    if moment:
        steps["place"] = f"At {moment[1]} s it can be seen clearly before the ground."
        if chance.random() < 0.2:
            steps["place"] = chance.choice(DOUBTFUL).format(moment[1])
    text = "".join(f"<{name}>{step}</{name}>" for name, step in steps.items())
    odd = chance.random()
    if odd < 0.02:
        return completion(None, refusal=f"I would rather not say anything about film {receipt}.")
    if odd < 0.04:
        return completion(text[: len(text) // 2], finish_reason="length")
    return completion(text.replace("<place>", "Place: ") if odd < 0.06 else text)


def start(name: str, count: int, out: Path) -> subprocess.Popen[bytes]:
    drawing = [
        "shapes",
        "--count",
        str(count),
        "--pool",
        str(3 * count // 2),
        "--include-no-target",
        "--balance",
        "balanced",
    ]
    asking = ["--annotator", name, "--timeout", str(TIMEOUT), "--concurrency", "8"]
    command = [sys.executable, "-m", "thinkseg", "annotate", *drawing, *asking, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def receipts(out: Path) -> list[str]:
    """The receipts of the answers that were kept."""
    path = out / "answers.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    # Answers cut short hold theirs as well: it stands at the beginning.
    return [re.findall("film ([0-9a-f]{16})", json.loads(line).get("reply", ""))[0] for line in lines]


def killed(annotator: Annotator, name: str, count: int, out: Path, kills: int) -> list[int]:
    """Kills a run this often, each time after a part of what is left; returns answers kept and then asked for again."""
    twice = []
    for number in range(kills):
        goal = len(receipts(out)) + random.randint(1, max(1, (count - len(receipts(out))) // 2))
        process = start(name, count, out)
        while process.poll() is None and len(receipts(out)) < goal:
            time.sleep(0.02)
        process.kill()
        process.wait()
        kept, before = receipts(out), annotator.asked.copy()
        print(f"kill {number + 1}: {len(kept)} answers kept, {annotator.paid.total()} given", flush=True)
        twice.append((set(kept), before))
    start(name, count, out).wait()
    return [sum(annotator.asked[one] > before[one] for one in kept) for kept, before in twice]


def contents(out: Path) -> dict[str, object]:
    """Everything that a set consists of."""
    names = ("samples.jsonl", "rejected.jsonl", "counts.json", "settings.json")
    frames = {str(path.relative_to(out)): path.read_bytes() for path in (out / "frames").rglob("*.jpg")}
    return {**{name: (out / name).read_bytes() for name in names}, "frames": frames}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--faults", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="where to leave the set; it must not be there yet")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    annotator = Annotator()
    with tempfile.TemporaryDirectory() as temporary, ScriptedServer(annotator) as server:
        whole, parts = Path(temporary) / "whole", arguments.keep or Path(temporary) / "parts"
        name = f"openai:scripted@{server.base_url}"
        start(name, arguments.count, whole).wait()
        annotator.forget()
        annotator.faults = arguments.faults
        twice = killed(annotator, name, arguments.count, parts, arguments.kills)
        expected, found = contents(whole), contents(parts)
        counts = json.loads((parts / "counts.json").read_text())
        kept = len(receipts(parts))
    same = {part: expected[part] == found[part] for part in expected}
    told = {
        "faults": dict(annotator.met),
        "requests": annotator.asked.total(),
        "answers given": annotator.paid.total(),
        "answers kept": kept,
        "lost on their way at a kill": annotator.paid.total() - kept,
        "kept and asked for again": sum(twice),
        "same": same,
        "counts": counts,
    }
    print(json.dumps(told))
    return 0 if all(same.values()) and not sum(twice) and kept == counts["drawn"] else 1


if __name__ == "__main__":
    sys.exit(main())
