"""Videos that are written frame by frame; tests/ops/test_video.py has what is read back of H.264 files."""

import av
import numpy as np
import pytest

from thinkseg.errors import VideoError
from thinkseg.ops.encoding.video_writer import VP9_ALPHA, video_writer, write_video
from thinkseg.ops.video import open_video


def test_video_writer_alpha_is_read_back(tmp_path):
    frame = np.zeros((32, 48, 4), np.uint8)
    frame[8:24, 8:24] = 250, 30, 30, 255
    with video_writer(tmp_path / "out.webm", 10, times=[0, 0.5, 2], coding=VP9_ALPHA) as add:
        for _ in range(3):
            add(frame)
    video = open_video(tmp_path / "out.webm")
    assert [video.time_of(index) for index in range(3)] == pytest.approx([0, 0.5, 2], abs=2e-3)
    assert np.abs(video[2][12:20, 12:20].astype(int) - (250, 30, 30)).max() < 12
    assert video[2][28, 40].tolist() == [255, 255, 255]


def test_video_writer_frame_without_alpha_raises(tmp_path):
    with (
        pytest.raises(VideoError, match=r"not uint8 \(H, W, 4\)"),
        video_writer(tmp_path / "out.webm", 10, coding=VP9_ALPHA) as add,
    ):
        add(np.zeros((8, 8, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_video_writer_more_frames_than_times_raises(tmp_path):
    black = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="more frames than times"):
        write_video(tmp_path / "out.mp4", [black, black], 10, times=[0])


def test_video_writer_file_appears_when_the_block_ends(tmp_path):
    with video_writer(tmp_path / "out.mp4", 10) as add:
        add(np.zeros((8, 8, 3), np.uint8))
        assert not (tmp_path / "out.mp4").exists()
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
