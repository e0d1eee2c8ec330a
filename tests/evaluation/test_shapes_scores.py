import numpy as np
import pytest

from thinkseg.chains import veason
from thinkseg.chains.frames import describe
from thinkseg.chains.parsing import write_answer
from thinkseg.data import shapes
from thinkseg.errors import DatasetError
from thinkseg.evaluation.shapes_scores import judge, mean_j_and_f, summarise, table
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.masks import empty, from_stacks
from thinkseg.pipeline import segment_sample, segment_samples
from thinkseg.types import VideoSample, View

VIEW = View(num_frames=4, frame_wh=(8, 8))
NONE = '<think>none</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'


def found(second, *box):
    return f'<think>there</think><answer>{{"keyframe_timestamp": {second}, "bbox_2d_list": [{[*box]}]}}</answer>'


RIGHT, HALF, WRONG = found("2.0", 0, 0, 4, 4), found("1.0", 0, 0, 4, 2), found("0.0", 4, 4, 8, 8)


@pytest.fixture
def score(box_tracker):
    """Rows of samples answered with scripted replies, the box on the keyframe filled in all frames."""

    def score(samples, replies):
        outcomes = segment_samples(samples, veason, ScriptedPolicy(replies), box_tracker, VIEW)
        return [judge(outcome, VIEW) for outcome in outcomes]

    return score


def test_a_right_answer(question, score):
    (row,) = score([question("a")], [RIGHT])
    # No overlap with the empty frame 0, half in frame 1, all in frames 2 and 3.
    assert row["j"] == pytest.approx((0 + 0.5 + 1 + 1) / 4)
    assert 0 < row["f"] <= 1
    assert (row["r_k"], row["r_s"]) == (1.0, 1.0)
    assert (row["target"], row["failure"], row["keyframe"], row["boxes"]) == (True, None, 2, [[0, 0, 4, 4]])
    assert (row["id"], row["query"], row["category"], row["replies"]) == ("a", "the a", "referring", [RIGHT])
    assert set(row["seconds"]) == {"frames", "policy", "tracker"}


def test_a_lesser_keyframe(question, score):
    (row,) = score([question("a")], [HALF])
    assert (row["r_k"], row["r_s"]) == (0.5, 1.0)
    assert row["j"] == pytest.approx((0 + 1 + 0.5 + 0.5) / 4)


def test_a_wrong_answer_is_parsed_but_earns_nothing(question, score):
    (row,) = score([question("a")], [WRONG])
    assert row["failure"] is None
    assert (row["j"], row["r_k"], row["r_s"]) == (0, 0, 0)


def test_an_unusable_reply_earns_nothing(question, score):
    (row,) = score([question("a")], ["it is the red one"])
    # Empty masks would be right for frame 0; a reply that asked for none does not get that.
    assert (row["j"], row["f"], row["r_k"], row["r_s"]) == (0, 0, 0, 0)
    assert (row["failure"], row["keyframe"], row["boxes"]) == ("tags", None, [])
    assert row["replies"] == ["it is the red one"]


def test_a_missed_target_is_scored_as_the_empty_masks_it_asks_for(question, score):
    (row,) = score([question("a")], [NONE])
    assert (row["j"], row["f"], row["r_k"], row["r_s"]) == (0.25, 0.25, 0, 0)


@pytest.mark.parametrize("reply", [NONE, RIGHT, "junk"])
def test_a_sample_without_a_target_has_no_mask_scores(question, score, reply):
    (row,) = score([question("a", target=False)], [reply])
    assert (row["target"], row["j"], row["f"], row["r_k"], row["r_s"]) == (False, None, None, None, None)


def test_a_target_in_none_of_the_frames_shown_has_no_rewards(question, box_tracker):
    hidden = from_stacks(np.zeros((1, 4, 8, 8), bool))
    sample = VideoSample("a", question("a").video, "it", truth=hidden)
    row = judge(segment_sample(sample, veason, ScriptedPolicy([WRONG]), box_tracker, VIEW), VIEW)
    assert (row["r_k"], row["r_s"]) == (None, None)


def test_truth_must_be_known(film, box_tracker):
    outcome = segment_sample(VideoSample("a", film(), "it"), veason, ScriptedPolicy([NONE]), box_tracker)
    with pytest.raises(DatasetError, match="sample 'a' has no truth"):
        judge(outcome, VIEW)


