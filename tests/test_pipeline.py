from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from thinkseg import models
from thinkseg.chains import revseg, veason
from thinkseg.data.shapes import SHAPES_COMMENT
from thinkseg.errors import AnswerError, ModelError, SettingsError, VideoError
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.pipeline import batched, changed_view, resolve_view, run_chains, segment, segment_sample, segment_samples
from thinkseg.prompts import Prompts, VeasonPrompts
from thinkseg.types import Answer, Reply, Turn, VideoSample, View

VIEW = View(num_frames=3, frame_wh=(8, 6))
FOUND = '<think>grey</think><answer>{"keyframe_timestamp": 1.0, "bbox_2d_list": [[1, 2, 4, 5]]}</answer>'
NONE = '<think>not here</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'


def count_to(number):
    """A chain of `number` turns that answers with what it was told, and gives up on "stop"."""
    heard = []
    for turn in range(number):
        reply = yield Turn((f"turn {turn} of {number}",))
        if reply == "stop":
            raise AnswerError("invalid_tags")
        heard.append(reply)
    return Answer(" ".join(heard), None, np.zeros((0, 4), np.float32))


class BatchPolicy(ScriptedPolicy):
    """A script that also notes how many dialogues came at once."""

    def __init__(self, replies, **options):
        super().__init__(replies, **options)
        self.sizes = []

    def reply(self, dialogues, seeds=None):
        self.sizes.append(len(dialogues))
        return super().reply(dialogues)


def echo(dialogue):
    return f"re {dialogue[-1].content[0]}"


def test_chains_of_different_lengths_run_together():
    policy = BatchPolicy(echo)
    outcomes = run_chains([count_to(1), count_to(3), count_to(2)], policy)
    assert policy.sizes == [3, 2, 1]
    assert [outcome.answer.thinking for outcome in outcomes] == [
        "re turn 0 of 1",
        "re turn 0 of 3 re turn 1 of 3 re turn 2 of 3",
        "re turn 0 of 2 re turn 1 of 2",
    ]


def test_the_policy_sees_the_dialogue_so_far_and_the_outcome_all_of_it():
    policy = ScriptedPolicy(echo)
    (outcome,) = run_chains([count_to(2)], policy)
    assert [len(dialogue) for dialogue in policy.dialogues] == [1, 3]
    assert len(outcome.dialogue) == 4
    assert outcome.dialogue[:3] == policy.dialogues[1]
    assert outcome.dialogue[3] == "re turn 1 of 2"


@pytest.mark.parametrize(("size", "expected"), [(None, [5]), (2, [2, 2, 1]), (9, [5])])
def test_batches(size, expected):
    policy = BatchPolicy(echo)
    assert len(run_chains((count_to(1) for _ in range(5)), policy, size)) == 5
    assert policy.sizes == expected


def test_a_chain_is_not_touched_before_its_batch_is_due():
    started = []

    def chain(name):
        started.append(name)
        yield Turn((name,))
        return Answer("", None, np.zeros((0, 4), np.float32))

    seen = []
    policy = ScriptedPolicy(lambda dialogue: seen.append(list(started)) or "")
    run_chains([chain("a"), chain("b")], policy, batch_size=1)
    assert seen == [["a"], ["a", "b"]]


def test_a_failed_reply_is_data_and_leaves_the_others_alone():
    outcomes = run_chains([count_to(2), count_to(2)], ScriptedPolicy(["stop", "a", "b"]))
    assert [(outcome.failure, outcome.answer is None) for outcome in outcomes] == [
        ("invalid_tags", True),
        (None, False),
    ]
    assert outcomes[0].dialogue[-1] == "stop"


def test_a_reply_that_cannot_be_used_leaves_what_was_known_before():
    def when_then_where():
        yield Turn(("when?",))
        yield Turn(("where?",))
        raise AnswerError("invalid_boxes", keyframe=3)

    def at_once():
        yield Turn(("when?",))
        raise AnswerError("invalid_tags", num_unasked_turns=1)

    late, early = run_chains([when_then_where(), at_once()], ScriptedPolicy(["third", "junk", "junk"]))
    assert (late.failure, late.keyframe, late.num_unasked_turns, late.replies) == (
        "invalid_boxes",
        3,
        0,
        ("third", "junk"),
    )
    assert (early.failure, early.keyframe, early.num_unasked_turns, early.replies) == (
        "invalid_tags",
        None,
        1,
        ("junk",),
    )


