"""Fixtures for tests of annotation."""

from collections.abc import Callable

import pytest

from annotating import VIEW, Clips
from thinkseg.annotation.tasks import Task, prepare
from thinkseg.types import VideoSample, View


@pytest.fixture
def clips(question: Callable[..., VideoSample]) -> Callable[..., Clips]:
    return lambda *names: Clips(question, *names)


@pytest.fixture
def task(clips: Callable[..., Clips]) -> Callable[..., Task]:
    """Tasks: task("single", seed=0, view=VIEW)."""

    def make(kind: str, seed: int = 0, view: View = VIEW) -> Task:
        source = clips(f"{kind}/0")
        made = prepare(source.candidates[0], *source.sample(f"{kind}/0"), view, seed)
        assert isinstance(made, Task)
        return made

    return make
