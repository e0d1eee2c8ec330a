from contextlib import suppress
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from thinkseg.chains import revseg, veason
from thinkseg.errors import AnswerError, ModelError, SettingsError
from thinkseg.events import Answered, Finished, ReplyFinished, ReplyText, Tracked, TurnStarted, Waiting
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.masks import from_stacks
from thinkseg.pipeline import (
    batched,
    changed_view,
    resolve_view,
    run_chains,
    segment_sample,
    segment_samples,
    track_prompts,
)
from thinkseg.prompts import Prompts, VeasonPrompts
from thinkseg.types import Answer, ObjectPrompt, Outcome, Reply, Turn, VideoSample, View

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


def test_changed_view_size_of_frames_is_that_of_the_overview() -> None:
    view = View(4, (56, 56), overview_wh=(28, 28), closeup_wh=(112, 112))
    assert changed_view(view) == view
    assert changed_view(view, num_frames=2, closeup_wh=(84, 84)) == replace(view, num_frames=2, closeup_wh=(84, 84))
    assert changed_view(view, frame_wh=(84, 56)) == replace(view, frame_wh=(84, 56), overview_wh=None)


class PromptedTracker:
    """Draws the box of each prompt, or a square around its first point, in all frames."""

    name = "prompted"

    def track(self, video, keyframe, boxes, progress=None):
        raise AssertionError("prompts are for track_prompts")

    def track_prompts(self, video, prompts, progress=None):
        masks = np.zeros((len({one.obj for one in prompts}), len(video), *video.size_wh[::-1]), bool)
        for one in prompts:
            x, y = one.points[0].astype(int) if one.box is None else one.box[:2].astype(int)
            masks[one.obj, :, y : y + 2, x : x + 2] = True
        return from_stacks(masks)


def test_track_prompts_answer_has_the_first_keyframe_and_boxes_of_what_is_found(film):
    prompts = [ObjectPrompt(5, 0, [1, 1, 3, 3]), ObjectPrompt(2, 1, points=[4, 3]), ObjectPrompt(2, 2, [0, 0, 2, 2])]
    result = track_prompts(VideoSample("a", film(8), ""), prompts, PromptedTracker())
    assert (result.answer.keyframe, result.answer.boxes.tolist()) == (2, [[4, 3, 6, 5], [0, 0, 2, 2]])
    assert result.prompts == tuple(prompts)


def test_track_prompts_of_an_outcome_keeps_its_answer(film):
    answer = Answer("grey", 3, np.array([[1, 1, 3, 3]], np.float32))
    sample, prompts = VideoSample("a", film(8), ""), [ObjectPrompt(5, 0, [2, 2, 4, 4])]
    outcome = Outcome(answer, None, ("reply",), 3)
    assert track_prompts(sample, prompts, PromptedTracker(), outcome=outcome).outcome is outcome
    nothing = Outcome(Answer("none", None, np.zeros((0, 4), np.float32)), None, ())
    result = track_prompts(sample, prompts, PromptedTracker(), outcome=nothing)
    assert (result.answer.thinking, result.answer.keyframe, result.outcome.keyframe) == ("none", 5, 5)


def test_track_prompts_tracker_of_boxes_takes_boxes_on_one_frame_alone(film, box_tracker):
    sample = VideoSample("a", film(8), "")
    boxes = [ObjectPrompt(5, 0, [1, 1, 3, 3]), ObjectPrompt(5, 1, [2, 2, 4, 4])]
    assert track_prompts(sample, boxes, box_tracker).masklets.num_objects == 2
    for other in (
        ObjectPrompt(6, 0, [1, 1, 3, 3]),
        ObjectPrompt(5, 2, points=[1, 1]),
        ObjectPrompt(5, 2, [0, 0, 1, 1], [1, 1]),
    ):
        with pytest.raises(
            SettingsError, match="boxes: takes boxes on one frame; for other prompts, take flow or a SAM 2"
        ):
            track_prompts(sample, [*boxes, other], box_tracker)


TWO_TURNS = [
    '<think>grey</think><answer>[{"frame_idx": 1, "object description": "the grey one"}]</answer>',
    "[1, 2, 4, 5]",
]


class CancelledError(Exception):
    pass


def kinds(events):
    """The names of the events, equal ones that follow each other once."""
    return [name for name, _ in groupby(type(event).__name__ for event in events)]


