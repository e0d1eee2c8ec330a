import numpy as np
import pytest

from thinkseg.errors import SettingsError
from thinkseg.models.trackers import base
from thinkseg.models.trackers.base import backwards, check_boxes, check_keyframe
from thinkseg.ops.video import ArrayFrames

WIDTH, HEIGHT = 128, 96


class Watched(ArrayFrames):
    """Frames whose first value is their index. `asked` lists the indices of every reading."""

    def __init__(self, num_frames: int) -> None:
        frames = np.zeros((num_frames, 16, 16, 3), np.uint8)
        frames[:, 0, 0, 0] = np.arange(num_frames)
        super().__init__(frames)
        self.asked: list[list[int]] = []

    def read(self, indices):
        self.asked.append(list(indices))
        return super().read(indices)


def test_going_back_holds_only_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHUNK_BYTES", 5 * 3 * 16 * 16)
    video = Watched(21)
    assert [int(frame[0, 0, 0]) for frame in backwards(video, range(20))] == list(range(19, -1, -1))
    assert video.asked == [list(range(start, start + 5)) for start in (15, 10, 5, 0)]


def test_going_back_over_some_frames_reads_those_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHUNK_BYTES", 4 * 3 * 16 * 16)
    video = Watched(12)
    assert [int(frame[0, 0, 0]) for frame in backwards(video, [0, 2, 3, 7, 11])] == [11, 7, 3, 2, 0]
    assert video.asked == [[2, 3, 7, 11], [0]]


@pytest.mark.parametrize(
    ("box", "complaint"),
    [
        ((5, 5, 5, 9), "has no area"),
        ((9, 5, 5, 9), "has no area"),
        ((-9, 0, -2, 9), "outside the frame"),
        ((200, 0, 230, 9), "outside the frame"),
        ((float("nan"), 0, 4, 4), "finite"),
        ((0, 0, float("inf"), 4), "finite"),
    ],
)
def test_a_box_that_cannot_be_used_is_named(box: tuple[float, ...], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        check_boxes(np.array([box], np.float32), (WIDTH, HEIGHT))


def test_boxes_of_another_shape_are_named() -> None:
    with pytest.raises(SettingsError, match="one row"):
        check_boxes(np.ones((2, 3), np.float32), (WIDTH, HEIGHT))


def test_boxes_end_where_the_frame_does() -> None:
    assert check_boxes(np.array([[-5, 3, 400, 50]]), (WIDTH, HEIGHT)).tolist() == [[0, 3, WIDTH, 50]]
    assert check_boxes(np.zeros(0), (WIDTH, HEIGHT)).shape == (0, 4)


def test_a_keyframe_is_one_of_the_frames() -> None:
    video = Watched(3)
    check_keyframe(video, 0)
    check_keyframe(video, 2)
    for keyframe in (-1, 3):
        with pytest.raises(SettingsError, match=f"keyframe {keyframe} is not in array; give an index from 0 to 2"):
            check_keyframe(video, keyframe)
