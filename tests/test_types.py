from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from thinkseg.ops.masks import empty, encode, from_stacks
from thinkseg.types import Answer, Frames, Masklets, ObjectPrompt, Outcome, Segmentation, Turn, VideoSample, View

LEFT = np.array([[1, 1, 0, 0]] * 4, bool)
CORNER = np.array([[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
NOTHING = np.zeros((4, 4), bool)


def test_masklets_of_one_frame() -> None:
    masklets = from_stacks(np.array([[LEFT, CORNER], [NOTHING, CORNER]]))
    assert masklets.num_objects == 2
    assert (masklets.masks(0) == [LEFT, NOTHING]).all()
    assert (masklets.masks(1) == [CORNER, CORNER]).all()
    assert (masklets.union(0) == LEFT).all()
    assert [masklets.area(frame) for frame in (0, 1)] == [8, 1]
    assert masklets.boxes(0).tolist() == [[0, 0, 2, 4]]


def test_masklets_without_objects_have_a_size() -> None:
    assert empty((8, 6), 4).masks(2).shape == (0, 6, 8)


def test_masklets_confidence_of_another_shape_raises() -> None:
    masks = from_stacks(np.zeros((2, 3, 4, 4), bool))
    assert masks.confidence is None
    assert replace(masks, confidence=np.ones((2, 3), np.float32)).confidence is not None
    with pytest.raises(ValueError, match=r"confidence has the shape \(3, 2\), not \(2, 3\)"):
        replace(masks, confidence=np.ones((3, 2), np.float32))


def test_masklets_objects_have_their_masks_and_confidence_in_order() -> None:
    masks = np.zeros((3, 2, 4, 4), bool)
    masks[[0, 1, 2], :, [0, 1, 2]] = True
    all_objects = replace(from_stacks(masks), confidence=np.array([[0, 0.5], [1, 1], [0.25, 0]], np.float32))
    some = all_objects.objects([2, 0])
    assert (some.masks(1) == masks[[2, 0], 1]).all()
    assert some.confidence is not None
    assert some.confidence.tolist() == [[0.25, 0], [0, 0.5]]
    assert from_stacks(masks).objects([]).num_objects == 0


def test_masklets_seen_is_where_masks_are_not_empty() -> None:
    masks = np.zeros((1, 3, 4, 4), bool)
    masks[0, 1, 2, 2] = True
    track = (None, encode(masks[0, 1]), encode(masks[0, 2]))
    assert Masklets((4, 4), 3, (track,)).seen(0).tolist() == [False, True, False]


def test_view_overview_and_closeup_sizes() -> None:
    view = View(6, (56, 28))
    assert (view.overview.num_frames, view.overview.frame_wh) == (6, (56, 28))
    assert (view.closeup.num_frames, view.closeup.frame_wh) == (1, (112, 56))
    told = View(6, (56, 28), overview_wh=(28, 28), closeup_wh=(84, 84))
    assert told.overview.frame_wh == (28, 28)
    assert told.closeup.frame_wh == (84, 84)


def test_repr_of_a_result_is_a_few_lines(film: Callable[..., Frames]) -> None:
    masklets = from_stacks(np.zeros((2, 30, 6, 8), bool))
    answer = Answer("thought " * 100, 3, np.array([[1, 2, 3.14, 4]] * 50, np.float32))
    turn = Turn(("Look: ", np.zeros((6, 8, 3), np.uint8), "what? " * 100))
    outcome = Outcome(answer, None, (turn, "reply " * 1000), keyframe=3, num_tokens=7)
    result = Segmentation(VideoSample("a", film(), "the one", truth=masklets), outcome, masklets)
    lines = str(result).splitlines()
    assert lines[1] == (
        "    sample=VideoSample('a', 30 frames of 8x6, query='the one', truth=Masklets(2 objects, 30 frames of 8x6)),"
    )
    assert lines[2].startswith("    outcome=Outcome(answer=Answer(keyframe=3, boxes=[[1.0, 2.0, 3.1, 4.0], ")
    assert lines[2].endswith(", 1 replies, 7 tokens),")
    assert lines[3:] == ["    masklets=Masklets(2 objects, 30 frames of 8x6),", ")"]
    assert str(replace(result, warnings=("beware",))).splitlines()[4:] == ["    warnings=('beware',),", ")"]
    assert max(map(len, lines)) < 400
    assert repr(turn).startswith("Turn(1 images of 8x6, text='Look:  what? ")
    assert str(Outcome(None, "truncated", ())) == "Outcome(failure='truncated', 0 replies, 0 tokens)"


def test_object_prompt_takes_lists_and_replaces_fields() -> None:
    prompt = replace(ObjectPrompt(3, box=[1, 2, 3, 4], points=[5, 6], mask=[[0, 255]]), obj=2)
    assert (prompt.frame, prompt.obj, prompt.points.tolist(), prompt.labels.tolist()) == (3, 2, [[5, 6]], [1])
    assert prompt.box is not None
    assert prompt.mask is not None
    assert (prompt.box.dtype, prompt.mask.tolist()) == (np.float32, [[False, True]])
    shown = "ObjectPrompt(frame=3, obj=2, box=[1.0, 2.0, 3.0, 4.0], points=[[5.0, 6.0]], labels=[1], mask=...)"
    assert repr(prompt) == shown


@pytest.mark.parametrize("wrong", [{"box": [1, 2, 3]}, {"points": [1, 2, 3]}, {"points": [1, 2], "labels": [1, 0]}])
def test_object_prompt_of_another_shape_raises(wrong: dict[str, list[int]]) -> None:
    with pytest.raises(ValueError, match="reshape"):
        ObjectPrompt(0, **wrong)
