"""What the tests of all formats share: one small result, and its masks written by hand."""

import numpy as np
import pytest

from thinkseg.ops.masks import from_stacks
from thinkseg.report.formats.writing import write_formats
from thinkseg.types import Answer, Outcome, Segmentation, VideoSample

SQUARE = ["....", ".##.", ".##.", "...."]
HOLE = ["###.", "#.#.", "###.", "...#"]
CORNER = ["...#", "....", "....", "...."]
NOTHING = ["...."] * 4


def mask(rows):
    return np.array([[letter == "#" for letter in row] for row in rows])


@pytest.fixture
def masks():
    """Two objects in three frames of 4x4: a square that is hidden in frame 1, and one that changes its shape."""
    return np.array([[mask(SQUARE), mask(NOTHING), mask(SQUARE)], [mask(CORNER), mask(HOLE), mask(HOLE)]])


@pytest.fixture
def result(film, masks):
    boxes = np.array([[1, 1, 3, 3], [3, 0, 4, 1]], np.float32)
    outcome = Outcome(Answer("There.", 0, boxes), None, (), keyframe=0)
    return Segmentation(VideoSample("film.mp4", film(3, (4, 4)), "both & <more>"), outcome, from_stacks(masks))


@pytest.fixture
def absent(film):
    """The result of a query without a target."""
    outcome = Outcome(Answer("None.", None, np.zeros((0, 4), np.float32)), None, ())
    return Segmentation(
        VideoSample("film.mp4", film(3, (4, 4)), "it"), outcome, from_stacks(np.zeros((0, 3, 4, 4), bool))
    )


@pytest.fixture
def write(tmp_path):
    """Writes a result in one format, and returns the file or folder."""
    from thinkseg.report.formats import FORMATS

    def write(result, name):
        assert write_formats(result, tmp_path, [name]) == {}
        return tmp_path / FORMATS[name].file

    return write
