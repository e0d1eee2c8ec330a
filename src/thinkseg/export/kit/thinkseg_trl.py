"""ThinkSeg's prompts and rewards in TRL's GRPOTrainer. Written for TRL 1.16.

    from thinkseg_trl import REWARDS, prompts

    GRPOTrainer(model, REWARDS, args, train_dataset=prompts())

This file, thinkseg_rewards.py and the pictures stay in the folder of the export, which is on PYTHONPATH.
`GRPOConfig(reward_weights=[...])` weighs the rewards, in the order of `REWARDS`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import thinkseg_rewards

if TYPE_CHECKING:
    from datasets import Dataset

FOLDER = Path(__file__).resolve().parent


def prompts() -> Dataset:
    """The prompts with their pictures, which are read as they are used."""
    from datasets import Dataset, Image, List

    with (FOLDER / "train.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        row["images"] = [str(FOLDER / name) for name in row["images"]]
    return Dataset.from_list(rows).cast_column("images", List(Image()))


def format(
    prompts: list[Any], completions: list[Any], completion_ids: list[Any], ground_truth: list[str], **_: Any
) -> list[float | None]:
    """1 for a reply with its tags and fields."""
    return _rewards("format", completions, ground_truth)


def keyframe(
    prompts: list[Any], completions: list[Any], completion_ids: list[Any], ground_truth: list[str], **_: Any
) -> list[float | None]:
    """How much of the targets is to be seen in the chosen frame."""
    return _rewards("keyframe", completions, ground_truth)


def boxes(
    prompts: list[Any], completions: list[Any], completion_ids: list[Any], ground_truth: list[str], **_: Any
) -> list[float | None]:
    """How well the boxes fit."""
    return _rewards("boxes", completions, ground_truth)


REWARDS = [format, keyframe, boxes]


def _rewards(name: str, completions: list[Any], ground_truth: list[str]) -> list[float | None]:
    reward = thinkseg_rewards.REWARDS[name]
    scores = []
    for completion, told in zip(completions, ground_truth, strict=True):
        text = completion if isinstance(completion, str) else _text(completion[-1]["content"])
        truth = json.loads(told)
        scores.append(reward(thinkseg_rewards.attempt([text], truth), truth))
    return scores


def _text(content: Any) -> str:
    """What a message says, which TRL gives as a text or as a list of parts."""
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
