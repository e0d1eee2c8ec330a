import numpy as np
import pytest

from thinkseg.chains import CHAINS, veason
from thinkseg.chains.frames import select_frames
from thinkseg.chains.parsing import parse_answer
from thinkseg.errors import AnswerError, SettingsError
from thinkseg.types import VideoSample, View

VIEW = View(num_frames=3, frame_wh=(16, 12))
REPLY = '<think>grey</think><answer>{"keyframe_timestamp": 1.0, "bbox_2d_list": [[2, 2, 8, 6]]}</answer>'


def ask(sample, view=VIEW, **options):
    chain = veason(sample, view, **options)
    return chain, next(chain)


def end_of(chain, reply):
    with pytest.raises(StopIteration) as end:
        chain.send(reply)
    return end.value.value


def test_veason_one_turn_gives_answer(film):
    chain, _ = ask(VideoSample("a", film(num_frames=21), "the grey one"))
    answer = end_of(chain, REPLY)
    assert (answer.thinking, answer.keyframe) == ("grey", 10)
    np.testing.assert_array_equal(answer.boxes, [[1, 1, 4, 3]])


def test_ask_content_order(film):
    _, turn = ask(VideoSample("a", film(num_frames=21), " the  grey\none "))
    texts = [part for part in turn.content if isinstance(part, str)]
    assert texts[1:] == ["0.0 s:", "1.0 s:", "2.0 s:", "Question: the grey one"]
    assert [isinstance(part, str) for part in turn.content] == [True, True, False, True, False, True, False, True]
    assert [image.shape for image in turn.images] == [(12, 16, 3)] * 3
    assert [int(image[0, 0, 0]) for image in turn.images] == [0, 10, 20]


def test_ask_same_video_shares_prefix(film):
    video = film()
    _, first = ask(VideoSample("a", video, "the red star"))
    _, second = ask(VideoSample("b", video, "whoever leaves first"))
    for ours, theirs in zip(first.content[:-1], second.content[:-1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert first.content[-1] != second.content[-1]


@pytest.mark.parametrize("fps", [10.0, None])
@pytest.mark.parametrize(("coordinates", "unit"), [("pixels", "pixels"), ("normalized_1000", "0 to 1000")])
def test_ask_instruction_names_units_and_is_short(film, fps, coordinates, unit):
    _, turn = ask(VideoSample("a", film(fps=fps), "it"), View(3, (16, 12), coordinates))
    instruction = turn.content[0]
    assert unit in instruction
    assert ("seconds" in instruction) == (fps is not None)
    assert turn.content[1] == ("0.0 s:" if fps else "frame 0:")
    assert len(instruction.split()) <= 80


def test_veason_copied_prompt_is_invalid(film):
    video = film()
    _, turn = ask(VideoSample("a", video, "it"))
    with pytest.raises(AnswerError):
        parse_answer(turn.content[0], select_frames(video, VIEW))
    example = next(line for line in turn.content[0].splitlines() if line.startswith("<think>"))
    with pytest.raises(AnswerError, match="invalid_json"):
        parse_answer(example, select_frames(video, VIEW))


def test_veason_indices_select_frames(film):
    chain, turn = ask(VideoSample("a", film(num_frames=21), "it"), indices=(3, 10))
    assert [int(image[0, 0, 0]) for image in turn.images] == [3, 10]
    assert end_of(chain, REPLY).keyframe == 10


def test_veason_invalid_reply_raises(film):
    chain, _ = ask(VideoSample("a", film(), "it"))
    with pytest.raises(AnswerError, match="invalid_tags"):
        chain.send("it is the grey one")


@pytest.mark.parametrize("query", ["", "  ", "x" * 100_000])
def test_veason_invalid_query_reads_no_frame(film, query):
    video = film()
    with pytest.raises(SettingsError):
        ask(VideoSample("a", video, query))
    assert video.reads == []


def test_get_chain_returns_veason():
    assert CHAINS["veason"] is veason
