"""One Ray for all tests here, which takes seconds to start."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

HELPERS = Path(__file__).parent.parent / "helpers"


@pytest.fixture(scope="module")
def ray():
    """Ray with three CPUs, whose processes find the helpers of the tests."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    from thinkseg.scale.ray_cluster import Placement, connected

    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HELPERS), before)))
    with connected(Placement(3)):
        os.environ["PYTHONPATH"] = before or ""
        yield
