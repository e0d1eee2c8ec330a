import numpy as np
import pytest

from thinkseg.chains import CHAINS, revseg
from thinkseg.chains.frames import select_frames
from thinkseg.chains.parsing import parse_boxes, parse_choice
from thinkseg.errors import AnswerError, SettingsError
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.pipeline import run_chains
from thinkseg.segmenter import segment
from thinkseg.types import VideoSample, View

VIEW = View(num_frames=3, frame_wh=(16, 12), closeup_wh=(32, 24))
CHOICE = '<think>grey</think><answer>[{"frame_idx": 1, "object description": "the grey one, on the left"}]</answer>'
NONE = "<think>not here</think><answer>[]</answer>"
BOXES = '[{"bbox_2d": [4, 4, 16, 12]}, {"bbox_2d": [0, 0, 32, 24]}]'


def sample(film, name="a", **options):
    return VideoSample(name, film(**{"num_frames": 21, **options}), "the grey one")


def run(film, replies, view=VIEW):
    policy = ScriptedPolicy(replies, view=view)
    (outcome,) = run_chains([revseg(sample(film), view)], policy)
    return outcome, policy


def test_revseg_two_turns_give_answer(film):
    outcome, policy = run(film, [CHOICE, BOXES])
    assert (outcome.failure, outcome.keyframe, outcome.replies) == (None, 10, (CHOICE, BOXES))
    assert (outcome.answer.thinking, outcome.answer.keyframe) == ("grey", 10)
    # The closeup is four times as large as the video.
    np.testing.assert_array_equal(outcome.answer.boxes, [[1, 1, 4, 3], [0, 0, 8, 6]])
    assert [len(dialogue) for dialogue in policy.dialogues] == [1, 3]
    assert policy.dialogues[1][:2] == (policy.dialogues[0][0], CHOICE)


def test_ask_when_content_order(film):
    turn = next(revseg(sample(film), VIEW))
    texts = [part for part in turn.content if isinstance(part, str)]
    assert texts[1:] == ["frame 0, 0.0 s:", "frame 1, 1.0 s:", "frame 2, 2.0 s:", "Question: the grey one"]
    assert [isinstance(part, str) for part in turn.content] == [True, True, False, True, False, True, False, True]
    assert [image.shape for image in turn.images] == [(12, 16, 3)] * 3
    assert [int(image[0, 0, 0]) for image in turn.images] == [0, 10, 20]


def test_revseg_second_turn_shows_chosen_frame_larger(film):
    _, policy = run(film, [CHOICE, BOXES])
    image, words = policy.dialogues[1][-1].content
    assert image.shape == (24, 32, 3)
    assert (image == 10).all()
    assert '"the grey one, on the left"' in words


def test_revseg_sizes_of_view(film):
    _, policy = run(film, [CHOICE, BOXES], View(3, (20, 20), overview_wh=(8, 8), closeup_wh=(12, 10)))
    (first,), (*_, second) = policy.dialogues
    assert {image.shape for image in first.images} == {(8, 8, 3)}
    assert [image.shape for image in second.images] == [(10, 12, 3)]


def test_revseg_closeup_default_is_twice_as_large(film):
    _, policy = run(film, [CHOICE, BOXES], View(3, (16, 12)))
    assert policy.dialogues[1][-1].images[0].shape == (24, 32, 3)


def test_ask_when_without_times_has_numbers_only(film):
    turn = next(revseg(sample(film, fps=None), VIEW))
    assert [part for part in turn.content if isinstance(part, str)][1:4] == ["frame 0:", "frame 1:", "frame 2:"]


def test_revseg_indices_select_frames(film):
    chain = revseg(sample(film), VIEW, indices=(3, 7, 8))
    turn = next(chain)
    assert [int(image[0, 0, 0]) for image in turn.images] == [3, 7, 8]
    assert int(chain.send(CHOICE).images[0][0, 0, 0]) == 7


@pytest.mark.parametrize(("coordinates", "unit"), [("pixels", "pixels"), ("normalized_1000", "0 to 1000")])
def test_ask_where_names_coordinates(film, coordinates, unit):
    chain = revseg(sample(film), View(3, (16, 12), coordinates))
    assert "pixels" not in next(chain).content[0]
    assert unit in chain.send(CHOICE).content[-1]


def test_revseg_normalized_boxes_refer_to_closeup(film):
    view = View(3, (16, 12), "normalized_1000")
    outcome, _ = run(film, [CHOICE, '[{"bbox_2d": [125, 500, 250, 1000]}]'], view)
    np.testing.assert_array_equal(outcome.answer.boxes, [[1, 3, 2, 6]])


def test_revseg_description_is_in_second_turn(film):
    odd = CHOICE.replace("the grey one, on the left", "{left} %s {0} \\u00e9")
    chain = revseg(sample(film), VIEW)
    next(chain)
    assert '"{left} %s {0} é"' in chain.send(odd).content[-1]