def test_a_reply_cut_short_fails_for_that_reason():
    replies = [Reply("stop", 7, truncated=True), Reply("fine", 5, truncated=True)]
    cut, fine = run_chains([count_to(1), count_to(1)], ScriptedPolicy(replies))
    assert (cut.failure, cut.truncated, cut.num_tokens) == ("truncated", True, 7)
    assert (fine.failure, fine.truncated, fine.num_tokens) == (None, True, 5)


def test_a_chain_may_answer_without_asking():
    policy = BatchPolicy([])
    (outcome,) = run_chains([count_to(0)], policy)
    assert (outcome.answer.thinking, outcome.dialogue, policy.sizes) == ("", (), [])


def test_what_breaks_is_raised():
    with pytest.raises(ModelError):
        run_chains([count_to(1)], ScriptedPolicy([]))
    policy = ScriptedPolicy([])
    policy.reply = lambda dialogues, seeds: []
    with pytest.raises(ValueError, match="shorter"):
        run_chains([count_to(1)], policy)


def test_batched_refuses_a_size_below_one():
    with pytest.raises(SettingsError, match="batch size: 0"):
        list(batched([1], 0))


def test_boxes_on_the_keyframe_become_masks(film, box_tracker):
    sample = VideoSample("a", film(21), "the grey one")
    ticks = []
    outcome = segment_sample(
        sample, veason, ScriptedPolicy([FOUND]), box_tracker, VIEW, lambda *tick: ticks.append(tick)
    )
    assert (outcome.sample, outcome.failure, outcome.answer.keyframe) == (sample, None, 10)
    assert box_tracker.calls == [10]
    assert outcome.masklets.num_frames == 21
    expected = np.zeros((6, 8), bool)
    expected[2:5, 1:4] = True
    np.testing.assert_array_equal(outcome.masklets.mask(20, 0), expected)
    assert outcome.dialogue[-1] == FOUND
    assert set(outcome.seconds) == {"frames", "policy", "tracker"}
    assert all(seconds >= 0 for seconds in outcome.seconds.values())
    assert ticks == [(21, 21)]


@pytest.mark.parametrize(("reply", "failure"), [(NONE, None), ("the grey one", "invalid_tags")])
def test_nothing_to_follow_gives_no_masks_and_no_tracking(film, box_tracker, reply, failure):
    outcome = segment_sample(VideoSample("a", film(21), "it"), veason, ScriptedPolicy([reply]), box_tracker, VIEW)
    assert outcome.failure == failure
    assert (outcome.answer is None) == (failure is not None)
    assert (outcome.masklets.num_objects, outcome.masklets.num_frames) == (0, 21)
    assert outcome.masklets.size_wh == (8, 6)
    assert box_tracker.calls == []


def test_samples_share_calls_to_the_policy_and_are_read_as_needed(film, box_tracker):
    policy = BatchPolicy([FOUND, "junk", NONE])
    read = []

    def samples():
        for name in "abc":
            read.append(name)
            yield VideoSample(name, film(21), "it")

    outcomes = segment_samples(samples(), veason, policy, box_tracker, VIEW, batch_size=2)
    first = next(outcomes)
    assert (first.sample.id, read, policy.sizes) == ("a", ["a", "b"], [2])
    assert [(outcome.sample.id, outcome.failure) for outcome in outcomes] == [("b", "invalid_tags"), ("c", None)]
    assert policy.sizes == [2, 1]


def test_views_fit_the_policy():
    policy = ScriptedPolicy([], size_multiple=28, coordinates="normalized_1000", view=View(4, (112, 56)))
    assert resolve_view(policy) == View(4, (112, 56), "normalized_1000")
    assert resolve_view(policy, View(6, (100, 3), "pixels", "index")) == View(6, (112, 28), "normalized_1000", "index")


def test_resolve_view_without_wording_takes_the_policys():
    own, given = Prompts(VeasonPrompts(prompt="{frames}{query}")), Prompts(VeasonPrompts(prompt="{query}{frames}"))
    policy = ScriptedPolicy([], view=View(4, (112, 56), prompts=own))
    assert resolve_view(policy, View(2, (28, 28))).wording == own
    assert resolve_view(policy, View(2, (28, 28), prompts=given)).wording == given


def test_all_sizes_of_a_view_are_fitted():
    policy = ScriptedPolicy([], size_multiple=28)
    view = View(4, (100, 90), overview_wh=(40, 30), closeup_wh=(300, 3))
    assert resolve_view(policy, view) == View(4, (112, 84), overview_wh=(28, 28), closeup_wh=(308, 28))


