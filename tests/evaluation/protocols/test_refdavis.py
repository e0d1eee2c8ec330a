"""Protocol A by hand on 4x4 label maps, and its matching against trying all of them."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thinkseg.evaluation.protocols.refdavis import merge_labels, object_scores
from thinkseg.ops.metrics import j_and_f


def maps(*rows_of_frames):
    """Label maps of frames that are constant along each row."""
    return np.array([[[label] * 4 for label in rows] for rows in rows_of_frames], np.uint8)


def test_merge_labels_first_object_wins():
    first, second = np.zeros((2, 4, 6), bool)
    first[:2], second[1:3] = True, True
    labels = merge_labels([first, second], (4, 6))
    assert labels.tolist() == [[1] * 6, [1] * 6, [2] * 6, [0] * 6]
    assert merge_labels([], (4, 6)).tolist() == [[0] * 6] * 4


def test_object_scores_ignore_label_order():
    truth = maps([1, 1, 2, 0], [1, 1, 2, 0])
    swapped = np.array([0, 2, 1], np.uint8)[truth]
    j, f = object_scores(swapped, truth)
    assert j.tolist() == f.tolist() == [1, 1]


def test_object_scores_ignore_void():
    j, _ = object_scores(maps([1, 1, 1, 0]), maps([1, 255, 0, 0]))
    assert j.tolist() == [0.5]  # of the three predicted rows one is right, one wrong, one void


def test_object_scores_cover_objects_of_first_frame():
    j, _ = object_scores(maps([1, 0, 0, 0], [1, 2, 0, 0]), maps([1, 0, 0, 0], [1, 2, 0, 0]))
    assert j.tolist() == [1]


def test_object_scores_missing_object_is_empty():
    j, f = object_scores(maps([0, 0, 1, 0], [0, 0, 1, 0]), maps([1, 0, 2, 0], [0, 0, 2, 0]))
    # Object 1 is matched with nothing, and is not there in the second frame.
    assert j.tolist() == [0.5, 1]
    assert f.tolist() == [0.5, 1]


def test_object_scores_without_objects_returns_none():
    j, f = object_scores(maps([1, 0, 0, 0]), maps([0, 0, 0, 0]))
    assert len(j) == len(f) == 0


@settings(max_examples=40)
@given(
    st.tuples(
        arrays.arrays(np.uint8, (2, 5, 5), elements=st.integers(0, 3)),
        arrays.arrays(np.uint8, (2, 5, 5), elements=st.sampled_from([0, 1, 2, 255])),
    )
)
def test_object_scores_matching_is_optimal(labels):
    predicted, truth = labels
    void, num_true = truth == 255, int(np.where(truth == 255, 0, truth)[0].max())
    j, f = object_scores(predicted, truth)
    assert len(j) == len(f) == num_true
    rows = max(int(predicted.max()), num_true)
    best = 0.0
    for chosen in permutations(range(1, rows + 1), num_true):
        pairs = [j_and_f(predicted == ours, truth == true, void) for true, ours in enumerate(chosen, start=1)]
        best = max(best, sum(pair_j.mean() + pair_f.mean() for pair_j, pair_f in pairs))
    assert (j + f).sum() == pytest.approx(best)


def test_object_scores_more_than_20_objects_raises():
    with pytest.raises(ValueError, match="21 predicted objects"):
        object_scores(np.full((1, 4, 4), 21, np.uint8), maps([1, 0, 0, 0]))


def test_object_scores_other_shapes_raises():
    with pytest.raises(ValueError, match="shapes must be one"):
        object_scores(maps([1, 0, 0, 0]), maps([1, 0, 0]))
    with pytest.raises(ValueError, match="shapes must be one"):
        object_scores(np.zeros((0, 4, 4), np.uint8), np.zeros((0, 4, 4), np.uint8))