def test_revseg_no_target_ends_dialogue(film):
    outcome, policy = run(film, [NONE])
    assert (outcome.failure, outcome.keyframe, outcome.answer.keyframe) == (None, None, None)
    assert (outcome.answer.thinking, outcome.answer.boxes.shape) == ("not here", (0, 4))
    assert len(policy.dialogues) == 1


def test_revseg_no_target_has_no_masks(film, box_tracker):
    policy = ScriptedPolicy([NONE], view=VIEW)
    result = segment(film(num_frames=21), "the grey one", policy=policy, tracker=box_tracker, chain="revseg")
    assert (result.masklets.num_objects, result.masklets.num_frames, box_tracker.calls) == (0, 21, [])


def test_revseg_boxes_are_tracked_from_keyframe(film, box_tracker):
    policy = ScriptedPolicy([CHOICE, BOXES], view=VIEW)
    result = segment(film(num_frames=21), "the grey one", policy=policy, tracker=box_tracker, chain="revseg")
    assert (box_tracker.calls, result.masklets.num_objects, result.masklets.area(0)) == ([10], 2, 48)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [("the second one", "invalid_tags"), (CHOICE.replace("1", "3"), "unknown_keyframe"), (BOXES, "invalid_tags")],
)
def test_revseg_invalid_first_reply_ends_dialogue(film, reply, reason):
    outcome, policy = run(film, [reply])
    assert (outcome.answer, outcome.failure) == (None, reason)
    assert (outcome.keyframe, outcome.num_unasked_turns, outcome.replies) == (None, 1, (reply,))
    assert len(policy.dialogues) == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("there", "invalid_json"),
        ("[]", "missing_boxes"),
        (CHOICE, "invalid_json"),
        ('[{"box": [1, 2, 3, 4]}]', "invalid_fields"),
    ],
)
def test_revseg_invalid_second_reply_keeps_keyframe(film, reply, reason):
    outcome, _ = run(film, [CHOICE, reply])
    assert (outcome.answer, outcome.failure) == (None, reason)
    assert (outcome.keyframe, outcome.num_unasked_turns, outcome.replies) == (10, 0, (CHOICE, reply))


def test_revseg_dialogues_of_one_and_two_turns_are_batched(film):
    """One abstains and one fails in the first turn; the others continue."""
    replies = {"a": [CHOICE, BOXES], "b": [NONE], "c": ["junk"], "d": [CHOICE.replace("1", "2"), BOXES]}
    chains = [revseg(VideoSample(name, film(), name), VIEW) for name in replies]
    calls = []

    class Batches(ScriptedPolicy):
        def reply(self, dialogues, seeds=None):
            calls.append([dialogue[0].content[-1].removeprefix("Question: ") for dialogue in dialogues])
            return super().reply(dialogues)

    policy = Batches(lambda said: replies[said[0].content[-1].removeprefix("Question: ")][len(said) // 2])
    outcomes = run_chains(chains, policy)
    assert calls == [["a", "b", "c", "d"], ["a", "d"]]
    assert [outcome.failure for outcome in outcomes] == [None, None, "invalid_tags", None]
    assert [outcome.keyframe for outcome in outcomes] == [15, None, None, 29]


def test_revseg_copied_prompt_is_invalid(film):
    chain = revseg(sample(film), VIEW)
    first = next(chain).content[0]
    second = chain.send(CHOICE).content[-1]
    shown = select_frames(film(), VIEW)
    for line in (first, *first.splitlines(), "<think></think><answer>" + second + "</answer>"):
        with pytest.raises(AnswerError):
            parse_choice(line, shown)
    for line in (second, *second.splitlines()):
        with pytest.raises(AnswerError, match="invalid_json"):
            parse_boxes(line, shown)


def test_ask_when_instruction_is_short(film):
    chain = revseg(sample(film), VIEW)
    assert len(next(chain).content[0].split()) <= 100
    assert len(chain.send(CHOICE).content[-1].split()) <= 40


def test_ask_when_same_video_shares_prefix(film):
    video = film()
    first, second = (next(revseg(VideoSample(query, video, query), VIEW)) for query in ("the red star", "whoever"))
    for ours, theirs in zip(first.content[:-1], second.content[:-1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert first.content[-1] != second.content[-1]


@pytest.mark.parametrize("query", ["", "  ", "x" * 100_000])
def test_revseg_invalid_query_reads_no_frame(film, query):
    video = film()
    with pytest.raises(SettingsError):
        next(revseg(VideoSample("a", video, query), VIEW))
    assert video.reads == []


def test_get_chain_returns_revseg():
    assert CHAINS["revseg"] is revseg