def test_events_of_a_question_come_in_order(film, box_tracker):
    events = []
    sample = VideoSample("one", film(21), "the grey one")
    policy = ScriptedPolicy([Reply(FOUND, 5)], view=VIEW)
    result = segment_sample(sample, veason, policy, box_tracker, on_event=events.append)
    turn = ["TurnStarted", "ReplyText", "ReplyFinished"]
    assert kinds(events) == [*turn, "Answered", "Tracked", "Finished"]
    started, *texts, finished, answered, tracked, last = events
    assert (started.number, started.turn.labels) == (0, {0: "0.0", 10: "1.0", 20: "2.0"})
    assert len(started.turn.labels) == len(started.turn.images)
    assert "".join(text.text for text in texts) == finished.reply.text == FOUND
    assert (answered.outcome.keyframe, tracked) == (10, Tracked(21, 21))
    assert last.segmentation is result


def test_events_of_two_turns_have_the_chosen_frame(film, box_tracker):
    events = []
    policy = ScriptedPolicy(TWO_TURNS, view=VIEW)
    segment_sample(VideoSample("one", film(21), "it"), revseg, policy, box_tracker, on_event=events.append)
    started = [event for event in events if isinstance(event, TurnStarted)]
    assert [(event.number, list(event.turn.labels)) for event in started] == [(0, [0, 10, 20]), (1, [10])]


def test_events_of_an_invalid_reply_end_without_tracking(film, box_tracker):
    events = []
    policy = ScriptedPolicy(["hm"], view=VIEW)
    segment_sample(VideoSample("one", film(21), "it"), veason, policy, box_tracker, on_event=events.append)
    assert kinds(events)[-2:] == ["Answered", "Finished"]
    assert events[-2].outcome.failure == "invalid_tags"


def test_segment_samples_listener_knows_the_sample_and_changes_nothing(film, box_tracker):
    samples = [VideoSample(name, film(21), f"the {name}") for name in ("one", "two", "three")]
    events = []

    def segmented(**listening):
        policy = ScriptedPolicy([FOUND, NONE, "hm"], view=VIEW)
        results = list(segment_samples(samples, veason, policy, box_tracker, batch_size=2, **listening))
        return [(result.dialogue[1], result.outcome.keyframe, result.failure) for result in results]

    assert segmented(on_event=lambda sample, event: events.append((sample.id, event))) == segmented()
    for name, reply in (("one", FOUND), ("two", NONE), ("three", "hm")):
        own = [event for about, event in events if about == name]
        assert "".join(event.text for event in own if isinstance(event, ReplyText)) == reply
        assert isinstance(own[-1], Finished)


class Streaming(ScriptedPolicy):
    """Passes on given texts of the reply to each dialogue, whatever the replies are."""

    texts = ()

    def stream(self, dialogues, seeds, listener):
        listener.waiting(0, 0)
        for text in self.texts:
            listener.text(0, text)
        return self.reply(dialogues, seeds)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], [("re turn 0 of 1", False)]),
        (["re turn", "re turn 0 of 1"], [("re turn", False), (" 0 of 1", False)]),
        (["re tu", "re", "re turn"], [("re tu", False), ("re", True), (" turn", False)]),
        (["lost", "", "re"], [("lost", False), ("", True), ("re", False), (" turn 0 of 1", False)]),
        (["else"], [("else", False), ("re turn 0 of 1", True)]),
    ],
)
def test_reply_texts_restart_where_they_do_not_continue(texts, expected):
    policy, events = Streaming(echo), []
    policy.texts = texts
    run_chains([count_to(1)], policy, listeners=[events.append])
    assert events[1] == Waiting(0, 0)
    found = [(event.text, event.restarts) for event in events if isinstance(event, ReplyText)]
    assert found[: len(expected)] == expected


def test_policy_without_stream_has_one_text():
    class Plain:
        name, coordinates, size_multiple, view = "plain", "pixels", 1, VIEW

        def reply(self, dialogues, seeds=None):
            return [Reply("a b c")]

        def clear(self):
            pass

    events = []
    run_chains([count_to(1)], Plain(), listeners=[events.append])
    assert [event.text for event in events if isinstance(event, ReplyText)] == ["a b c"]


@pytest.mark.parametrize("kind", [TurnStarted, ReplyText, ReplyFinished, Answered, Tracked, Finished])
def test_listener_raises_ends_the_question_and_clears_the_policy(film, box_tracker, kind):
    class Clearing(ScriptedPolicy):
        cleared = 0

        def clear(self):
            self.cleared += 1

    def cancel(event):
        if isinstance(event, kind):
            raise CancelledError

    policy = Clearing(lambda dialogue: FOUND, view=VIEW)
    sample = VideoSample("one", film(21), "it")
    with pytest.raises(CancelledError):
        segment_sample(sample, veason, policy, box_tracker, on_event=cancel)
    assert policy.cleared == (kind is not TurnStarted)
    assert segment_sample(sample, veason, policy, box_tracker).outcome.keyframe == 10
