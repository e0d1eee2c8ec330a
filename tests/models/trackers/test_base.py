import numpy as np
import pytest

from thinkseg.errors import SettingsError
from thinkseg.models.trackers import base
from thinkseg.models.trackers.base import check_boxes, check_keyframe, read_reversed
from thinkseg.ops.video import ArrayFrames

WIDTH, HEIGHT = 128, 96


class RecordingFrames(ArrayFrames):
    """Frames whose first value is their index. `reads` lists the indices of every call of `read`."""

    def __init__(self, num_frames: int) -> None:
        frames = np.zeros((num_frames, 16, 16, 3), np.uint8)
        frames[:, 0, 0, 0] = np.arange(num_frames)
        super().__init__(frames)
        self.reads: list[list[int]] = []

    def read(self, indices):
        self.reads.append(list(indices))
        return super().read(indices)


def test_read_reversed_long_video_reads_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHUNK_BYTES", 5 * 3 * 16 * 16)
    video = RecordingFrames(21)
    assert [int(frame[0, 0, 0]) for frame in read_reversed(video, range(20))] == list(range(19, -1, -1))
    assert video.reads == [list(range(start, start + 5)) for start in (15, 10, 5, 0)]


def test_read_reversed_some_indices_reads_only_those(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHUNK_BYTES", 4 * 3 * 16 * 16)
    video = RecordingFrames(12)
    assert [int(frame[0, 0, 0]) for frame in read_reversed(video, [0, 2, 3, 7, 11])] == [11, 7, 3, 2, 0]
    assert video.reads == [[2, 3, 7, 11], [0]]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((5, 5, 5, 9), "has no area"),
        ((9, 5, 5, 9), "has no area"),
        ((-9, 0, -2, 9), "is outside the frame"),
        ((200, 0, 230, 9), "is outside the frame"),
        ((float("nan"), 0, 4, 4), "finite"),
        ((0, 0, float("inf"), 4), "finite"),
    ],
)
def test_check_boxes_invalid_box_raises(box: tuple[float, ...], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_boxes(np.array([box], np.float32), (WIDTH, HEIGHT))


def test_check_boxes_wrong_shape_raises() -> None:
    with pytest.raises(SettingsError, match="one row"):
        check_boxes(np.ones((2, 3), np.float32), (WIDTH, HEIGHT))


def test_check_boxes_beyond_frame_clips() -> None:
    assert check_boxes(np.array([[-5, 3, 400, 50]]), (WIDTH, HEIGHT)).tolist() == [[0, 3, WIDTH, 50]]
    assert check_boxes(np.zeros(0), (WIDTH, HEIGHT)).shape == (0, 4)


def test_check_keyframe_outside_video_raises() -> None:
    video = RecordingFrames(3)
    check_keyframe(video, 0)
    check_keyframe(video, 2)
    for keyframe in (-1, 3):
        with pytest.raises(SettingsError, match=f"keyframe {keyframe} is not in array; give an index from 0 to 2"):
            check_keyframe(video, keyframe)
