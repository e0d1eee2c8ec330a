import numpy as np
import pytest

from thinkseg.ops.masks import empty
from thinkseg.report.film_strips import film_strip, frame_labels
from thinkseg.types import Answer, Outcome, Segmentation, View

VIEW = View(num_frames=4, frame_wh=(8, 8))
NO_BOXES = np.zeros((0, 4), np.float32)
FOUND = Answer("It is on the left.", 2, np.array([[0, 0, 4, 4]], np.float32))


@pytest.fixture
def result(question):
    """Makes results: result(answer or None)."""

    def make(answer):
        sample = question("star", True)
        masks = sample.truth if answer and answer.keyframe is not None else empty((8, 8), 4)
        return Segmentation(sample, Outcome(answer, None if answer else "json", ("a reply",)), masks)

    return make


@pytest.mark.parametrize("answer", [FOUND, Answer("None.", None, NO_BOXES), None])
def test_film_strip_any_answer_has_one_width(result, answer):
    assert film_strip(result(answer), VIEW, width=600).shape[1] == film_strip(result(FOUND), VIEW, width=600).shape[1]


def test_film_strip_captions_make_it_taller(result):
    plain, captioned = (film_strip(result(FOUND), VIEW, captions, width=600) for captions in (False, True))
    assert captioned.shape[0] > plain.shape[0]
    assert captioned.dtype == np.uint8


def test_frame_labels_video_with_times_returns_seconds(film):
    assert frame_labels(film(4), [0, 3]) == ["0.0 s", "0.3 s"]