@pytest.mark.parametrize(
    "view",
    [
        View(0, (8, 8)),
        View(4, (0, 8)),
        View(4, (8, -1)),
        View(4, (8, 8), overview_wh=(8, 0)),
        View(4, (8, 8), closeup_wh=(0, 8)),
        View("4", (8, 8)),
        View(4, (8.5, 8)),
        View(4, (8, 8, 8)),
        View(4, 8),
    ],
)
def test_views_that_show_nothing(view):
    with pytest.raises(SettingsError, match="must be >= 1"):
        resolve_view(ScriptedPolicy([]), view)


@pytest.fixture
def named(monkeypatch, box_tracker):
    """Puts a scripted policy and the box tracker behind the names that `segment` looks up; lists what was loaded."""
    loaded = []
    policy = ScriptedPolicy(lambda dialogue: FOUND, view=VIEW)
    monkeypatch.setattr(models, "load_policy", lambda name: loaded.append(name) or policy, raising=False)
    monkeypatch.setattr(models, "load_tracker", lambda name, **_: loaded.append(name) or box_tracker, raising=False)
    return loaded


def test_segment_takes_names_and_frames(film, named):
    assert segment(film(21), " the grey\none").sample.query == "the grey one"
    assert named == ["flow", "shapes"]


def test_segment_asks_the_policy_that_knows_the_chain(film, named):
    segment(film(21), "the grey one", chain="revseg")
    segment(film(21), "the grey one", "shapes", chain="revseg")
    assert named == ["flow", "shapes-revseg", "flow", "shapes"]


def test_segment_takes_models_already_loaded(film, named, box_tracker):
    policy = ScriptedPolicy([NONE])
    outcome = segment(film(21), "it", policy=policy, tracker=box_tracker, chain=veason, view=VIEW)
    assert (outcome.answer.thinking, named) == ("not here", [])


def test_segment_bundled_policy_warns_unless_the_clip_shows_shapes(film, box_tracker):
    policy = ScriptedPolicy(lambda dialogue: FOUND, view=VIEW)
    policy.name = "shapes"
    assert segment(film(21), "it", policy, box_tracker).warnings == (models.BUNDLED_WARNING,)
    shapes = film(21)
    shapes.comment = SHAPES_COMMENT
    assert segment(shapes, "it", policy, box_tracker).warnings == ()
    policy.name = "checkpoints/mine"
    assert segment(film(21), "it", policy, box_tracker).warnings == ()


def test_is_bundled_knows_names_and_folders():
    assert models.is_bundled("shapes-revseg")
    assert models.is_bundled(str(models.BUNDLED["shapes"]))
    assert not models.is_bundled("owner/model")


def test_segment_takes_arrays_which_have_no_times(named, box_tracker):
    array = np.zeros((21, 6, 8, 3), np.uint8)
    policy = ScriptedPolicy([FOUND.replace("1.0", "10")], view=VIEW)
    outcome = segment(array, "it", policy=policy)
    assert (outcome.answer.keyframe, outcome.masklets.num_frames) == (10, 21)


def test_segment_takes_paths(tmp_path, named):
    from PIL import Image

    for number in range(3):
        Image.new("RGB", (8, 6)).save(tmp_path / f"{number}.png")
    policy = ScriptedPolicy([FOUND.replace("1.0", "1")], view=VIEW)
    outcome = segment(tmp_path, "it", policy=policy)
    assert (outcome.sample.id, outcome.answer.keyframe) == (tmp_path.name, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"query": " "}, SettingsError, "empty"),
        ({"query": "x" * 100_000}, SettingsError, "2,000"),
        ({"chain": "thinkhard"}, SettingsError, "unknown chain 'thinkhard'.*veason"),
        ({"video": "nowhere/at/all.mp4"}, VideoError, "all.mp4"),
        ({"video": np.zeros((0, 6, 8, 3), np.uint8)}, VideoError, "uint8"),
        ({"video": np.zeros((3, 6, 8), np.uint8)}, VideoError, "uint8"),
        ({"video": None}, VideoError, "NoneType is no video"),
        ({"query": None}, SettingsError, "the query is NoneType, not a str: give one text per call"),
        ({"query": ["a", "b"]}, SettingsError, "the query is list"),
        ({"policy": 7}, SettingsError, "policy: int is not valid"),
        ({"policy": "oracle"}, ModelError, "unknown policy 'oracle'"),
        ({"tracker": None}, SettingsError, "tracker: NoneType is not valid"),
        ({"chain": 3}, SettingsError, "chain: int is not valid"),
        ({"view": (4, 8)}, SettingsError, "view: tuple is not valid"),
        ({"view": View(0, (8, 8))}, SettingsError, "must be >= 1"),
        ({"view": View(4, (9999, 8))}, SettingsError, "sides must be <= 4096"),
        ({"progress": "bar"}, SettingsError, "progress: str is not valid"),
        ({"keyframe": 3}, SettingsError, "give both"),
        ({"boxes": [[1, 1, 5, 5]]}, SettingsError, "give both"),
        ({"keyframe": 30, "boxes": [[1, 1, 5, 5]]}, SettingsError, "frames 0 to 29"),
        ({"keyframe": 3, "boxes": [[1, 1, 1.2, 5]]}, SettingsError, "less than one pixel"),
    ],
)
def test_bad_input_is_refused_before_a_model_is_loaded(film, named, arguments, error, words):
    with pytest.raises(error, match=words):
        segment(**{"video": film(), "query": "it", **arguments})
    assert named == []


