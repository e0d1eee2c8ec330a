import numpy as np
import pytest

from thinkseg.errors import SettingsError, VideoError
from thinkseg.report.formats import FORMATS, checked_formats
from thinkseg.report.formats.writing import write_formats


def test_checked_formats_unknown_name_lists_all():
    with pytest.raises(SettingsError, match=r"format: 'mov' is unknown; give some of masks, .*, labelstudio"):
        checked_formats(["masks", "mov"])
    assert checked_formats(["csv", "masks", "csv"]) == ("csv", "masks")
    with pytest.raises(SettingsError, match="none is named"):
        checked_formats([])


def test_write_formats_all_read_each_frame_once(result, tmp_path):
    steps = []
    assert write_formats(result, tmp_path, FORMATS, lambda done, total: steps.append((done, total))) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(one.file for one in FORMATS.values())
    assert result.sample.video.reads == [0, 1, 2]
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_write_formats_tracks_and_masks_read_no_frame(result, tmp_path):
    write_formats(result, tmp_path, [name for name, one in FORMATS.items() if one.needs != "frames"])
    assert result.sample.video.reads == []


def test_write_formats_damaged_frame_leaves_out_the_videos_alone(result, tmp_path, monkeypatch):
    def damaged(indices):
        yield np.zeros((4, 4, 3), np.uint8)
        raise VideoError("frame 1 cannot be decoded")

    monkeypatch.setattr(result.sample.video, "read", damaged)
    left_out = write_formats(result, tmp_path, ["overlay", "masks", "cutout"])
    assert {name: str(error) for name, error in left_out.items()} == {
        "overlay": "frame 1 cannot be decoded",
        "cutout": "frame 1 cannot be decoded",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["masks"]
    assert len(list((tmp_path / "masks").iterdir())) == 3


def test_write_formats_codec_fails_leaves_out_its_video_alone(result, tmp_path, monkeypatch):

    monkeypatch.setattr("thinkseg.report.formats.videos.cut_out", lambda image, mask: image)
    left_out = write_formats(result, tmp_path, ["overlay", "cutout"])
    assert list(left_out) == ["cutout"]
    assert [path.name for path in tmp_path.iterdir()] == ["overlay.mp4"]


def test_write_formats_interrupted_leaves_no_partial_file(result, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_formats(result, tmp_path, ["overlay", "cutout"], stop)
    assert list(tmp_path.iterdir()) == []
