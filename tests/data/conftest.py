"""What tests of one benchmark each share."""

from pathlib import Path

import pytest

import layouts


@pytest.fixture
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small tree of the benchmark that a file of tests is named after: test_vicas.py gets that of layouts.vicas."""
    getattr(layouts, request.module.__name__.rpartition(".")[2].removeprefix("test_"))(tmp_path)
    return tmp_path
