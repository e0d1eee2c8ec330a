"""An annotator on loopback: one request in ten fails, and some answers are refusals, truncated, invalid or wrong."""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from reporting import HarmError

from scriptedserver import Response, busy, completion, failed
from thinkseg.annotation.answers import ANSWERS

TIMEOUT = 2.0
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

    fault_rate: share of requests that fail. stored: receipts of answers that must not be requested again.
    """

    def __init__(self) -> None:
        self.fault_rate = 0.0
        self.stored: set[str] = set()
        self._requested: Counter[str] = Counter()
        self._repeated: set[str] = set()
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forgets all requests."""
        self.stored = set()
        self._requested.clear()
        self._repeated.clear()

    def check_not_repeated(self) -> None:
        """Raises HarmError if a stored answer was requested again."""
        if self._repeated:
            raise HarmError("doubled", f"{len(self._repeated)} stored answers were requested again")

    def __call__(self, body: dict[str, Any]) -> Response:
        content = body["messages"][0]["content"]
        receipt = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        with self._lock:
            self._repeated |= {receipt} & self.stored
            self._requested[receipt] += 1
            rng = random.Random(f"{receipt} {self._requested[receipt]}")
        if rng.random() < self.fault_rate:
            return _fault_response(rng.choice(FAULTS))
        prompt = " ".join(part["text"] for part in content if part["type"] == "text")
        return Response(_answer(prompt, receipt), delay=0.05)


def receipts(out: Path) -> list[str]:
    """Returns the receipts in the stored answers of a set."""
    path = out / ANSWERS
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    # Truncated answers contain it too: it is at the beginning.
    return [re.findall("film ([0-9a-f]{16})", json.loads(line).get("reply", ""))[0] for line in lines]


def _fault_response(fault: str) -> Response:
    return {
        "busy": busy(0.1),
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
