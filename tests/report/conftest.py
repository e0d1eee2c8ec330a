"""Evaluations on the disk for the tests of pages."""

import pytest

from evaluations import write_evaluation
from thinkseg.data import open_benchmark


@pytest.fixture(scope="session")
def shapes():
    """A benchmark, and two of its expressions, the second without a target."""
    benchmark = open_benchmark("shapes", limit=30)
    none = next(one for one in benchmark.expressions if not one.objects)
    return benchmark, (benchmark.expressions[0], none)


@pytest.fixture
def evaluation(tmp_path, shapes):
    """Writes the folder of an evaluation: evaluation(name, right, **settings), see `write_evaluation`."""

    def write(name="run", right=True, **settings):
        return write_evaluation(tmp_path / name, *shapes, right, **settings)

    return write
