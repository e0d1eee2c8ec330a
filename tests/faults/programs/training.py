"""Trainings of a tiny model. Its replies are never valid, so long ones are rewarded, and rewards differ."""

from __future__ import annotations

import signal
from typing import Any

import torch
import torch.distributed.checkpoint
import torch.distributed.checkpoint.state_dict
import transformers.models.qwen2_5_vl.modeling_qwen2_5_vl  # noqa: F401, imported once

import thinkseg.training.sft.train  # noqa: F401, imported once
from processes import run_processes
from thinkseg.cli import app
from thinkseg.rewards.groups import RolloutScore
from thinkseg.training.grpo import step
from thinkseg.training.grpo import train as grpo  # noqa: F401, imported once
from thinkseg.training.loop import run as loop

STOPPING = (signal.SIGINT, signal.SIGTERM)


def run(words: list[str], processes: int = 1, forget_optimizer: bool = False) -> int:
    """Runs one command, in several processes if there are to be, as torchrun does. Returns its exit status.

    forget_optimizer: a run that resumes starts with a new optimizer, which must not give the same parameters.
    """
    torch.set_num_threads(1)
    step.score_group = _reward_length
    if forget_optimizer:
        loop.load_checkpoint = _loaded_without_optimizer(loop.load_checkpoint)
    if processes == 1:
        return app.main(words)
    for number in STOPPING:
        signal.signal(number, lambda *_: None)  # it waits for the others, as torchrun does
    run_processes(processes, _run_one, words)
    return 0


def _run_one(words: list[str]) -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)
    if status := app.main(words):
        raise SystemExit(status)


def _reward_length(prompt: Any, outcomes: Any, weights: Any, tracker: Any) -> list[RolloutScore]:
    return [RolloutScore(dict.fromkeys(weights), len(str(one.replies)) / 100) for one in outcomes]


def _loaded_without_optimizer(load: Any) -> Any:
    def load_checkpoint(folder: Any, model: Any, optimizers: Any) -> Any:
        found = load(folder, model, optimizers)
        for optimizer in optimizers:
            optimizer.state.clear()
        return found

    return load_checkpoint
