import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from thinkseg.chains.parsing import explained
from thinkseg.ops.masks import empty, from_stacks
from thinkseg.ops.video import open_video
from thinkseg.report.result_files import answer_record, format_result, write_result
from thinkseg.types import Answer, Outcome, Segmentation, Turn, VideoSample


@pytest.fixture
def result(film):
    """Two objects in an 8x6 video of 4 frames: the left half, and the lower right pixel of frame 2."""
    masks = np.zeros((2, 4, 6, 8), bool)
    masks[0, :, :, :4] = True
    masks[1, 2, 5, 7] = True
    boxes = np.array([[0, 0, 4, 6], [7, 5, 8, 6]], np.float32)
    sample = VideoSample("film.mp4", film(4), "both of them")
    dialogue = (Turn(("Which?",)), "<think>…")
    outcome = Outcome(
        Answer("Left and right.", 2, boxes), None, dialogue, keyframe=2, num_tokens=9, num_prompt_tokens=70
    )
    return Segmentation(sample, outcome, from_stacks(masks), tracker_seconds=1.23456)


def make(result, answer=None, failure=None):
    """Returns the result without masks, with another answer or failure."""
    return Segmentation(result.sample, Outcome(answer, failure, result.dialogue), empty((8, 6), 4))


def test_answer_record_target_found_returns_json_values(result):
    record = answer_record(result, {"policy": "p"})
    assert json.loads(json.dumps(record)) == record
    assert record["video"] == {"name": "film.mp4", "frames": 4, "size": [8, 6], "fps": 10.0}
    assert record["keyframe"] == {"index": 2, "seconds": 0.2}
    assert record["replies"] == ["<think>…"]
    assert record["seconds"] == {"tracker": 1.235}
    assert record["usage"] == {"prompt_tokens": 70, "completion_tokens": 9}


def test_answer_record_no_target_and_invalid_reply_differ(result):
    absent = answer_record(make(result, Answer("None.", None, np.zeros((0, 4), np.float32))), {})
    failed = answer_record(make(result, failure="invalid_json"), {})
    assert (absent["no_target"], absent["failure"], absent["thinking"]) == (True, None, "None.")
    assert (failed["no_target"], failed["failure"], failed["thinking"]) == (False, "invalid_json", None)


def test_describe_target_found_prints_keyframe_and_boxes(result):
    assert format_result(result).splitlines() == [
        "Left and right.",
        "keyframe 2 (0.20 s)",
        "box 0.0,0.0,4.0,6.0",
        "box 7.0,5.0,8.0,6.0",
        "object 2: seen in 1 of 4 frames, first at 0.2 s, lost at 0.3 s",
    ]


def test_format_result_all_frames_seen_says_so_briefly(result):
    one = replace(result, masklets=from_stacks(np.ones((2, 4, 6, 8), bool)))
    assert format_result(one).endswith("box 7.0,5.0,8.0,6.0\nseen in all 4 frames")


def test_answer_record_objects_state_where_they_are_seen(result):
    first, second = answer_record(result, {})["objects"]
    assert first == {"seen": 4, "lost": None}
    assert second == {"seen": 1, "lost": {"index": 3, "seconds": 0.3}}


def test_answer_record_has_warnings(result):
    assert answer_record(result, {})["warnings"] == []
    assert answer_record(replace(result, warnings=("beware",)), {})["warnings"] == ["beware"]


def test_describe_no_target_prints_no_such_object(result):
    assert format_result(make(result, Answer("", None, np.zeros((0, 4), np.float32)))) == "no such object"


def test_describe_invalid_reply_names_reason_and_file(result):
    text = format_result(make(result, failure="invalid_json"))
    assert text == f'invalid reply: {explained("invalid_json")}; see "replies" in answer.json'


def test_format_result_names_repairs(result):
    one = replace(result, outcome=replace(result.outcome, repairs=("code_fence",)))
    assert "read after repair: code_fence\nkeyframe 2" in format_result(one)
    assert answer_record(one, {})["repairs"] == ["code_fence"]


def test_write_result_reads_each_frame_once_in_order(result, tmp_path):
    steps = []
    write_result(result, tmp_path / "out", {}, progress=lambda done, total: steps.append((done, total)))
    assert result.sample.video.reads == [0, 1, 2, 3]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_write_result_overlay_has_masks_everywhere_and_boxes_on_keyframe(result, tmp_path):
    write_result(result, tmp_path / "out", {})
    frames = [frame.astype(int) for frame in open_video(tmp_path / "out" / "overlay.mp4").read(range(4))]
    assert all(np.ptp(frame[3, 2]) > 40 for frame in frames)
    assert np.ptp(frames[1][3, 6]) < 20
    assert np.abs(frames[2] - frames[1]).max() > 80
    assert np.abs(frames[3] - frames[1]).max() < 50


def test_write_result_non_ascii_query_is_not_escaped(result, tmp_path):
    write_result(make(result, failure="tags"), tmp_path / "out", {"query": "die rote Tür"})
    assert "die rote Tür" in (tmp_path / "out" / "answer.json").read_text("utf-8")


def test_write_result_masks_of_a_folder_have_the_names_of_its_frames(result, tmp_path):
    (tmp_path / "clip").mkdir()
    names = ["a.b 7", "a.b 9", "a.b 11", "é"]
    for name in names:
        Image.new("RGB", (8, 6)).save(tmp_path / "clip" / f"{name}.jpg")
    sample = replace(result.sample, video=open_video(tmp_path / "clip"))
    write_result(replace(result, sample=sample), tmp_path / "out", {})
    assert sorted(path.name for path in (tmp_path / "out" / "masks").iterdir()) == sorted(
        f"{name}.png" for name in names
    )
    with Image.open(tmp_path / "out" / "masks" / "a.b 11.png") as mask:
        assert np.array(mask)[5, 7] == 255


class UnevenFrames:
    """Frames of an odd size at given times."""

    name, size_wh = "uneven", (9, 7)

    def __init__(self, times):
        self.times, self.fps = times, 10.0

    def __len__(self):
        return len(self.times)

    def __getitem__(self, index):
        return np.full((7, 9, 3), 40 * index, np.uint8)

    def read(self, indices):
        return (self[index] for index in indices)

    def time_of(self, index):
        return self.times[index]


def uneven(times, frames=UnevenFrames):
    outcome = Outcome(Answer("", 0, np.array([[0, 0, 4, 6]], np.float32)), None, (), keyframe=0)
    sample = VideoSample("uneven.mp4", frames(times), "it")
    return Segmentation(sample, outcome, from_stacks(np.ones((1, len(times), 7, 9), bool)))


@pytest.mark.parametrize("times", [[0.0, 0.1, 2.5], [0.0, 3600.0, 147600.0], [0.0]])
def test_write_result_overlay_shows_frames_at_their_times(tmp_path, times):
    assert write_result(uneven(times), tmp_path / "out", {}) == {}
    overlay = open_video(tmp_path / "out" / "overlay.mp4")
    assert [overlay.time_of(index) for index in range(len(overlay))] == pytest.approx(times, abs=1e-4)


def test_write_result_overlay_with_impossible_times_keeps_the_masks(tmp_path):
    reason = write_result(uneven([0.0, float("nan"), 1.0]), tmp_path / "out", {})
    assert "do not ascend" in str(reason["overlay"])
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [".thinkseg", "answer.json", "masks", "masks.json"]
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 3


def test_write_result_full_disk_at_the_overlay_keeps_the_masks(result, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("thinkseg.ops.encoding.video_writer._coded", full)
    assert "No space left" in str(write_result(result, tmp_path / "out", {})["overlay"])
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 4
