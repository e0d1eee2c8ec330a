"""Files with the wording of chains, as for `--prompts`: damaged, and then used to prompt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml

from fuzzing import WrongError, allowing
from mutation import mutated_bytes, mutated_json, mutated_text
from recipes import BOMBS, plain
from thinkseg.chains import CHAINS
from thinkseg.errors import SettingsError
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.video import ArrayFrames
from thinkseg.pipeline import run_chains
from thinkseg.prompts import BUILT_IN, Prompts
from thinkseg.storage.prompt_file import prompts_yaml, read_prompts
from thinkseg.types import Dialogue, VideoSample, View

QUERY = "the one {that} moves"
TOKENS = ["{query}", "{frames}", "{time}", "{", "}", "{{", "}}", "{0}", "{query!r}", "{query.x}", "{query:>999999999}"]


class PromptFiles:
    name = "prompt files"
    count = 1000

    def prepare(self, folder: Path) -> None:
        self.text = prompts_yaml(BUILT_IN)
        video = ArrayFrames(np.zeros((6, 30, 40, 3), np.uint8), fps=10)
        self.sample = VideoSample("made", video, QUERY)

    def run(self, rng: Random, folder: Path) -> None:
        path = folder / "prompts.yaml"
        path.write_bytes(_damaged(rng, self.text))
        chain = rng.choice(sorted(CHAINS))
        with allowing(SettingsError):
            prompts = read_prompts(path, rng.choice([None, chain]))
            self._prompt(prompts, chain)
            path.write_text(prompts_yaml(prompts), "utf-8")
            if read_prompts(path) != prompts:
                raise WrongError(f"no round trip: {prompts!r}")

    def _prompt(self, prompts: Prompts, chain: str) -> None:
        """Raises WrongError if a turn lacks the query or a frame, or cannot be encoded."""
        view = replace(View(3, (80, 60), closeup_wh=(80, 60)), prompts=prompts)
        policy = ScriptedPolicy(_reply, view=view)
        run_chains([CHAINS[chain](self.sample, view, (0, 2, 5))], policy)
        for turn in (part for dialogue in policy.dialogues[:1] for part in dialogue if not isinstance(part, str)):
            text = "".join(part for part in turn.content if isinstance(part, str))
            text.encode("utf-8")
            if QUERY not in text or len(turn.images) != 3:
                raise WrongError(f"{len(turn.images)} frames and {text[:500]!r}")


def _reply(dialogue: Dialogue) -> str:
    return '<think>.</think><answer>[{"frame_idx": 1, "object description": "it"}]</answer>'


def _damaged(rng: Random, text: str) -> bytes:
    kind = rng.randrange(10)
    if kind == 0:
        text = rng.choice(BOMBS)
    elif kind == 1:
        return mutated_bytes(rng, text.encode())
    elif kind < 5:
        text = mutated_text(rng, text)
    else:
        text = yaml.safe_dump(_with_tokens(rng, plain(mutated_json(rng, yaml.safe_load(text)))), allow_unicode=True)
    return text.encode("utf-8", "surrogatepass")


def _with_tokens(rng: Random, content: Any) -> Any:
    """Puts placeholders and braces into the texts of a wording."""
    if isinstance(content, dict):
        return {name: _with_tokens(rng, value) for name, value in content.items()}
    if not isinstance(content, str) or rng.random() < 0.8:
        return content
    at = rng.randint(0, len(content))
    return content[:at] + rng.choice(TOKENS) + content[at:]
