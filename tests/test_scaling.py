"""docs/scaling.md: the memory in its table is that of `thinkseg train plan`, and fits the devices."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from qwensizes import write_config
from thinkseg.storage.settings_file import assigned
from thinkseg.training.memory_plan import load, plan
from thinkseg.training.model_stats import ModelStats, model_stats

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "scaling.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(recipes/\S+)(.*?)` \| .*? \| (\d+) x (\d+) GB \| ([\d.]+) \|$", PAGE, re.MULTILINE)
TRACKER = 3
"""GB for SAM 2."""


@pytest.fixture(scope="module")
def stats(tmp_path_factory):
    """Sizes of the published models."""

    @cache
    def of(size: str) -> ModelStats:
        return model_stats(write_config(size, tmp_path_factory.mktemp(size)))

    return of


def test_scaling_has_all_settings():
    assert [(Path(recipe).stem, int(devices), int(size)) for recipe, _, devices, size, _ in ROWS] == [
        ("veason-3b", 1, 24),
        ("veason-3b", 1, 80),
        ("veason-3b", 8, 80),
        ("veason-7b", 8, 80),
        ("revseg-7b", 8, 80),
    ]


@pytest.mark.parametrize(("recipe", "changes", "devices", "size", "stated"), ROWS)
def test_plan_of_scaling_fits_its_devices(stats, recipe, changes, devices, size, stated):
    """A tenth of a device stays free, and 3 GB for the tracker."""
    fields = [assigned(word) for word in shlex.split(changes) if word != "--set"]
    loaded = load(ROOT / recipe, None, *fields)
    (made,) = plan(loaded, stats(Path(recipe).stem[-2:]), int(devices))
    needed = made.per_device(int(devices)) / 1e9
    assert f"{needed:.1f}" == stated
    assert needed < 0.9 * int(size) - TRACKER
