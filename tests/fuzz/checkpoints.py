"""Checkpoints of policies and trackers: configurations, tokenizers, weights, and the recorded view."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import numpy as np

from fuzzing import allowing
from mutation import mutated_bytes, mutated_json_file
from thinkseg.errors import ModelError, SettingsError
from thinkseg.models import load_policy, load_tracker
from thinkseg.types import Turn
from tinymodels import save_qwen2_5, save_qwen3, tiny_tokenizer
from tinytrackers import BOXES, footage, save_sam2


class Checkpoints:
    name = "checkpoints"
    count = 300

    def prepare(self, folder: Path) -> None:
        tokenizer = tiny_tokenizer()
        save_qwen2_5(folder / "qwen2_5", tokenizer)
        save_qwen3(folder / "qwen3", tokenizer)
        save_sam2(folder / "sam2")
        self.root = folder
        self.video = footage(3)
        self.turn = Turn((np.zeros((56, 56, 3), np.uint8), "What moves?"))

    def run(self, rng: Random, folder: Path) -> None:
        name = rng.choice(["qwen2_5", "qwen2_5", "qwen3", "sam2"])
        shutil.copytree(self.root / name, folder / "model")
        path = rng.choice(sorted((folder / "model").iterdir()))
        _damage(rng, path)
        with allowing(ModelError, SettingsError):
            if name == "sam2":
                tracker = load_tracker(str(folder / "model"), device="cpu")
                tracker.track(self.video, 1, BOXES)
            else:
                policy = load_policy(str(folder / "model"), device="cpu", max_new_tokens=4)
                policy.reply([(self.turn,)])


def _damage(rng: Random, path: Path) -> None:
    data = path.read_bytes()
    if rng.random() < 0.1:
        path.unlink()
    elif path.suffix == ".json":
        path.write_bytes(mutated_json_file(rng, data))
    else:
        path.write_bytes(mutated_bytes(rng, data))
