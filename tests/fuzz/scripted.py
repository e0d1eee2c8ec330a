"""Evaluation of small benchmarks with a scripted policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.evaluation.evaluate import Method, evaluate
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.models.trackers.flow.tracker import FlowTracker
from thinkseg.types import Dialogue, View

VIEW = View(3, (10, 8), closeup_wh=(20, 16))

FOUND = '<think>there</think><answer>{"keyframe_timestamp": 0, "bbox_2d_list": [[0, 0, 4, 4], [4, 4, 8, 8]]}</answer>'


def evaluated(benchmark: Benchmark, out: Path) -> dict[str, Any]:
    """Evaluates a benchmark, or resumes that, on the same replies to the same prompts. Returns the scores."""
    method = Method("veason", ScriptedPolicy(_reply, view=VIEW), FlowTracker())
    return evaluate(benchmark, method, out, save_png=True)


def _reply(dialogue: Dialogue) -> str:
    texts = [part for turn in dialogue if not isinstance(turn, str) for part in turn.content if isinstance(part, str)]
    return "junk" if sum(map(len, texts)) % 4 == 0 else FOUND
