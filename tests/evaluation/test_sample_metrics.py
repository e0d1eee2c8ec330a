"""Metrics of one expression."""

import numpy as np
import pytest

from memory_benchmark import benchmark_of
from thinkseg.chains import veason
from thinkseg.data.benchmarks.base import Expression
from thinkseg.evaluation.sample_metrics import mask_metrics, sample_row, track_metrics
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.masks import empty, from_stacks
from thinkseg.ops.metrics import j_and_f
from thinkseg.pipeline import segment_samples
from thinkseg.types import VideoSample, View

TRUE = np.zeros((5, 6, 7), bool)
TRUE[:4, 1:4, 1:5] = True
OURS = np.zeros((5, 6, 7), bool)
OURS[1:, 2:5, 2:6] = True

UNKNOWN = {"j": None, "f": None, "intersection": None, "union": None, "target_share": None}


class Pictures:
    """Masks that are no run lengths."""

    def __init__(self, masks):
        self.masks = masks

    def union(self, frame):
        return self.masks[frame]


def asked(scored):
    return Expression("clip", "0", "it", "", ("1",), scored, ("clip/0",))


@pytest.mark.parametrize("scored", [range(5), (0, 3), (4,)])
def test_mask_metrics_rles_and_images_are_bit_identical(scored):
    rows = [
        mask_metrics(asked(scored), masks, from_stacks(TRUE[None]))
        for masks in (from_stacks(OURS[None]), Pictures(OURS))
    ]
    assert rows[0] == rows[1]
    j, f = j_and_f(OURS[list(scored)], TRUE[list(scored)])
    both, either = (TRUE & OURS)[list(scored)].sum(), (TRUE | OURS)[list(scored)].sum()
    counts = {"intersection": both, "union": either, "target_share": TRUE[list(scored)].mean()}
    assert rows[0] == {"j": j.mean(), "f": f.mean(), **counts, "is_empty": False}


def test_mask_metrics_is_empty_covers_scored_frames():
    for masks in (from_stacks(OURS[None]), Pictures(OURS)):
        assert mask_metrics(asked((0,)), masks, from_stacks(TRUE[None]))["is_empty"] is True
        assert mask_metrics(asked((0,)), masks, None) == {**UNKNOWN, "is_empty": True}
        assert mask_metrics(asked((0, 1)), masks, None) == {**UNKNOWN, "is_empty": False}


def test_mask_metrics_no_target_and_empty_masks_score_1():
    row = mask_metrics(asked(range(5)), empty((7, 6), 5), empty((7, 6), 5))
    assert row == {"j": 1.0, "f": 1.0, "intersection": 0, "union": 0, "target_share": 0.0, "is_empty": True}


def test_mask_metrics_without_masks_scores_0():
    nothing = {"j": 0.0, "f": 0.0, "intersection": 0, "is_empty": False}
    assert mask_metrics(asked(range(5)), None, empty((7, 6), 5)) == {**nothing, "union": 0, "target_share": 0.0}
    true = from_stacks(TRUE[None])
    assert mask_metrics(asked((0, 4)), None, true, true) == {
        **nothing,
        "union": 12,
        "target_share": 12 / (2 * 7 * 6),
        "robustness_visa255": 0.0,
        "robustness_area": 0.0,
    }
    assert mask_metrics(asked(range(5)), None, None) == {**UNKNOWN, "is_empty": False}


@pytest.mark.parametrize("scored", [range(5), (1, 3)])
def test_mask_metrics_robustness_matches_wrapping_bytes(scored):
    """As VISA's evaluator is described, with pictures of 0 and 255, and two objects that share pixels."""
    other, frames = np.roll(TRUE, 1, axis=2), list(scored)
    seen = TRUE | other | np.roll(TRUE, -2, axis=1)
    for masks in (from_stacks(OURS[None]), Pictures(OURS)):
        row = mask_metrics(asked(scored), masks, from_stacks(np.array([TRUE, other])), from_stacks(seen[None]))
        expected = []
        for ours, first, second, around in zip(*(video[frames] for video in (OURS, TRUE, other, seen)), strict=True):
            num_true, picture = first.astype(np.uint8) + second, ours * np.uint8(255)
            wrong = ((1 - num_true) * picture).sum()
            expected.append(max(1 - wrong / (around.sum() + 1e-6), 0.0))
        assert row["robustness_visa255"] == np.mean(expected)
        wrong = (OURS & ~TRUE & ~other)[frames].sum((1, 2))
        assert row["robustness_area"] == np.mean(np.maximum(1 - wrong / (seen[frames].sum((1, 2)) + 1e-6), 0))
        assert 0 < row["robustness_area"] < 1


def test_mask_metrics_without_target_has_no_robustness():
    row = mask_metrics(asked(range(5)), from_stacks(OURS[None]), empty((7, 6), 5), from_stacks(TRUE[None]))
    assert "robustness_area" not in row


