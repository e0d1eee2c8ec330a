"""A result that is written and read again, and damaged ones."""

import json
from dataclasses import replace

import numpy as np
import pytest

from thinkseg.errors import DatasetError, SettingsError
from thinkseg.ops.masks import empty, from_stacks
from thinkseg.ops.video import open_video, write_video
from thinkseg.report.formats import FORMATS
from thinkseg.report.formats.writing import write_formats
from thinkseg.report.result_files import write_result
from thinkseg.report.stored_result import read_result, read_settings
from thinkseg.types import Answer, ObjectPrompt, Outcome, Segmentation, VideoSample

SURE = np.array([[1, 0.5, 0.25]], np.float32)


@pytest.fixture
def clip(tmp_path):
    """A file of three frames at uneven times."""
    frames = [np.full((8, 16, 3), 60 * number, np.uint8) for number in range(3)]
    write_video(tmp_path / "clip.mp4", frames, 10, times=[0, 0.25, 2])
    return tmp_path / "clip.mp4"


@pytest.fixture
def result(clip):
    masks = np.zeros((1, 3, 8, 16), bool)
    masks[0, 1:, 2:6, 3:9] = True
    outcome = Outcome(Answer("It moves.", 1, np.array([[3, 2, 9, 6]], np.float32)), None, (), keyframe=1)
    sample = VideoSample("clip.mp4", open_video(clip), "the one that moves")
    return Segmentation(sample, outcome, replace(from_stacks(masks), confidence=SURE))


@pytest.fixture
def folder(result, tmp_path):
    write_result(result, tmp_path / "out", {}, formats=["csv"])
    return tmp_path / "out"


def edit(folder, name, change):
    """Changes the content of a file of a result."""
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


def test_read_result_is_what_was_written(folder, result):
    read = read_result(folder)
    assert (read.sample.id, read.sample.query) == ("clip.mp4", "the one that moves")
    assert (read.answer.thinking, read.answer.keyframe, read.answer.boxes.tolist()) == ("It moves.", 1, [[3, 2, 9, 6]])
    assert read.masklets.rles == result.masklets.rles
    assert read.masklets.confidence.tolist() == SURE.tolist()
    assert [read.sample.video.time_of(frame) for frame in range(3)] == pytest.approx([0, 0.25, 2], abs=1e-4)
    assert (read.sample.video[2] == result.sample.video[2]).all()


def test_read_result_writes_the_same_files_in_all_formats(folder, result, tmp_path):
    for name, one in (("first", result), ("second", read_result(folder))):
        (tmp_path / name).mkdir()
        assert write_formats(one, tmp_path / name, FORMATS) == {}
    for path in (tmp_path / "first").rglob("*.*"):
        if path.suffix != ".npz" and path.is_file():
            assert path.read_bytes() == (tmp_path / "second" / path.relative_to(tmp_path / "first")).read_bytes(), path


def test_read_result_needs_the_video_for_its_frames_alone(folder, clip, tmp_path):
    moved = clip.rename(tmp_path / "elsewhere.mp4")
    read = read_result(folder)
    write_formats(read, tmp_path, ["coco"])
    with pytest.raises(SettingsError, match=r"clip: its frames are needed, and are not at .*clip\.mp4; give --video"):
        read.sample.video[0]
    assert read_result(folder, moved).sample.video[0].shape == (8, 16, 3)


def test_read_result_of_another_video_raises(folder, tmp_path):
    write_video(tmp_path / "other.mp4", [np.zeros((8, 16, 3), np.uint8)] * 4, 10)
    video = read_result(folder, tmp_path / "other.mp4").sample.video
    with pytest.raises(SettingsError, match="has 4 frames of 16x8, the result 3 frames of 16x8; give its video"):
        next(video.read([0]))


def test_read_result_of_an_earlier_version_has_even_times(folder):
    edit(folder, "masks.json", lambda content: content.pop("times"))
    edit(folder, "answer.json", lambda content: content["video"].update(fps=4.0))
    assert read_result(folder).sample.video.time_of(2) == 0.5


