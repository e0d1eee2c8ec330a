import numpy as np
import pytest
import torch

from thinkseg.data.shapes import load
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import Group, RolloutScore
from thinkseg.training.grpo.metrics import StepMetrics, told
from thinkseg.types import Answer, Outcome

BOXES = np.zeros((0, 4), np.float32)


def answered(keyframe: int | None, tokens: int) -> Outcome:
    return Outcome(Answer("", keyframe, BOXES), None, (), num_tokens=tokens)


def groups() -> list[Group]:
    """Two groups of two; the frames shown are 3 and 9."""
    prompt = Prompt(load("train", 0, (32, 32)), (3, 9))
    outcomes = [answered(9, 4), Outcome(None, "tags", (), num_tokens=6)]
    others = [answered(None, 2), Outcome(None, "truncated", (), truncated=True, num_tokens=8)]
    scores = [RolloutScore({"boxes": 0.5, "keyframe": None}, 0.5), RolloutScore({"boxes": 0.0, "keyframe": None}, 0.0)]
    same = [RolloutScore({"boxes": None, "keyframe": None}, 1.0)] * 2
    return [
        Group(prompt, tuple(outcomes), tuple(scores), np.array([0.7, -0.7])),
        Group(prompt, tuple(others), tuple(same), np.zeros(2)),
    ]


def test_figures_by_hand() -> None:
    assert told(groups(), ["boxes", "keyframe"]) == {
        "reward": 0.625,
        "reward/boxes": 0.25,
        "parsed": 0.5,
        "truncated": 0.25,
        "failed/tags": 0.25,
        "failed/truncated": 0.25,
        "teaching": 0.5,
        "tokens": 5.0,
        "tokens_most": 8.0,
        "written": 20.0,
        "keyframe/1": 0.5,
        "keyframe/none": 0.5,
    }


def test_a_step_is_told_once() -> None:
    telling = StepMetrics()
    assert telling.end() == {}
    telling.begin(told(groups(), ["boxes"]), 4.0, 0.5)
    telling.learned(torch.full((3,), np.log(8)), torch.tensor([0.1, 0.2, 0.3]))
    telling.learned(torch.tensor([np.log(4)]), torch.tensor([0.4]))
    facts = telling.end()
    assert facts["entropy"] == pytest.approx((3 * np.log(8) + np.log(4)) / 4)
    assert facts["kl"] == pytest.approx(0.25)
    assert (facts["seconds/rollout"], facts["seconds/reward"], facts["tokens_a_second"]) == (4.0, 0.5, 5.0)
    assert facts["seconds/update"] >= 0
    assert "written" not in facts
    assert telling.end() == {}


def test_what_was_not_learned_is_not_told() -> None:
    telling = StepMetrics()
    telling.begin(told(groups(), []), 1.0, 1.0)
    assert not {"entropy", "kl"} & telling.end().keys()
    telling.begin(told(groups(), []), 1.0, 1.0)
    telling.learned(torch.ones(5), None)
    facts = telling.end()
    assert "kl" not in facts
    assert facts["entropy"] == pytest.approx(1)
