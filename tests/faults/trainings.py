"""Trainings of a tiny model that resume: supervised, and with rewards; in one process and in two."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from contents import contents
from programs import training
from reporting import HarmError
from resumed import STOPPED, Resumed
from running import NO_LIMITS, Limits, Run, Strike, start

from scriptedvllm import ScriptedVllm
from thinkseg.models.policies.qwen.encoder import Encoder
from tinymodels import TEXT, VISION, save_qwen2_5, tiny_tokenizer


class Training(Resumed):
    """Trainings of a tiny model, whose parameters and logs must be those of an undisturbed one."""

    modules = ("programs.training",)
    program = staticmethod(training.run)
    changes: dict[str, Any] = {}  # noqa: RUF012, read only

    def make_input(self) -> None:
        self.recipe = self.input / "recipe.yaml"
        self.recipe.write_text(json.dumps(self.content()), "utf-8")

    def content(self) -> dict[str, Any]:
        """Returns the content of the recipe."""
        raise NotImplementedError


class Sft(Training):
    """Supervised training from scratch, in two stages."""

    name, count = "sft", 8

    def content(self) -> dict[str, Any]:
        stage = {"steps": 5, "batch_size": 2, "learning_rate": 1e-3, "save_steps": 2, "dataloader_num_workers": 0}
        stage["objective"] = "causal_lm"
        data = {"name": {"list_objects_single_frame": 1.0}, "reason": {"traces": 0.7, "list_objects": 0.3}}
        created = {"vision": VISION, "text": TEXT, "vocab_size": 500, "max_integer_token": 60}
        return {
            "model": {"create": created | {"num_decimal_tokens": 60, "tokenizer_clips": 10}},
            "stages": [{"name": name, "data": one, **stage} for name, one in data.items()],
            "num_frames": 2,
            "frame_wh": [56, 56],
            "precision": "fp32",
            "report_to": [],
        }

    def words(self, out: Path) -> list[str]:
        return ["train", "sft", "--config", str(self.recipe), "--out", str(out)]


class Grpo(Training):
    """Reinforcement learning with rewards that differ. Without the state of the optimizer, parameters must differ."""

    name, count = "grpo", 8
    has_control = True

    def make_input(self) -> None:
        save_qwen2_5(self.input / "model", tiny_tokenizer())
        super().make_input()

    def content(self) -> dict[str, Any]:
        steps = {"steps": 7, "save_steps": 2, "prompts_per_step": 2, "num_generations": 3, "max_new_tokens": 4}
        return {
            "model": {"name": str(self.input / "model")},
            "data": [{"name": "shapes"}],
            "rewards": {"format": 1.0},
            "num_frames": 2,
            "frame_wh": [56, 56],
            "learning_rate": 1e-3,
            "log_rollouts_steps": 0,
            "precision": "fp32",
            "report_to": [],
            **steps,
            **self.changes,
        }

    def words(self, out: Path) -> list[str]:
        return ["train", "grpo", "--config", str(self.recipe), "--out", str(out)]

    def prepare(self, folder: Path) -> None:
        super().prepare(folder)
        if self.has_control:
            self._check_control(folder / "control")

    def _check_control(self, out: Path) -> None:
        """Raises HarmError if a run that resumes without the state of its optimizer ends with equal parameters."""
        strike = Strike(signal.SIGKILL, operation=self.operations // 2)
        self.start(out, strike).end()
        run = start(self.program, self.words(out), 1, True, watched=out)
        self.check_end(run, run.end())
        name = "model/model.safetensors"
        if contents(out)[name] == self.expected[name]:
            raise HarmError("corrupt", "the state of the optimizer makes no difference: the comparison proves nothing")


class GrpoSharded(Grpo):
    """Two processes that share the parameters."""

    name, count = "grpo sharded", 5
    has_control, strikes_alone = False, False
    stopped = (*STOPPED, 1)  # a process whose peer has died ends with a traceback, and torchrun with 1
    changes = {"sharding": "full"}  # noqa: RUF012, read only

    def start(self, out: Path, strike: Strike | None = None, limits: Limits = NO_LIMITS) -> Run:
        return start(self.program, self.words(out), 2, watched=out, strike=strike, limits=limits)


class GrpoVllm(Grpo):
    """Rollouts of a vLLM server, which goes on while the training is struck."""

    name, count = "grpo vllm", 5
    has_control = False

    def make_input(self) -> None:
        save_qwen2_5(self.input / "model", tiny_tokenizer())
        self.server = ScriptedVllm(Encoder.load(self.input / "model"), _longer_replies)
        self.server.__enter__()
        rollout = {"engine": "vllm", "servers": [self.server.url], "sync": "weights"}
        self.changes = {"rollout": rollout}
        Training.make_input(self)


def _longer_replies(body: dict[str, Any]) -> list[str]:
    return ["a" * (1 + number) for number in range(body["sampling_params"]["n"])]
