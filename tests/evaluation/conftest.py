"""Small benchmarks for the tests of scoring."""

from collections.abc import Callable
from pathlib import Path

import pytest

import layouts
from thinkseg.data import open_benchmark
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.data.readers.issues import DatasetIssues


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Benchmark]:
    """Opens a small benchmark, written on first use: opened(name, keep_going)."""

    def opened(name: str, keep_going: bool = False) -> Benchmark:
        if name == "shapes":
            return open_benchmark("shapes", limit=3)
        root = tmp_path / name
        if not root.exists():
            getattr(layouts, name)(root)
        return open_benchmark(name, root, layouts.SPLITS[name], DatasetIssues(keep_going))

    return opened