def test_masks_are_scored_frame_by_frame(question):
    truth = question("a").truth
    assert mean_j_and_f(truth, truth) == (1.0, 1.0)
    assert mean_j_and_f(empty((8, 8), 4), truth) == (0.25, 0.25)


def test_means_over_samples_with_a_target(question, score):
    figures = summarise(score([question("a"), question("b"), question("c")], [RIGHT, NONE, "junk"])).overall
    assert (figures.samples, figures.targets, figures.parsed) == (3, 3, pytest.approx(2 / 3))
    assert figures.j == pytest.approx((2.5 / 4 + 1 / 4 + 0) / 3)
    assert figures.j_and_f == pytest.approx((figures.j + figures.f) / 2)
    assert (figures.r_k, figures.r_s) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert figures.missed_targets == pytest.approx(1 / 3)
    assert figures.no_target_right is None
    assert figures.failures == {"tags": 1}
    assert set(figures.seconds) == {"frames", "policy", "tracker"}


def test_samples_without_a_target_count_only_as_answered_with_none_or_not(question, score):
    absent = [question(name, target=False, category="no target") for name in "abcd"]
    scores = summarise(score([*absent, question("e")], [NONE, RIGHT, "junk", NONE, RIGHT]))
    figures = scores.categories["no target"]
    assert (figures.samples, figures.targets, figures.no_target_right, figures.parsed) == (4, 0, 0.5, 0.75)
    assert (figures.j, figures.f, figures.j_and_f, figures.r_k, figures.r_s) == (None,) * 5
    assert figures.missed_targets is None
    assert scores.overall.r_k == 1.0


def test_a_row_without_a_figure_is_left_out_of_its_mean(question, score):
    rows = score([question("a"), question("b")], [HALF, RIGHT])
    rows[1]["r_k"] = None
    assert summarise(rows).overall.r_k == 0.5


def test_nothing_to_summarise():
    scores = summarise([])
    assert (scores.overall.samples, scores.overall.parsed, scores.overall.j, scores.categories) == (0, None, None, {})
    assert len(table(scores).splitlines()) == 2


def test_summaries_do_not_depend_on_the_order_of_results(question, score):
    samples = [question("a"), question("b", category="cause"), question("c", target=False)]
    rows = score(samples, [RIGHT, HALF, NONE])
    backwards, forwards = summarise(rows[::-1]), summarise(rows)
    assert list(forwards.categories) == list(backwards.categories) == ["cause", "referring"]
    assert backwards.overall.j == pytest.approx(forwards.overall.j)


def test_the_table_shows_every_category_and_why_replies_failed(question, score):
    samples = [question("a"), question("b"), question("c", target=False, category="no target")]
    scores = summarise(score(samples, [RIGHT, "junk", NONE]))
    head, absent, referring, overall, failures = table(scores).splitlines()
    assert "J&F" in head
    assert absent.split() == ["no", "target", "1", "0", "1.000", "-", "-", "-", "-", "-", "-", "1.000"]
    assert referring.split()[:4] == ["referring", "2", "2", "0.500"]
    assert overall.split()[:4] == ["overall", "3", "2", "0.667"]
    assert failures == "unusable replies: tags 1"
    assert len({len(line) for line in (head, absent, referring, overall)}) == 1


def test_the_truth_of_the_shapes_world_scores_full_marks(box_tracker):
    """Shown at its own size a box is written exactly, so the truth must come back as 1.0 and not as nearly 1."""
    samples = [shapes.load("val", index) for index in range(40)]
    assert {sample.truth.num_objects > 0 for sample in samples} == {True, False}
    view = View(6, samples[0].video.size_wh)
    replies = [truth_as_text(sample, view) for sample in samples]
    outcomes = segment_samples(samples, veason, ScriptedPolicy(replies), box_tracker, view, batch_size=8)
    figures = summarise([judge(outcome, view) for outcome in outcomes]).overall
    assert (figures.parsed, figures.r_k, figures.r_s) == (1.0, 1.0, 1.0)
    assert (figures.missed_targets, figures.no_target_right) == (0.0, 1.0)


def truth_as_text(sample, view):
    """The reply that chooses the frame shown with the most of the target, and boxes it there."""
    shown = describe(sample.video, view)
    if sample.truth.num_objects == 0:
        return write_answer("as simulated", None, np.zeros((0, 4)), shown)
    keyframe = max(shown.indices, key=sample.truth.area)
    return write_answer("as simulated", keyframe, sample.truth.boxes(keyframe), shown)
