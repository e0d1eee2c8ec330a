"""Replies of a policy: parsing, rewards, and their copy in the exported kit."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from random import Random
from typing import Any, get_args

import numpy as np

import thinkseg.export
from fuzzing import WrongError, check_message
from mutation import RAW, mutated_json, mutated_text, written_json
from thinkseg.chains import CHAINS
from thinkseg.chains.frames import select_frames
from thinkseg.chains.parsing import REASONS
from thinkseg.chains.repair import ANSWER_FORM, BOXES_FORM, CHOICE_FORM, REPAIRS, repaired
from thinkseg.errors import AnswerError
from thinkseg.export.samples import ExportSettings, ground_truth
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.masks import from_stacks
from thinkseg.ops.video import ArrayFrames
from thinkseg.pipeline import run_chains
from thinkseg.rewards import REWARDS, Prompt, Rollout
from thinkseg.types import Outcome, Reading, VideoSample, View

SHOWN = (0, 2, 5)
TAGGED = "<think>it moves</think><answer>{}</answer>"


class Replies:
    name = "replies"
    count = 100_000

    def prepare(self, folder: Path) -> None:
        path = Path(thinkseg.export.__file__).parent / "kit" / "thinkseg_rewards.py"
        spec = importlib.util.spec_from_file_location("kit", path)
        assert spec
        assert spec.loader
        self.kit = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.kit)
        self.settings = [
            ExportSettings(chain, View(3, (80, 60), coordinates, closeup_wh=(80, 60)), None, for_sft=False, for_rl=True)
            for chain in CHAINS
            for coordinates in ("pixels", "normalized_1000")
        ]
        self.prompts = [_prompt(number) for number in range(8)]
        self.truths: dict[tuple[int, int], Any] = {}

    def run(self, rng: Random, folder: Path) -> None:
        number, setting = rng.randrange(len(self.prompts)), rng.randrange(len(self.settings))
        prompt, settings = self.prompts[number], self.settings[setting]
        shown = select_frames(prompt.sample.video, settings.view, SHOWN)
        if (number, setting) not in self.truths:
            self.truths[number, setting] = json.loads(json.dumps(ground_truth("fuzz:all", prompt, shown, settings)))
        truth = self.truths[number, setting]
        replies = _veason(rng) if settings.chain == "veason" else _revseg(rng)
        for form in (ANSWER_FORM, CHOICE_FORM, BOXES_FORM):
            _parse(form.parse, replies[0], shown)
            _parse(form.parse, repaired(replies[0], form, shown)[0], shown)
        outcome, forgiving = (_outcome(prompt, settings, replies, reading) for reading in get_args(Reading))
        _check_repairs(outcome, forgiving, replies)
        rollout = Rollout(prompt, outcome)
        copied = self.kit.parse_rollout(replies[: len(outcome.replies)], truth)
        if copied.failure != outcome.failure:
            raise WrongError(f"kit: {copied.failure}, thinkseg: {outcome.failure}: {replies!r}")
        for name, reward in self.kit.REWARDS.items():
            _compare(name, REWARDS[name].function(rollout), reward(copied, truth), replies)


def _outcome(prompt: Prompt, settings: ExportSettings, replies: list[str], reading: Reading) -> Outcome:
    chains = [CHAINS[settings.chain](prompt.sample, settings.view, SHOWN)]
    (outcome,) = run_chains(chains, ScriptedPolicy(replies), reading=reading)
    return outcome


def _check_repairs(strict: Outcome, forgiving: Outcome, replies: list[str]) -> None:
    """What is valid is not repaired and stays valid, and what becomes valid was repaired."""
    if strict.failure is None and forgiving.failure:
        raise WrongError(f"{forgiving.failure} after repair: {replies!r}")
    if forgiving.failure is None and (strict.failure is None) == bool(forgiving.repairs):
        raise WrongError(f"{strict.failure}, {forgiving.failure} after {forgiving.repairs}: {replies!r}")
    if unknown := set(forgiving.repairs) - set(REPAIRS):
        raise WrongError(f"unknown repairs {unknown}")


def _compare(name: str, value: float | None, copied: float | None, replies: list[str]) -> None:
    if (value is None) != (copied is None) or not math.isclose(value or 0, copied or 0, abs_tol=1e-12):
        raise WrongError(f"{name}: kit {copied}, thinkseg {value}: {replies!r}")
    if value is not None and not 0 <= value <= 1:
        raise WrongError(f"{name} is {value}: {replies!r}")


def _parse(parse: Any, text: str, shown: Any) -> None:
    try:
        parse(text, shown)
    except AnswerError as error:
        check_message(str(error))
        if error.reason not in REASONS:
            raise WrongError(f"unknown reason {error.reason!r}") from None


def _prompt(number: int) -> Prompt:
    """Returns a prompt with 0 to 4 rectangles in six frames of 40x30, each hidden in some frames."""
    rng = np.random.default_rng(number)
    masks = np.zeros((number % 5, 6, 30, 40), bool)
    for mask in masks.reshape(-1, 30, 40):
        (x1, x2), (y1, y2) = np.sort(rng.integers(0, 41, 2)), np.sort(rng.integers(0, 31, 2))
        mask[y1:y2, x1:x2] = rng.random() < 0.8
    video = ArrayFrames(np.zeros((6, 30, 40, 3), np.uint8), fps=10)
    return Prompt(VideoSample("made", video, "them", truth=from_stacks(masks)), SHOWN)


def _box(rng: Random) -> list[Any]:
    box = [rng.randint(-5, 40), rng.randint(-5, 30), rng.randint(20, 90), rng.randint(20, 70)]
    return box if rng.random() < 0.9 else [rng.choice([0, 80, 1e-40, 79.99999999, 1e308, "1", True, None]) for _ in box]


def _veason(rng: Random) -> list[str]:
    boxes = [_box(rng) for _ in range(rng.choice([0, 1, 1, 2, 3, 64, 65]))]
    value = {"keyframe_timestamp": rng.choice([0.0, 0.2, 0.5, 0, None, 7, "0.2", True]), "bbox_2d_list": boxes}
    return [_damaged(rng, TAGGED, value)]


def _revseg(rng: Random) -> list[str]:
    choice = [
        {"frame_idx": rng.choice([0, 1, 2, 2.0, 3, -1, None]), "object description": rng.choice(["it", "", "é" * 2001])}
    ]
    boxes = [
        {"bbox_2d": _box(rng), **rng.choice([{}, {"label": "x"}])} for _ in range(rng.choice([0, 1, 1, 2, 64, 65]))
    ]
    return [
        _damaged(rng, TAGGED, rng.choice([choice, choice, []])),
        _damaged(rng, rng.choice(["{}", "```json\n{}\n```"]), boxes),
    ]


def _damaged(rng: Random, form: str, value: Any) -> str:
    """Returns a reply, some unharmed, some with damage to the value, the text or both."""
    kind = rng.randrange(8)
    if kind == 0:
        return form.format(json.dumps(value))
    if kind < 4:
        value = mutated_json(rng, value)
    text = form.replace("{}", written_json(value).decode())
    if kind == 1 and rng.random() < 0.02:
        text = text.replace("[", rng.choice(list(RAW.values())), 1)
    return mutated_text(rng, text) if kind >= 3 else text