def test_read_result_no_target_has_no_objects(result, tmp_path):
    outcome = Outcome(Answer("", None, np.zeros((0, 4), np.float32)), None, ())
    write_result(replace(result, outcome=outcome, masklets=empty((16, 8), 3)), tmp_path / "none", formats=["csv"])
    read = read_result(tmp_path / "none")
    assert (read.answer.keyframe, read.masklets.num_objects) == (None, 0)


def test_read_result_invalid_reply_raises(result, tmp_path):
    write_result(replace(result, outcome=Outcome(None, "invalid_json", ())), tmp_path / "bad")
    with pytest.raises(SettingsError, match=r"bad: no masks, the reply could not be used \(invalid_json\)"):
        read_result(tmp_path / "bad")


def test_read_result_no_result_raises(tmp_path):
    with pytest.raises(SettingsError, match=r"no answer\.json there; give a folder that `thinkseg segment` wrote"):
        read_result(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("answer.json", lambda content: content["video"].update(size=[16]), r"size must be \[width, height\]"),
        ("answer.json", lambda content: content["video"].update(frames=2), "has 3 masks for 2 frames|2 entries"),
        ("answer.json", lambda content: content["video"].update(frames=10**9), "must be a number from 1 to 1e"),
        ("answer.json", lambda content: content["video"].update(fps=0), "must be a number from 1e-08"),
        ("masks.json", lambda content: content.update(files=["../a", "b", "c"]), "could lead out of"),
        ("answer.json", lambda content: content["keyframe"].update(index=3), "is not one of the 3 frames"),
        ("answer.json", lambda content: content.update(boxes=[[1, 2, 3]]), "boxes > 0 must have 4 numbers"),
        (
            "answer.json",
            lambda content: content.update(boxes=[[1, 2, 3, "x"]]),
            "must be a number from -1e\\+09 to 1e\\+09, not 'x'",
        ),
        ("masks.json", lambda content: content.update(times=[0]), "must have 3 entries, one per frame, not 1"),
        ("masks.json", lambda content: content.update(confidence=[[1]]), "a number per object and frame"),
        ("masks.json", lambda content: content.update(objects=[[None, None, {"counts": "1"}]]), "not a valid RLE"),
    ],
)
def test_read_result_damaged_file_raises(folder, name, change, complaint):
    edit(folder, name, change)
    with pytest.raises(DatasetError, match=complaint):
        read_result(folder)


PROMPTS = (
    ObjectPrompt(0, 0, [1, 2, 5.5, 6], [[3, 3.5], [9, 1]], [1, 0]),
    ObjectPrompt(2, 1, mask=np.eye(8, 16)),
)


def test_read_result_has_prompts_replies_and_warnings(result, tmp_path):
    outcome = replace(result.outcome, dialogue=("a", "b"), repairs=("fence",))
    write_result(replace(result, outcome=outcome, prompts=PROMPTS, warnings=("odd",)), tmp_path / "out", {"seed": 3})
    read = read_result(tmp_path / "out")
    assert (read.outcome.replies, read.outcome.repairs, read.warnings) == (("a", "b"), ("fence",), ("odd",))
    assert read_settings(tmp_path / "out") == {"seed": 3}
    for one, other in zip(read.prompts, PROMPTS, strict=True):
        assert repr(one) == repr(other)
    assert np.array_equal(read.prompts[1].mask, PROMPTS[1].mask)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"frame": {"index": 3}}, "prompts > 0 > frame is not one of the 3 frames"),
        ({"object": 0}, "object must be a number from 1"),
        ({"box": [1, 2, 3]}, "box must have 4 numbers"),
        ({"points": [[1, 2]]}, "points > 0 must have 3 numbers"),
        ({"mask": {"size": [8, 16], "counts": "1"}}, "mask RLE"),
    ],
)
def test_read_result_damaged_prompt_raises(result, tmp_path, change, complaint):
    write_result(replace(result, prompts=PROMPTS), tmp_path / "out", {}, formats=["csv"])
    edit(tmp_path / "out", "answer.json", lambda content: content["prompts"][0].update(change))
    with pytest.raises(DatasetError, match=complaint):
        read_result(tmp_path / "out")
