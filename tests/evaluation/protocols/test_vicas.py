"""Track precision against a plain walk through the evaluator's rules, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkseg.errors import SettingsError
from thinkseg.evaluation.aggregation import Bootstrap, compute_metrics
from thinkseg.evaluation.protocols.vicas import ALL, AveragePrecision, match_prompt, track_ious
from thinkseg.ops.masks import from_stacks

STEPS = st.integers(0, 20).map(lambda step: np.float32(step / 20))


@st.composite
def prompts(draw, most=10):
    """IoUs of one prompt."""
    shape = draw(st.integers(0, most)), draw(st.integers(0, 4))
    return np.array([[draw(STEPS) for _ in range(shape[1])] for _ in range(shape[0])], np.float32).reshape(shape)


def plain_matches(ious, threshold):
    """Whether each track gets a true one: of all that fit, each replaces the one before."""
    if ious.shape[1] == 0 or len(ious) == 0:
        return [False] * len(ious)
    taken, rows = [], []
    for track in np.argsort(-1.0 * np.ones(len(ious), np.float32)):
        mine = None
        for true in range(ious.shape[1]):
            if true in taken or true == mine:
                continue
            if ious[track, true] >= threshold:
                mine = true
        taken.append(mine)
        rows.append(mine is not None)
    return rows


def plain_precision(rows, num_true):
    """Average precision by the definition of the area, point by point in float64."""
    found = np.array(rows)[np.argsort(-1.0 * np.ones(len(rows), np.float32))]
    hits = np.cumsum(found)
    area, reached = 0.0, 0
    for place in range(len(found)):
        if found[place]:
            best_later = max(hits[k] / (k + 1) for k in range(place, len(found)))
            area += (hits[place] - reached) / num_true * best_later
            reached = hits[place]
    return 100 * area


def rows_of(some, videos=None):
    """Prompts as rows, each about a video of its own unless told otherwise."""
    names = videos or range(len(some))
    return [
        {"video": name, "ious": ious.tolist(), "tracks": ious.shape[1]} for name, ious in zip(names, some, strict=True)
    ]


def figures(some, corrected=False):
    """mAP and AP@50, as they are without any draw."""
    rows = rows_of(some)
    plan = {name: AveragePrecision(levels, corrected) for name, levels in (("mAP", ALL), ("AP@50", (0,)))}
    return {name: figure.value for name, figure in compute_metrics(rows, plan).items()}


@settings(max_examples=30)
@given(st.lists(prompts(), min_size=1, max_size=4))
def test_average_precision_matches_evaluator(some):
    num_true = sum(ious.shape[1] for ious in some)
    precisions = []
    for threshold in np.arange(0.5, 0.95 + 1e-4, 0.05):
        rows = [row for ious in some for row in plain_matches(ious, threshold)]
        if not rows:
            precisions.append(0.0)
        else:
            precisions.append(plain_precision(rows, num_true) if num_true else 100.0)
    assert len(precisions) == 10
    draws = Bootstrap(rows_of(some))
    draws.weights = draws.weights[:1]  # only the value of all videos is compared
    assert AveragePrecision(ALL)(rows_of(some), draws, {})[0] == pytest.approx(np.mean(precisions), rel=1e-5, abs=1e-4)
    for place in range(10):
        found = AveragePrecision((place,))(rows_of(some), draws, {})[0]
        assert found == pytest.approx(precisions[place], rel=1e-5, abs=1e-4)


def test_average_precision_resampled_video_matches_it_alone():
    some = [np.array([[1, 0], [0, 0]], np.float32), np.array([[1]], np.float32)]
    rows = rows_of(some)
    draws = Bootstrap(rows)
    values = AveragePrecision((0,), corrected=True)(rows, draws, {})
    assert values[0] == figures(some, corrected=True)["AP@50"] != figures(some[:1], corrected=True)["AP@50"]
    drawn = int(np.flatnonzero((draws.weights == [2, 0]).all(axis=1))[0])
    assert values[drawn] == figures(some[:1], corrected=True)["AP@50"]


def test_match_prompt_takes_last_or_best_track():
    # Both tracks fit both; the first takes what the second would need at higher thresholds.
    ious = np.array([[0.9, 0.6], [0.55, 0.2]], np.float32)
    quirky, corrected = match_prompt(ious), match_prompt(ious, corrected=True)
    # At 0.5 the first takes the second true track, and leaves the first.
    assert quirky[0].tolist() == [True, True]
    assert corrected[0].tolist() == [True, False]
    assert quirky[3].tolist() == corrected[3].tolist() == [True, False]


def test_average_precision_perfect_answer_is_100():
    for corrected in (False, True):
        assert figures([np.eye(3, dtype=np.float32)] * 2, corrected) == {"mAP": 100, "AP@50": 100}


def test_average_precision_half_found():
    # Right, wrong, right of two true tracks: recall 1/2 at precision 1, and 1 at 2/3.
    ious = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
    assert figures([ious], corrected=True)["mAP"] == pytest.approx(100 * (0.5 + 0.5 * 2 / 3))


def test_average_precision_without_predictions_or_truth():
    nothing, spurious = np.zeros((0, 2), np.float32), np.zeros((2, 0), np.float32)
    assert figures([nothing])["mAP"] == 0
    assert figures([spurious])["mAP"] == 100
    assert (
        compute_metrics([{"video": "a", "ious": None, "tracks": None}], {"mAP": AveragePrecision(ALL)})["mAP"].value
        is None
    )


def test_match_prompt_more_than_ten_tracks():
    ious = np.zeros((11, 1), np.float32)
    ious[10] = 1
    with pytest.raises(SettingsError, match=r"11 predicted tracks.*--corrected"):
        match_prompt(ious)
    assert not match_prompt(ious, corrected=True).any()
    assert match_prompt(ious[::-1], corrected=True)[:, 0].all()
    assert match_prompt(ious[:, :0]).shape == (10, 11)


def test_track_ious_cover_all_frames():
    truth, predicted = np.zeros((1, 3, 4, 4), bool), np.zeros((2, 3, 4, 4), bool)
    truth[0, :, :2] = True
    predicted[0, 0] = True
    predicted[0, 2, 0] = True
    ious = track_ious(from_stacks(predicted), from_stacks(truth), [0, 2])
    assert ious.dtype == np.float32
    assert ious.tolist() == [[np.float32((8 + 4) / (16 + 8))], [0]]
    assert track_ious(from_stacks(predicted), from_stacks(truth), [1])[0, 0] == 0
    empty = from_stacks(np.zeros((1, 3, 4, 4), bool))
    assert track_ious(empty, empty, [0]).tolist() == [[0]]
