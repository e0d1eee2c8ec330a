import json

import numpy as np
import pytest

from thinkseg.errors import SettingsError
from thinkseg.ops.masks import empty, from_stacks
from thinkseg.ops.video import open_video
from thinkseg.report.result_files import answer_record, describe, write_result
from thinkseg.storage.atomic import STAMP, check_out, result_folder
from thinkseg.types import Answer, Outcome, Segmentation, Turn, VideoSample


@pytest.fixture
def result(film):
    """Two objects in an 8x6 video of 4 frames: one fills its left half, the other the lower right pixel of frame 2."""
    masks = np.zeros((2, 4, 6, 8), bool)
    masks[0, :, :, :4] = True
    masks[1, 2, 5, 7] = True
    boxes = np.array([[0, 0, 4, 6], [7, 5, 8, 6]], np.float32)
    sample = VideoSample("film.mp4", film(4), "both of them")
    dialogue = (Turn(("Which?",)), "<think>…")
    outcome = Outcome(Answer("Left and right.", 2, boxes), None, dialogue, keyframe=2)
    return Segmentation(sample, outcome, from_stacks(masks), tracker_seconds=1.23456)


def make(result, answer=None, failure=None):
    """The result with no masks and another ending."""
    return Segmentation(result.sample, Outcome(answer, failure, result.dialogue), empty((8, 6), 4))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_record_is_plain_json(result):
    record = answer_record(result, {"policy": "p"})
    assert json.loads(json.dumps(record)) == record
    assert record["video"] == {"name": "film.mp4", "frames": 4, "size": [8, 6], "fps": 10.0}
    assert record["keyframe"] == {"index": 2, "seconds": 0.2}
    assert record["replies"] == ["<think>…"]
    assert record["seconds"] == {"tracker": 1.235}


def test_absence_and_failure_are_told_apart(result):
    absent = answer_record(make(result, Answer("None.", None, np.zeros((0, 4), np.float32))), {})
    failed = answer_record(make(result, failure="json"), {})
    assert (absent["no_target"], absent["failure"], absent["thinking"]) == (True, None, "None.")
    assert (failed["no_target"], failed["failure"], failed["thinking"]) == (False, "json", None)


def test_describe(result):
    assert describe(result) == "Left and right.\nkeyframe 2 (0.20 s)\nbox 0.0,0.0,4.0,6.0\nbox 7.0,5.0,8.0,6.0"
    assert describe(make(result, Answer("", None, np.zeros((0, 4), np.float32)))) == "no such object"
    assert "(json)" in describe(make(result, failure="json"))


def test_each_frame_is_read_once_and_in_order(result, tmp_path):
    steps = []
    write_result(result, tmp_path / "out", {}, progress=lambda done, total: steps.append((done, total)))
    assert result.sample.video.reads == [0, 1, 2, 3]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_overlay_shows_masks_and_the_boxes_on_the_keyframe_only(result, tmp_path):
    write_result(result, tmp_path / "out", {})
    frames = [frame.astype(int) for frame in open_video(tmp_path / "out" / "overlay.mp4").read(range(4))]
    assert all(np.ptp(frame[3, 2]) > 40 for frame in frames)
    assert np.ptp(frames[1][3, 6]) < 20
    assert np.abs(frames[2] - frames[1]).max() > 80
    assert np.abs(frames[3] - frames[1]).max() < 50


def test_the_words_of_any_language_are_kept_readable(result, tmp_path):
    write_result(make(result, failure="tags"), tmp_path / "out", {"query": "die rote Tür"})
    assert "die rote Tür" in (tmp_path / "out" / "answer.json").read_text("utf-8")


class TestResultFolder:
    def test_appears_when_complete(self, tmp_path):
        out = tmp_path / "deep" / "out"
        with result_folder(out) as folder:
            (folder / "a.txt").write_text("a")
            assert not out.exists()
        assert names(out) == [STAMP, "a.txt"]
        assert names(out.parent) == ["out"]

    def test_vanishes_when_it_fails(self, tmp_path):
        with pytest.raises(ZeroDivisionError), result_folder(tmp_path / "out") as folder:  # noqa: PT012
            (folder / "a.txt").write_text("a")
            raise ZeroDivisionError
        assert names(tmp_path) == []

    def test_an_earlier_result_survives_a_failure_and_goes_after_a_success(self, tmp_path):
        out = tmp_path / "out"
        with result_folder(out) as folder:
            (folder / "old.txt").write_text("old")
        with pytest.raises(KeyboardInterrupt), result_folder(out):
            raise KeyboardInterrupt
        assert names(out) == [STAMP, "old.txt"]
        with result_folder(out) as folder:
            (folder / "new.txt").write_text("new")
            assert names(out) == [STAMP, "old.txt"]
        assert names(out) == [STAMP, "new.txt"]
        assert names(tmp_path) == ["out"]

    def test_an_empty_folder_is_taken(self, tmp_path):
        (tmp_path / "out").mkdir()
        with result_folder(tmp_path / "out") as folder:
            (folder / "a.txt").write_text("a")
        assert names(tmp_path / "out") == [STAMP, "a.txt"]

    @pytest.mark.parametrize("stamp", [None, "", "[]", '{"entries": 3}', '{"entries": ["thesis.tex"]}'])
    def test_what_is_not_ours_is_never_replaced(self, tmp_path, stamp):
        (tmp_path / "letters").mkdir()
        (tmp_path / "thesis.tex").write_text("years of work")
        if stamp is not None:
            (tmp_path / STAMP).write_text(stamp)
        before = names(tmp_path)
        with pytest.raises(SettingsError, match=r"holds (\.thinkseg|letters)"), result_folder(tmp_path):
            pytest.fail("the folder was given out")
        assert names(tmp_path) == before

    def test_a_file_someone_added_to_a_result_keeps_it(self, tmp_path):
        with result_folder(tmp_path / "out") as folder:
            (folder / "a.txt").write_text("a")
        (tmp_path / "out" / "notes.txt").write_text("mine")
        with pytest.raises(SettingsError, match=r"notes\.txt"):
            check_out(tmp_path / "out")

    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "disk").mkdir()
        (tmp_path / "out").symlink_to(tmp_path / "disk")
        with result_folder(tmp_path / "out") as folder:
            (folder / "a.txt").write_text("a")
        assert (tmp_path / "out").is_symlink()
        assert names(tmp_path / "disk") == [STAMP, "a.txt"]

    def test_what_the_file_system_refuses_names_the_folder(self, tmp_path):
        refusal = OSError(28, "No space left on device")
        with pytest.raises(SettingsError, match=r"out \(No space left on device\)"), result_folder(tmp_path / "out"):
            raise refusal
        assert names(tmp_path) == []

    def test_below_a_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(SettingsError, match="file is a file"):
            check_out(tmp_path / "file" / "out")

    def test_a_name_that_cannot_be(self, tmp_path):
        with pytest.raises(SettingsError, match="too long"):
            check_out(tmp_path / ("x" * 300))

    def test_checking_writes_nothing(self, tmp_path):
        check_out(tmp_path / "a" / "b")
        assert names(tmp_path) == []
