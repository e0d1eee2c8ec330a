"""ThinkSeg's prompts and rewards for TRL's GRPOTrainer. Written for TRL 1.16.

    from thinkseg_trl import REWARDS, prompts

    GRPOTrainer(model, REWARDS, args, train_dataset=prompts())

This file, thinkseg_rewards.py and the images must stay in the folder of the export, which must be on PYTHONPATH.
`GRPOConfig(reward_weights=[...])` sets the weights, in the order of `REWARDS`. With the environment variable
THINKSEG_REWARD_URL, `REWARDS` also has `consistency_reward`, which comes from `thinkseg reward-server`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import thinkseg_client
import thinkseg_rewards

if TYPE_CHECKING:
    from datasets import Dataset

FOLDER = Path(__file__).resolve().parent


def prompts() -> Dataset:
    """Returns the prompts with their images, which are read on use. Raises RewardServerError if the server is down."""
    from datasets import Dataset, Image, List

    with (FOLDER / "train.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    if thinkseg_client.server_url():
        thinkseg_client.check(*{thinkseg_rewards.read_truth(row["ground_truth"])["dataset"] for row in rows})
    for row in rows:
        row["images"] = [str(FOLDER / name) for name in row["images"]]
    return Dataset.from_list(rows).cast_column("images", List(Image()))


def format_reward(completions: list[Any], ground_truth: list[str], **_: Any) -> list[float | None]:
    """1 for a reply with the required tags and fields, else 0."""
    return _rewards("format", completions, ground_truth)


def keyframe_reward(completions: list[Any], ground_truth: list[str], **_: Any) -> list[float | None]:
    """Target area in the chosen frame / largest target area in any frame shown."""
    return _rewards("keyframe", completions, ground_truth)


def boxes_reward(completions: list[Any], ground_truth: list[str], **_: Any) -> list[float | None]:
    """IoU of matched boxes / larger number of boxes."""
    return _rewards("boxes", completions, ground_truth)


def consistency_reward(completions: list[Any], ground_truth: list[str], **_: Any) -> list[float | None]:
    """Mean IoU of the masks that a tracker makes of the matched boxes, from the server."""
    asked = []
    for text, truth in _replies(completions, ground_truth):
        asked.append(([thinkseg_rewards.complete_reply(text, truth)], truth, {"consistency": 1.0}))
    return [terms["consistency"] for _, terms in thinkseg_client.score_all(asked)]


REWARDS = [format_reward, keyframe_reward, boxes_reward]
if thinkseg_client.server_url():
    REWARDS.append(consistency_reward)


def _rewards(name: str, completions: list[Any], ground_truth: list[str]) -> list[float | None]:
    reward = thinkseg_rewards.REWARDS[name]
    replies = _replies(completions, ground_truth)
    return [reward(thinkseg_rewards.parse_rollout([text], truth), truth) for text, truth in replies]


def _replies(completions: list[Any], ground_truth: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Returns the text and the ground truth of each completion."""
    return [
        (completion if isinstance(completion, str) else _text(completion[-1]), thinkseg_rewards.read_truth(truth))
        for completion, truth in zip(completions, ground_truth, strict=True)
    ]


def _text(message: dict[str, Any]) -> str:
    """Returns the text of a message, whose content TRL gives as text or as a list of parts, with its thinking.

    TRL moves the thinking to a field of its own if it can parse replies of the model.
    """
    content = message.get("content") or ""
    text = content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
    thinking = message.get("reasoning_content") or message.get("thinking")
    return f"<think>{thinking}</think>{text}" if thinking else text
