"""Fixtures of the benchmark tests."""

from pathlib import Path

import pytest

import layouts


@pytest.fixture
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Writes a small tree of the benchmark in the test file's name: `layouts.vicas` for test_vicas.py."""
    getattr(layouts, request.path.stem.removeprefix("test_"))(tmp_path)
    return tmp_path
