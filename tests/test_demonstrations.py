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
    """A set with one sample of frames 1 and 3 of five, at 2 frames per second, with boxes of a 24x16 video."""
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


def test_dialogue_turn_equals_turn_of_chain(cot):
    sample = cot.samples[0]
    turn, _ = dialogue(cot, sample, VIEW)
    asked = next(veason(VideoSample("x", ArrayFrames(FRAMES, 2.0), "the cat"), VIEW, [1, 3]))
    assert isinstance(turn, Turn)
    texts = [[part for part in one.content if isinstance(part, str)] for one in (turn, asked)]
    assert texts[0] == texts[1]
    assert [image.shape for image in turn.images] == [image.shape for image in asked.images]
    # JPEG changes every pixel of noise, but only little on average.
    for ours, theirs in zip(turn.images, asked.images, strict=True):
        assert np.abs(ours.astype(float) - theirs).mean() < 12


@pytest.mark.parametrize("view", [VIEW, replace(VIEW, frame_wh=(48, 48)), replace(VIEW, coordinates="normalized_1000")])
def test_dialogue_reply_parses_as_ground_truth_in_any_view(cot, view):
    sample = cot.samples[0]
    turn, reply = dialogue(cot, sample, view)
    answer = parse_answer(reply, shown_to(sample, view))
    assert (answer.thinking, answer.keyframe) == ("A cat.", 3)
    assert np.abs(answer.boxes - sample.boxes).max() <= 1
    assert turn.images[0].shape == (view.frame_wh[1], view.frame_wh[0], 3)


def test_dialogue_without_target_abstains(cot):
    none = replace(cot.samples[0], targets="none", keyframe=None, boxes=np.zeros((0, 4), np.float32))
    _, reply = dialogue(cot, none, VIEW)
    assert reply == '<think>A cat.</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'


@pytest.mark.parametrize(
    ("change", "message"),
    [({"thinking": "a </think> b"}, "clip/0 is not expressible"), ({"query": "x" * 2001}, "clip/0")],
)
def test_dialogue_sample_not_expressible_raises(cot, change, message):
    with pytest.raises(DatasetError, match=message):
        dialogue(cot, replace(cot.samples[0], **change), VIEW)


def test_check_fits_other_view_raises(cot):
    check_fits(cot, VIEW)
    check_fits(cot, replace(VIEW, frame_wh=(56, 56), coordinates="normalized_1000"))
    with pytest.raises(SettingsError, match="num_frames: 2"):
        check_fits(cot, replace(VIEW, num_frames=3))
    with_boxes = replace(cot, boxes_in_thinking=True)
    check_fits(with_boxes, VIEW)
    with pytest.raises(SettingsError, match="pixels of frames of 12x8, not in normalized_1000 of frames of 12x8"):
        check_fits(with_boxes, replace(VIEW, coordinates="normalized_1000"))
    with pytest.raises(SettingsError, match="not in pixels of frames of 56x56"):
        check_fits(with_boxes, replace(VIEW, frame_wh=(56, 56)))
    with pytest.raises(SettingsError, match="no samples"):
        check_fits(replace(cot, samples=()), VIEW)
