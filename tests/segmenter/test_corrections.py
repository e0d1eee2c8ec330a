import re
from dataclasses import replace

import numpy as np
import pytest

from thinkseg.errors import SettingsError
from thinkseg.ops.masks import from_stacks
from thinkseg.segmenter.corrections import corrected_prompts, prompts_of
from thinkseg.types import Answer, ObjectPrompt, Outcome, Segmentation, VideoSample

BOX = [1, 1, 3, 3]
MASK = np.eye(4, dtype=bool)
EARLIER = [ObjectPrompt(5, 0, BOX, [[2, 2]]), ObjectPrompt(5, 1, BOX), ObjectPrompt(2, 2, mask=MASK)]


def shown(prompts):
    return sorted(
        (one.obj, one.frame, one.box is not None, one.points.tolist(), one.labels.tolist()) for one in prompts
    )


def test_corrected_prompts_adds_points_and_replaces_by_boxes():
    new = [
        ObjectPrompt(5, 0, points=[[3, 3]], labels=[0]),
        ObjectPrompt(5, 1, points=[[1, 1]]),
        ObjectPrompt(9, 2, BOX),
    ]
    assert shown(corrected_prompts(EARLIER, new)) == [
        (0, 5, True, [[2, 2], [3, 3]], [1, 0]),
        (1, 5, True, [[1, 1]], [1]),
        (2, 2, False, [], []),
        (2, 9, True, [], []),
    ]
    (only,) = corrected_prompts(EARLIER[:1], [ObjectPrompt(5, 0, mask=MASK)])
    assert (only.box, len(only.points)) == (None, 0)


def test_corrected_prompts_dropped_object_is_replaced_or_left_out():
    assert shown(corrected_prompts(EARLIER, [ObjectPrompt(7, 1, BOX)], [1])) == [
        (0, 5, True, [[2, 2]], [1]),
        (1, 7, True, [], []),
        (2, 2, False, [], []),
    ]
    assert shown(corrected_prompts(EARLIER, [], [0])) == [(0, 5, True, [], []), (1, 2, False, [], [])]


@pytest.mark.parametrize(
    ("new", "dropped", "words"),
    [
        ([], [3], "drop: 4 is no object of the result; give a number from 1 to 3"),
        ([], [0, 1, 2], "drop: no object is left"),
        ([ObjectPrompt(2, 2, points=[[1, 1]])], [], "object 3, frame 2: has a mask, to which points cannot be added"),
    ],
)
def test_corrected_prompts_that_do_not_fit_are_one_clear_line(new, dropped, words):
    with pytest.raises(SettingsError, match=re.escape(words)):
        corrected_prompts(EARLIER, new, dropped)


def test_prompts_of_a_result_are_those_by_hand_or_the_boxes_of_the_answer(film):
    answer = Answer("", 5, np.array([BOX, BOX], np.float32))
    found = Segmentation(VideoSample("a", film(8), ""), Outcome(answer, None, ()), from_stacks(np.zeros((2, 8, 6, 8))))
    assert shown(prompts_of(found)) == [(0, 5, True, [], []), (1, 5, True, [], [])]
    by_hand = replace(found, prompts=(ObjectPrompt(3, 0, BOX),))
    assert prompts_of(by_hand) == by_hand.prompts
    nothing = replace(found, outcome=Outcome(Answer("", None, np.zeros((0, 4))), None, ()))
    assert prompts_of(nothing) == ()
