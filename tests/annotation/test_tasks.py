"""What an annotator is given."""

from dataclasses import replace

import numpy as np
import pytest

from annotating import VIEW
from thinkseg.annotation.tasks import SkippedQuestion, limits, prepare
from thinkseg.chains.parsing import MAX_BOXES
from thinkseg.data.cot import sample_from_json, sample_to_json
from thinkseg.errors import DatasetError
from thinkseg.ops.masks import from_stacks


def test_a_task_shows_the_keyframe_among_frames_of_the_views_size(task):
    for seed in range(6):
        made = task("single", seed)
        draft = made.draft
        assert draft.keyframe in (2, 3)
        assert draft.keyframe in draft.indices
        assert made.keyframe_label == f"{draft.keyframe}.0"
        assert draft.labels == tuple(f"{index}.0" for index in draft.indices)
        assert [image.shape for image in made.images] == [(16, 16, 3)] * 3
        # Frame i of the film is filled with grey level i.
        assert [int(image[0, 0, 0]) for image in made.images] == list(draft.indices)
        assert draft.size_wh == (8, 8)
        assert draft.boxes.tolist() == [[0, 0, 4, 4]]
    assert {task("single", seed).draft.keyframe for seed in range(8)} == {2, 3}


def test_a_box_for_each_object_and_a_mask_for_each_in_each_frame(task):
    made = task("multiple")
    assert made.num_objects == 2
    assert made.draft.boxes.tolist() == [[0, 0, 4, 4], [0, 7, 8, 8]]
    key = made.draft.indices.index(made.draft.keyframe)
    assert made.masks[key].shape == (2, 16, 16)
    assert made.masks[key][0].sum() == 8 * 8
    assert made.masks[key][1].sum() == 2 * 16
    assert made.masks[0].sum() == 0


def test_without_a_target_there_is_no_keyframe(task):
    made = task("none")
    assert (made.draft.keyframe, made.keyframe_label, made.num_objects) == (None, None, 0)
    assert made.draft.boxes.shape == (0, 4)
    assert made.draft.indices == (0, 2, 3)
    assert all(masks.shape == (0, 16, 16) for masks in made.masks)


def test_masks_that_nobody_knows_are_not_made_up(clips):
    source = clips("single/0")
    made = prepare(source.candidates[0], source.sample("single/0")[0], [3], VIEW, 0)
    assert made.draft.keyframe == 3
    assert [masks is None for masks in made.masks] == [True, True, False]


def test_a_draft_is_a_line_of_a_set(task):
    draft = task("multiple").draft
    assert sample_to_json(sample_from_json(sample_to_json(draft), "x")) == sample_to_json(draft)


@pytest.mark.parametrize(("change", "flaw"), [({"query": " "}, "query"), ({"query": "x" * 3000}, "query")])
def test_a_question_that_cannot_be_asked(clips, change, flaw):
    source = clips("single/0")
    sample, annotated = source.sample("single/0")
    made = prepare(source.candidates[0], replace(sample, **change), annotated, VIEW, 0)
    assert (made.candidate, made.flaw) == (source.candidates[0], flaw)
    assert len(made.query) <= 200


def test_a_target_that_is_never_seen(clips):
    source = clips("unseen/0")
    assert prepare(source.candidates[0], *source.sample("unseen/0"), VIEW, 0).flaw == "unseen"


def test_more_targets_than_an_answer_holds(clips):
    source = clips("single/0")
    sample, annotated = source.sample("single/0")
    crowd = from_stacks(np.ones((MAX_BOXES + 1, 4, 8, 8), bool))
    made = prepare(source.candidates[0], replace(sample, truth=crowd), annotated, VIEW, 0)
    assert isinstance(made, SkippedQuestion)
    assert made.flaw == "crowded"


def test_an_id_that_is_no_name_of_a_file(clips):
    source = clips("single/../../x")
    with pytest.raises(DatasetError, match="lead out"):
        prepare(source.candidates[0], *source.sample("single/../../x"), VIEW, 0)


def test_limits_are_those_of_the_units():
    assert limits(VIEW) == (16, 16)
    assert limits(replace(VIEW, coordinates="thousandths")) == (1000, 1000)
