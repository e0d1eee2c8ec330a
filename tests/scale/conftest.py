"""One Ray for all tests of a file, which takes seconds to start."""

import os
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

from thinkseg.errors import ModelError
from thinkseg.scale.ray_cluster import Placement, connected

HELPERS = Path(__file__).parent.parent / "helpers"


@pytest.fixture(scope="module")
def ray():
    """Ray with three CPUs, whose processes find the helpers of the tests."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    with ExitStack() as leaving, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HELPERS), prepend=os.pathsep)
        try:
            leaving.enter_context(connected(Placement(3)))
        except ModelError as error:  # a machine with much else to do exceeds the limits that Ray has for its start
            pytest.skip(str(error))
        patch.undo()
        yield
