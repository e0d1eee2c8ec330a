"""JSON lines for other programs:

    {"id": "clip/3", "query": "the cat that jumps", "category": "reasoning", "chain": "veason",
     "messages": [{"role": "user", "content": "... 0.0 s:<image>0.4 s:<image>Question: ..."},
                  {"role": "assistant", "content": "<think>...</think><answer>...</answer>"}],
     "images": ["images/clip/00000-560x560.png", ...], "truth": {"has_target": true, "areas": [...], ...}}

Messages include the true replies if they are known. "truth" is the ground truth for thinkseg_rewards.py, or null.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thinkseg.export.common import copy_kit, messages_of, write_lines
from thinkseg.export.job import ExportJob
from thinkseg.export.samples import ExportSample


def write(samples: Iterable[ExportSample], job: ExportJob) -> None:
    """Writes samples.jsonl and thinkseg_rewards.py."""
    copy_kit(job.folder, "thinkseg_rewards.py")
    write_lines((_row(sample, job.settings.chain) for sample in samples), job.folder / "samples.jsonl")


def _row(sample: ExportSample, chain: str) -> dict[str, Any]:
    return {
        "id": sample.id,
        "query": sample.query,
        "category": sample.category,
        "chain": chain,
        "messages": messages_of(sample.dialogue),
        "images": [name for turn in sample.images for name in turn],
        "truth": sample.truth,
    }
