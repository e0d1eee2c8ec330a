"""Tasks: keyframe, frames, boxes and masks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotating import VIEW
from thinkseg.annotation.tasks import SkippedQuestion, choose_keyframe, frames_with, prepare
from thinkseg.chains.parsing import MAX_BOXES
from thinkseg.data.cot import sample_from_json, sample_to_json
from thinkseg.errors import DatasetError
from thinkseg.ops.masks import from_stacks


def test_prepare_single_target_shows_keyframe_in_view_size(task):
    for seed in range(6):
        made = task("single", seed)
        draft = made.draft
        assert draft.keyframe in (2, 3)
        assert draft.keyframe in draft.indices
        assert made.keyframe_label == f"{draft.keyframe}.0"
        assert draft.labels == tuple(f"{index}.0" for index in draft.indices)
        assert [image.shape for image in made.images] == [(16, 16, 3)] * 3
        # Frame i of the clip has gray level i.
        assert [int(image[0, 0, 0]) for image in made.images] == list(draft.indices)
        assert draft.size_wh == (8, 8)
        assert draft.boxes.tolist() == [[0, 0, 4, 4]]
    assert {task("single", seed).draft.keyframe for seed in range(8)} == {2, 3}


def test_prepare_multiple_targets_have_box_and_mask_each(task):
    made = task("multiple")
    assert made.num_objects == 2
    assert made.draft.boxes.tolist() == [[0, 0, 4, 4], [0, 7, 8, 8]]
    key = made.draft.indices.index(made.draft.keyframe)
    assert made.masks[key].shape == (2, 16, 16)
    assert made.masks[key][0].sum() == 8 * 8
    assert made.masks[key][1].sum() == 2 * 16
    assert made.masks[0].sum() == 0


def test_prepare_no_target_has_no_keyframe(task):
    made = task("none")
    assert (made.draft.keyframe, made.keyframe_label, made.num_objects) == (None, None, 0)
    assert made.draft.boxes.shape == (0, 4)
    assert made.draft.indices == (0, 2, 3)
    assert all(masks.shape == (0, 16, 16) for masks in made.masks)


def test_prepare_unannotated_frames_have_no_masks(clips):
    source = clips("single/0")
    made = prepare(source.candidates[0], source.sample("single/0")[0], [3], VIEW, 0)
    assert made.draft.keyframe == 3
    assert [masks is None for masks in made.masks] == [True, True, False]


def test_draft_round_trips_as_json(task):
    draft = task("multiple").draft
    assert sample_to_json(sample_from_json(sample_to_json(draft), "x")) == sample_to_json(draft)


@pytest.mark.parametrize("query", [" ", "x" * 3000])
def test_prepare_invalid_query_is_skipped(clips, query):
    source = clips("single/0")
    sample, annotated = source.sample("single/0")
    made = prepare(source.candidates[0], replace(sample, query=query), annotated, VIEW, 0)
    assert (made.candidate, made.reason) == (source.candidates[0], "invalid_query")
    assert len(made.query) <= 200


def test_prepare_hidden_target_is_skipped(clips):
    source = clips("hidden/0")
    assert prepare(source.candidates[0], *source.sample("hidden/0"), VIEW, 0).reason == "target_not_visible"


def test_prepare_too_many_targets_is_skipped(clips):
    source = clips("single/0")
    sample, annotated = source.sample("single/0")
    crowd = from_stacks(np.ones((MAX_BOXES + 1, 4, 8, 8), bool))
    made = prepare(source.candidates[0], replace(sample, truth=crowd), annotated, VIEW, 0)
    assert isinstance(made, SkippedQuestion)
    assert made.reason == "too_many_targets"


def test_prepare_unsafe_id_raises(clips):
    source = clips("single/../../x")
    with pytest.raises(DatasetError, match="lead out"):
        prepare(source.candidates[0], *source.sample("single/../../x"), VIEW, 0)


def with_areas(areas):
    """Masks of one object with these areas in frames of 4x4."""
    masks = np.zeros((1, len(areas), 16), bool)
    for frame, area in enumerate(areas):
        masks[0, frame, :area] = True
    return from_stacks(masks.reshape(1, -1, 4, 4))


def drawn(truth, annotated):
    return {choose_keyframe(truth, annotated, number) for number in range(30)}


def test_choose_keyframe_is_one_of_five_largest():
    assert drawn(with_areas([1, 9, 3, 8, 7, 2, 6, 5]), range(8)) == {1, 3, 4, 6, 7}


def test_choose_keyframe_only_visible_annotated_frames():
    assert drawn(with_areas([0, 4, 0, 2]), range(4)) == {1, 3}
    assert drawn(with_areas([0, 4, 0, 2]), [0, 3]) == {3}


def test_choose_keyframe_never_visible_returns_none():
    assert choose_keyframe(with_areas([0, 0]), range(2), 1) is None
    assert choose_keyframe(with_areas([0, 5]), [0], 1) is None
    assert choose_keyframe(from_stacks(np.zeros((0, 2, 4, 4), bool)), range(2), 1) is None


def test_choose_keyframe_uses_total_area():
    masks = np.zeros((2, 6, 4, 4), bool)
    masks[0, :, 0] = True
    masks[1, 2, 1:] = True
    assert choose_keyframe(from_stacks(masks), range(6), 0) == 2


def test_frames_with_keyframe_replaces_nearest():
    assert frames_with(None, 9, 3) == (0, 4, 8)
    assert frames_with(4, 9, 3) == (0, 4, 8)
    assert frames_with(5, 9, 3) == (0, 5, 8)
    assert frames_with(1, 9, 3) == (1, 4, 8)
    assert frames_with(7, 9, 1) == (7,)


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_frames_with_any_keyframe_returns_count_frames(total, count, data):
    keyframe = data.draw(st.integers(0, total - 1))
    shown = frames_with(keyframe, total, count)
    assert len(shown) == min(count, total)
    assert keyframe in shown
    assert list(shown) == sorted(set(shown))
    assert shown[0] >= 0
    assert shown[-1] < total
