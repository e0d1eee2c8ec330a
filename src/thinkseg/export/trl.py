"""The format of TRL:

train.jsonl           {"prompt": messages, "images": ["...png", ...], "ground_truth": the ground truth as JSON}
thinkseg_trl.py       `prompts()`, the data set, and `REWARDS`, functions for GRPOTrainer
thinkseg_rewards.py   the rewards
thinkseg_client.py    the connection to a reward server
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thinkseg.export.common import content_parts, copy_kit, truth_json, write_lines
from thinkseg.export.job import ExportJob
from thinkseg.export.samples import ExportSample


def write(samples: Iterable[ExportSample], job: ExportJob) -> None:
    """Writes all files of the format."""
    copy_kit(job.folder, "thinkseg_rewards.py", "thinkseg_client.py", "thinkseg_trl.py")
    write_lines(map(_row, samples), job.folder / "train.jsonl")


def _row(sample: ExportSample) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": content_parts(sample.turns[0])}],
        "images": list(sample.images[0]),
        "ground_truth": truth_json(sample),
    }
