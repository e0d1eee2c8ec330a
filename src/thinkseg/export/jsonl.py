"""Plain lines of JSON, for programs of one's own: questions in, samples.jsonl out.

    {"id": "clip/3", "query": "the cat that jumps", "category": "reasoning", "chain": "veason",
     "messages": [{"role": "user", "content": "... 0.0 s:<image>0.4 s:<image>Question: ..."},
                  {"role": "assistant", "content": "<think>...</think><answer>...</answer>"}],
     "images": ["images/clip/00000-560x560.png", ...], "truth": {"target": true, "areas": [...], "boxes": [...], ...}}

Replies are there where they are known; truth is what thinkseg_rewards.py, which comes along, takes; null if unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thinkseg.export.common import copy_kit, messages_of
from thinkseg.export.job import Job, write_lines
from thinkseg.export.questions import Question


def write(questions: Iterable[Question], job: Job) -> None:
    """Writes samples.jsonl and thinkseg_rewards.py."""
    copy_kit(job.folder, "thinkseg_rewards.py")
    write_lines((_row(question, job.asking.chain) for question in questions), job.folder / "samples.jsonl")


def _row(question: Question, chain: str) -> dict[str, Any]:
    return {
        "id": question.id,
        "query": question.query,
        "category": question.category,
        "chain": chain,
        "messages": messages_of(question.dialogue),
        "images": [name for turn in question.pictures for name in turn],
        "truth": question.truth,
    }
