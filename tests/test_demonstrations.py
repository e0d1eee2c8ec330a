"""Samples of a set as dialogues: what the chain asks, and a reply that it reads as the truth."""

from dataclasses import replace

import numpy as np
import pytest

from thinkseg.chains.parsing import parse_answer
from thinkseg.chains.veason import veason
from thinkseg.data.cot import CotSample, CotSet, frame_names, write_frames
from thinkseg.demonstrations import check_fits, dialogue, shown_to
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.ops.video import ArrayFrames
from thinkseg.types import Turn, VideoSample, View

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 8, 12, 3), np.uint8)
VIEW = View(2, (12, 8))


@pytest.fixture
def cot(tmp_path):
    """A set of one sample about frames 1 and 3 of five, at 2 frames a second; boxes are of a video of 24x16."""
    sample = CotSample(
        id="clip/0",
        video="clip",
        query="the  cat",
        category="",
        type="referring",
        targets="single",
        indices=(1, 3),
        labels=("0.5", "1.5"),
        label_unit="seconds",
        size_wh=(24, 16),
        frames=frame_names("clip/0", 2),
        keyframe=3,
        boxes=np.array([[2, 4, 12, 16]], np.float32),
        thinking="A cat.",
    )
    write_frames(tmp_path, sample.frames, [FRAMES[1], FRAMES[3]])
    return CotSet(tmp_path, {}, VIEW, False, (sample,))


def test_the_turn_is_the_chains_own(cot):
    sample = cot.samples[0]
    turn, _ = dialogue(cot, sample, VIEW)
    asked = next(veason(VideoSample("x", ArrayFrames(FRAMES, 2.0), "the cat"), VIEW, [1, 3]))
    assert isinstance(turn, Turn)
    texts = [[part for part in one.content if isinstance(part, str)] for one in (turn, asked)]
    assert texts[0] == texts[1]
    assert [image.shape for image in turn.images] == [image.shape for image in asked.images]
    # JPEG of noise is far off in each pixel, but the same picture on the whole.
    for ours, theirs in zip(turn.images, asked.images, strict=True):
        assert np.abs(ours.astype(float) - theirs).mean() < 12


@pytest.mark.parametrize("view", [VIEW, replace(VIEW, frame_wh=(48, 48)), replace(VIEW, coordinates="normalized_1000")])
def test_the_reply_reads_back_as_the_truth_in_any_view(cot, view):
    sample = cot.samples[0]
    turn, reply = dialogue(cot, sample, view)
    answer = parse_answer(reply, shown_to(sample, view))
    assert (answer.thinking, answer.keyframe) == ("A cat.", 3)
    assert np.abs(answer.boxes - sample.boxes).max() <= 1
    assert turn.images[0].shape == (view.frame_wh[1], view.frame_wh[0], 3)


def test_no_target(cot):
    none = replace(cot.samples[0], targets="none", keyframe=None, boxes=np.zeros((0, 4), np.float32))
    _, reply = dialogue(cot, none, VIEW)
    assert reply == '<think>A cat.</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'


@pytest.mark.parametrize(
    ("change", "told"), [({"thinking": "a </think> b"}, "clip/0 cannot be written"), ({"query": "x" * 2001}, "clip/0")]
)
def test_what_cannot_be_taught_is_an_error(cot, change, told):
    with pytest.raises(DatasetError, match=told):
        dialogue(cot, replace(cot.samples[0], **change), VIEW)


def test_a_set_fits_a_view_or_not(cot):
    check_fits(cot, VIEW)
    check_fits(cot, replace(VIEW, frame_wh=(56, 56), coordinates="normalized_1000"))
    with pytest.raises(SettingsError, match="num_frames: 2"):
        check_fits(cot, replace(VIEW, num_frames=3))
    telling = replace(cot, boxes_in_thinking=True)
    check_fits(telling, VIEW)
    with pytest.raises(SettingsError, match="pixels of frames of 12x8, not in normalized_1000 of frames of 12x8"):
        check_fits(telling, replace(VIEW, coordinates="normalized_1000"))
    with pytest.raises(SettingsError, match="not in pixels of frames of 56x56"):
        check_fits(telling, replace(VIEW, frame_wh=(56, 56)))
    with pytest.raises(SettingsError, match="no samples"):
        check_fits(replace(cot, samples=()), VIEW)
