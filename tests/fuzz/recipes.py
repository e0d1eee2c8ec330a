"""Recipes and files of ablations: damaged copies of the shipped ones, and files made to break a parser of YAML."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import yaml

from fuzzing import allowing
from mutation import mutated_bytes, mutated_json, mutated_text
from thinkseg.errors import SettingsError
from thinkseg.training.ablation.recipe import load_ablation
from thinkseg.training.grpo.recipe import load_grpo_recipe
from thinkseg.training.sft.recipe import load_recipe

SHIPPED = Path(__file__).parents[2] / "recipes"

LEVELS = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
MERGES = "\n".join(f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 9)}], k{n}: 1}}" for n in range(1, 12))

BOMBS = [
    f"l0: &l0 [lol]\n{LEVELS}\nsteps: *l11\nlearning_rate: *l11\nmodel: *l11",
    f"l0: &l0 {{a: 1}}\n{MERGES}\nmodel: *l11",
    "model: &a {create: {vision: *a, text: *a}}\nsteps: *a",
    "&a [*a, *a]",
    "stages: &a [*a]\nrows: *a\ndata: *a",
    "[" * 100_000,
    "{a: " * 5_000,
    "- " * 100_000,
    "model: !!python/object/apply:os.system ['false']",
    "steps: !!int ''",
    "steps: !!float x",
    "steps: !!binary x",
    "steps: !!timestamp 2000-99-99",
    "steps: 2000-13-45",
    "steps: " + "9" * 5000,
    "steps: 0b" + "1" * 20_000,
    "steps: 1:" + ":".join(["59"] * 2000),
    "steps: 0x" + "f" * 100_000,
    "steps: 1e99999\nlearning_rate: .inf\nwarmup_steps: .nan",
    "? [a, b]\n: 1",
    "? {a: b}\n: 1",
    "{[a]: 1, {b: 2}: 3}",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!pairs [a: 1, a: 2]",
    "null: 1\ntrue: 2\n1.5: 3\n.nan: 4\n2000-01-01: 5",
    "steps: 1\nsteps: 2",
    "--- 1\n--- 2",
    "%YAML 9.9\n---\na: 1",
    "a: *missing",
    "a: &a 1\nb: &a 2",
    "\tsteps: 1",
    "steps: \x00",
    "steps: \ud800",
    "name: " + "x" * 1_000_000,
    "x" * 1_000_000 + ": 1",
    "\n".join(f"field{number}: 1" for number in range(20_000)),
    "frames: 1000000000000\nnum_frames: 1000000000000",
    "",
    "null",
    "text",
    "[]",
    "# comment only",
]

EXTRA = [
    "@@tag",
    "&a",
    "*a",
    "!!set",
    "<<",
    "---",
    "...",
    "|\n",
    ">-\n",
    "~",
    "? ",
    "- - -",
    "{{",
    "%TAG",
    "0o17",
    "12:30:45",
]


class Recipes:
    name = "recipes"
    count = 1000

    def prepare(self, folder: Path) -> None:
        self.files = sorted(path for path in SHIPPED.rglob("*.yaml"))

    def run(self, rng: Random, folder: Path) -> None:
        source = rng.choice(self.files)
        path = folder / "recipe.yaml"
        path.write_bytes(_damaged(rng, source.read_text("utf-8")))
        with allowing(SettingsError):
            if source.parent.name == "ablations":
                for recipe in source.parents[1].glob("*.yaml"):
                    (folder / recipe.name).write_bytes(recipe.read_bytes())
                load_ablation(path)
            else:
                load = rng.choice([load_recipe, load_grpo_recipe])
                load(path, rng.choice([None, {"steps": 3}, {"stages": {"listing": {"steps": 3}}, "model": None}]))


def _damaged(rng: Random, text: str) -> bytes:
    kind = rng.randrange(10)
    if kind == 0:
        return rng.choice(BOMBS).encode("utf-8", "surrogatepass")
    if kind == 1:
        return mutated_bytes(rng, text.encode())
    if kind == 2:
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(EXTRA) + text[at:]
    elif kind == 3:
        text = mutated_text(rng, text)
    else:
        text = yaml.safe_dump(plain(mutated_json(rng, yaml.safe_load(text))), allow_unicode=True)
    return text.encode("utf-8", "surrogatepass")


def plain(value: Any) -> Any:
    """Returns a value in the types that YAML can write."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in dict(value).items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value if not isinstance(value, int) or abs(value) < 10**300 else str(value)