def test_track_metrics_images_hold_one_track():
    truth = from_stacks(np.array([TRUE, OURS]))
    both = track_metrics(asked((1, 2)), from_stacks(np.array([OURS, TRUE])), truth)
    overlap = np.float32((TRUE & OURS)[1:3].sum() / (TRUE | OURS)[1:3].sum())
    assert both == {"ious": [[overlap, 1], [1, overlap]], "tracks": 2}
    assert track_metrics(asked((1, 2)), Pictures(OURS), truth) == {"ious": [[overlap, 1]], "tracks": 2}
    # Frame 0 of ours is black, and then there is no track.
    assert track_metrics(asked((0,)), Pictures(OURS), truth) == {"ious": [], "tracks": 2}
    assert track_metrics(asked((0,)), None, truth) == {"ious": [], "tracks": 2}
    assert track_metrics(asked((0,)), Pictures(OURS), None) == {"ious": None, "tracks": None}


def test_mask_metrics_other_size_raises():
    with pytest.raises(ValueError, match="cannot be compared"):
        mask_metrics(asked(range(5)), empty((6, 7), 5), empty((7, 6), 5))


def test_mask_metrics_without_scored_frames_returns_none():
    assert mask_metrics(asked(()), from_stacks(OURS[None]), from_stacks(TRUE[None]))["j"] is None


VIEW = View(num_frames=4, frame_wh=(8, 8))
NONE = '<think>none</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'


def found(second, *box):
    return f'<think>there</think><answer>{{"keyframe_timestamp": {second}, "bbox_2d_list": [{[*box]}]}}</answer>'


RIGHT, HALF, WRONG = found("2.0", 0, 0, 4, 4), found("1.0", 0, 0, 4, 2), found("0.0", 4, 4, 8, 8)
"""R_k of 1, 0.5 and 0 on a `question` with a target."""


@pytest.fixture
def rows_of(box_tracker):
    """Rows of samples with scripted replies, the keyframe's box filled in all frames: rows_of(samples, replies)."""

    def rows_of(samples, replies):
        benchmark = benchmark_of(samples)
        results = segment_samples(benchmark.samples(), veason, ScriptedPolicy(replies), box_tracker, VIEW)
        return [
            sample_row(result, VIEW, benchmark, expression)
            for result, expression in zip(results, benchmark.expressions, strict=True)
        ]

    return rows_of


def test_sample_row_correct_answer(question, rows_of):
    (row,) = rows_of([question("a")], [RIGHT])
    # No overlap with the empty frame 0, half in frame 1, all in frames 2 and 3.
    assert row["j"] == pytest.approx((0 + 0.5 + 1 + 1) / 4)
    assert 0 < row["f"] <= 1
    assert (row["r_k"], row["r_s"]) == (1.0, 1.0)
    assert (row["has_target"], row["failure"], row["keyframe"], row["boxes"]) == (True, None, 2, [[0, 0, 4, 4]])
    assert (row["id"], row["query"], row["category"], row["replies"]) == ("a/0", "the a", "referring", [RIGHT])
    assert set(row["seconds"]) == {"frames", "policy", "tracker"}
    assert row["usage"] == {"prompt_tokens": 0, "completion_tokens": len(RIGHT.split())}
    assert row["num_scored_frames"] == 4


def test_sample_row_lesser_keyframe(question, rows_of):
    (row,) = rows_of([question("a")], [HALF])
    assert (row["r_k"], row["r_s"]) == (0.5, 1.0)
    assert row["j"] == pytest.approx((0 + 1 + 0.5 + 0.5) / 4)


def test_sample_row_wrong_answer_is_parsed_and_scores_0(question, rows_of):
    (row,) = rows_of([question("a")], [WRONG])
    assert row["failure"] is None
    assert (row["j"], row["r_k"], row["r_s"]) == (0, 0, 0)


def test_sample_row_failure_scores_0(question, rows_of):
    (row,) = rows_of([question("a")], ["it is the red one"])
    # Empty masks would be correct in frame 0; a reply that did not ask for them does not get that.
    assert (row["j"], row["f"], row["r_k"], row["r_s"]) == (0, 0, 0, 0)
    assert (row["failure"], row["keyframe"], row["boxes"]) == ("invalid_tags", None, [])
    assert row["replies"] == ["it is the red one"]


def test_sample_row_missed_target_scores_empty_masks(question, rows_of):
    (row,) = rows_of([question("a")], [NONE])
    assert (row["j"], row["f"], row["r_k"], row["r_s"], row["is_empty"]) == (0.25, 0.25, 0, 0, True)


@pytest.mark.parametrize("reply", [NONE, RIGHT, "junk"])
def test_sample_row_without_target_has_no_rewards(question, rows_of, reply):
    (row,) = rows_of([question("a", target=False)], [reply])
    assert (row["has_target"], row["r_k"], row["r_s"], row["is_empty"]) == (False, None, None, reply == NONE)


def test_sample_row_target_never_visible_has_no_rewards(question, rows_of):
    hidden = from_stacks(np.zeros((1, 4, 8, 8), bool))
    (row,) = rows_of([VideoSample("a", question("a").video, "it", truth=hidden)], [WRONG])
    assert (row["r_k"], row["r_s"]) == (None, None)


def test_sample_row_without_ground_truth_has_no_metrics(film, rows_of):
    (row,) = rows_of([VideoSample("a", film(4, (8, 8), fps=1.0), "it")], [RIGHT])
    assert (row["has_target"], row["j"], row["r_k"], row["is_empty"]) == (None, None, None, False)