def test_segment_boxes_by_hand_need_no_policy_and_no_query(film, named, box_tracker):
    with pytest.warns(UserWarning, match="box 1,1,99,5 is clipped to the frame of 8x6 pixels: 1,1,8,5"):
        result = segment(film(10), keyframe=0.4, boxes=[[1, 1, 99, 5]])
    assert (named, box_tracker.calls) == (["flow"], [4])
    assert (result.answer.keyframe, result.answer.boxes.tolist()) == (4, [[1, 1, 8, 5]])
    assert result.sample.query == ""


def test_run_chains_seeds_depend_on_chain_and_turn():
    class Seeds(ScriptedPolicy):
        def reply(self, dialogues, seeds=None):
            given.append(list(seeds))
            return super().reply(dialogues, seeds)

    given = []
    run_chains([count_to(2), count_to(2)], Seeds(echo), seeds=[5, 6])
    together, given = given, []
    run_chains([count_to(2), count_to(2)], Seeds(echo), batch_size=1, seeds=[5, 6])
    assert given == [[seed] for chain in zip(*together, strict=True) for seed in chain]
    assert len({seed for turn in together for seed in turn}) == 4


@pytest.mark.parametrize("script", [echo, []])
def test_run_chains_clears_the_policy_after_each_batch(script):
    class Cleared(ScriptedPolicy):
        def clear(self):
            calls.append(len(self.dialogues))

    calls = []
    with suppress(ModelError):
        run_chains([count_to(2), count_to(1)], Cleared(script), batch_size=1)
    assert calls == ([2, 3] if script else [1])


FENCED = '```<think>it</think><answer>{"keyframe_timestamp": 0.0, "bbox_2d_list": [[0, 0, 4, 4]]}</answer>```'


def test_run_chains_reads_strictly_unless_asked_to_repair(film):
    def outcome(reply, **options):
        (found,) = run_chains([veason(VideoSample("a", film(), "it"), VIEW)], ScriptedPolicy([reply]), **options)
        return found

    assert (outcome(FENCED).failure, outcome(FENCED).repairs) == ("invalid_tags", ())
    repaired = outcome(FENCED, reading="repair")
    assert (repaired.failure, repaired.keyframe, repaired.repairs) == (None, 0, ("outside_text",))
    assert repaired.replies == (FENCED,)
    # What is missing from an incomplete reply is unknown.
    cut = outcome(Reply(FENCED, truncated=True), reading="repair")
    assert (cut.failure, cut.repairs) == ("truncated", ())


def test_run_chains_repairs_both_turns(film):
    choice = '<think>it</think>[{"frame_idx": 1, "object description": "it"}]'
    chains = [revseg(VideoSample("a", film(), "it"), VIEW)]
    (outcome,) = run_chains(chains, ScriptedPolicy([choice, "at [0, 0, 4, 4]"]), reading="repair")
    assert outcome.repairs == ("answer_tags", "outside_text", "bare_box")
    assert outcome.answer.boxes.shape == (1, 4)


def test_segment_unknown_reading_raises(film):
    with pytest.raises(SettingsError, match="reading: 'loose' is not valid; give one of strict, repair"):
        segment(film(), "it", reading="loose")


def test_changed_view_size_of_frames_is_that_of_the_overview() -> None:
    view = View(4, (56, 56), overview_wh=(28, 28), closeup_wh=(112, 112))
    assert changed_view(view) == view
    assert changed_view(view, num_frames=2, closeup_wh=(84, 84)) == replace(view, num_frames=2, closeup_wh=(84, 84))
    assert changed_view(view, frame_wh=(84, 56)) == replace(view, frame_wh=(84, 56), overview_wh=None)
