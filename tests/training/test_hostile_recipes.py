"""Recipes with random damage: each is read, or refused in one line that names the file."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thinkseg.errors import SettingsError
from thinkseg.storage.settings_file import read_content
from thinkseg.training.grpo.recipe import load_grpo_recipe
from thinkseg.training.sft.recipe import load_recipe

FOLDER = Path(__file__).parents[2] / "recipes"
LOADERS: dict[str, tuple[Callable[..., Any], int]] = {
    "shapes-quick.yaml": (load_grpo_recipe, 200),
    "shapes-veason.yaml": (load_grpo_recipe, 200),
    "veason-7b-sft.yaml": (load_recipe, 150),
    "shapes-quick-base.yaml": (load_recipe, 50),
}
"""How recipes are read, and how many damaged copies of each are tried: fewer of long ones."""

VALUES = (
    "9" * 5000,
    "-1",
    "0",
    "8.5",
    str(10**30),
    "1e400",
    "-1e400",
    ".inf",
    ".nan",
    "1e308",
    "yes",
    "true",
    "010",
    "1:30",
    "2024-01-01",
    "~",
    "[]",
    "{}",
    "[1, [2]]",
    "{a: b}",
    "*a",
    "&a 3",
    "!!int 3",
    "!!python/object:os.system x",
    "''",
    '"\\0"',
    '"\\ud800"',
    "x" * 5000,
    "|",
    "- a",
    "? b",
    "\t",
    "\u2028",
    "[" * 2000,
)


def stripped(name: str) -> str:
    """A recipe without comments, which cost time and test nothing."""
    return re.sub(r"(^|\s)#.*", "", (FOLDER / name).read_text("utf-8"))


def damaged(text: str, rng: random.Random) -> str:
    """Replaces values, moves lines, or removes characters."""
    for _ in range(rng.choice((1, 1, 1, 3))):
        lines = text.splitlines()
        kind = rng.randrange(4)
        if kind < 2 and (found := list(re.finditer(r"(?<=[:,\[] )?[\w.+-]+(?=[,\]}\n]|$)", text))):
            value = rng.choice(found)
            text = text[: value.start()] + rng.choice(VALUES) + text[value.end() :]
        elif kind == 2 and lines:
            position = rng.randrange(len(lines))
            lines[position : position + 1] = [lines[position]] * rng.choice((0, 2))
            text = "\n".join(lines)
        else:
            position = rng.randrange(len(text) or 1)
            text = (
                text[:position] + rng.choice(("", "\t", ":", "{", "]", "&", "\0", "'", "\x85")) + text[position + 1 :]
            )
    return text


def refusal(load: Callable[..., Any], file: Path, overrides: dict[str, Any] | None) -> str | None:
    try:
        load(str(file), overrides)
    except SettingsError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", LOADERS)
def test_damaged_recipe_is_read_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    load, number = LOADERS[name]
    rng = random.Random(name)
    text, file = stripped(name), tmp_path / "recipe.yaml"
    refusals = []
    for _ in range(number):
        file.write_text(damaged(text, rng), "utf-8")
        refusals.append(refusal(load, file, {"seed": 3} if rng.random() < 0.2 else None))
    lines = list(filter(None, refusals))
    assert len(lines) > number / 3
    for line in lines:
        assert line.startswith(f"{file}: ")
        assert len(line.splitlines()) == 1
        assert len(line) < 3000


@pytest.mark.parametrize("content", ["", "- a", "7"])
def test_recipe_without_fields_is_not_hidden_by_overrides(tmp_path: Path, content: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(content)
    with pytest.raises(SettingsError, match="must be a mapping of fields"):
        read_content(file, {"steps": 3})


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("steps: 1000000000000", "steps: must be less than or equal to 1000000000; got 1000000000000"),
        ("temperature: 1e-300", "temperature: must be greater than or equal to 0.001; got 1e-300"),
        ("frame_wh: [112, 100000]", "frame_wh.1: must be less than or equal to 4096; got 100000"),
        ("steps: 1:30", "steps: must be an integer; got '1:30'"),
        ("steps: 8.5", "steps: must be an integer; got 8.5"),
        ("steps: yes", "steps: must be an integer; got 'yes'"),
        ("steps: true", "steps: must be an integer; got True"),
        ("steps: 2024-01-01", "steps: must be an integer; got '2024-01-01'"),
        ("learning_rate: 1e400", "learning_rate: must be a finite number; got inf"),
    ],
)
def test_number_out_of_range_is_named(tmp_path: Path, field: str, message: str) -> None:
    key = field.split(":")[0]
    lines = [line for line in stripped("shapes-veason.yaml").splitlines() if not line.startswith(f"{key}:")]
    file = tmp_path / "recipe.yaml"
    file.write_text("\n".join([*lines, field]))
    with pytest.raises(SettingsError) as caught:
        load_grpo_recipe(file)
    assert message in str(caught.value)
