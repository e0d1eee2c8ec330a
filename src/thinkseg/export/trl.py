"""TRL's columns: questions whose truth is known in; rows, and a module that loads and judges them, out.

train.jsonl           {"prompt": messages, "images": ["...png", ...], "ground_truth": the truth as JSON}
thinkseg_trl.py       `prompts()`, a data set of them, and `REWARDS`, functions for GRPOTrainer
thinkseg_rewards.py   what those call
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thinkseg.export.common import copy_kit, parts_of, truth_of
from thinkseg.export.job import Job, write_lines
from thinkseg.export.questions import Question


def write(questions: Iterable[Question], job: Job) -> None:
    """Writes the rows and what goes with them."""
    copy_kit(job.folder, "thinkseg_rewards.py", "thinkseg_trl.py")
    write_lines(map(_row, questions), job.folder / "train.jsonl")


def _row(question: Question) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": parts_of(question.turns[0])}],
        "images": list(question.pictures[0]),
        "ground_truth": truth_of(question),
    }
