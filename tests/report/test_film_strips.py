from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from thinkseg.ops.masks import empty
from thinkseg.report.film_strips import (
    ANSWER_STRIP,
    TRUTH_STRIP,
    film_strip,
    frame_labels,
    truth_strip,
    write_film_strips,
)
from thinkseg.types import Answer, Outcome, Segmentation, VideoSample, View

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
def test_write_film_strips_any_answer_writes_two_images_of_one_width(result, tmp_path, answer):
    write_film_strips(result(answer), VIEW, tmp_path)
    widths = []
    for name in (ANSWER_STRIP, TRUTH_STRIP):
        with Image.open(tmp_path / name) as image:
            widths.append(image.width)
    assert widths[0] == widths[1]


def test_film_strip_captions_make_it_taller(result):
    plain, captioned = (film_strip(result(FOUND), VIEW, captions, width=600) for captions in (False, True))
    assert captioned.shape[0] > plain.shape[0]
    assert captioned.dtype == np.uint8


def test_truth_strip_without_ground_truth_raises(result):
    one = result(FOUND)
    unknown = replace(one, sample=VideoSample("x", one.sample.video, "the star"))
    with pytest.raises(ValueError, match="sample 'x': no ground truth"):
        truth_strip(unknown, VIEW)


def test_frame_labels_video_with_times_returns_seconds(film):
    assert frame_labels(film(4), [0, 3]) == ["0.0 s", "0.3 s"]
