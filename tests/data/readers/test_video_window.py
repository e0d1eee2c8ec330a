"""Parts of videos: which frames, at which times, in which size."""

import numpy as np
import pytest

from thinkseg.data.readers.frame_rates import with_rate
from thinkseg.data.readers.video_window import VideoWindow, Window, scaled
from thinkseg.errors import SettingsError
from thinkseg.ops.frame_folder import frame_names
from thinkseg.types import Part, part_of


@pytest.mark.parametrize(
    ("window", "indices"),
    [
        (Window(start=4), [4, 5, 6, 7, 8, 9]),
        (Window(start=0.4, end=0.6), [4, 5]),
        (Window(start=0.35, end=0.6), [4, 5]),
        (Window(start=2, end=9, stride=3), [2, 5, 8]),
        (Window(end=99.0, stride=9), [0, 9]),
        (Window(start=9, end=100), [9]),
    ],
)
def test_window_selects_frames_with_the_times_of_the_source(film, window, indices):
    video = window.of(film(10))
    assert [frame[0, 0, 0] for frame in video] == indices
    assert [frame[0, 0, 0] for frame in video.read(range(len(video)))] == indices
    assert [video.time_of(index) for index in range(len(video))] == [index / 10 for index in indices]
    assert part_of(video) == Part(video.part.indices, 10, (8, 6))
    assert video.fps == 10 / window.stride
    assert frame_names(video) == tuple(f"{index:05d}" for index in indices)


def test_window_of_everything_is_the_video_itself(film):
    video = film(10)
    assert Window(end=10, max_side=8).of(video) is video
    assert part_of(video) == Part(range(10), 10, (8, 6))


@pytest.mark.parametrize(
    ("window", "words"),
    [
        (Window(start=10), "film: has no frame from frame 10; it has 10 frames, the last one at 0.90 s"),
        (Window(start=0.5, end=0.5), "has no frame from 0.5 s to 0.5 s"),
        (Window(start=7, end=0.3), "has no frame from frame 7 to 0.3 s"),
    ],
)
def test_window_without_frames_raises(film, window, words):
    with pytest.raises(SettingsError, match=words):
        window.of(film(10))


def test_window_in_seconds_without_times_raises(film):
    with pytest.raises(SettingsError, match="film: has no times to find 1 s by; give its fps, or a frame index"):
        Window(start=1.0).of(film(10, fps=None))
    assert len(Window(start=1.0).of(with_rate(film(10, fps=None), 5.0))) == 5


@pytest.mark.parametrize(("max_side", "size"), [(4, (4, 3)), (8, (8, 6)), (20, (8, 6)), (None, (8, 6)), (1, (1, 1))])
def test_scaled_keeps_the_aspect_ratio(max_side, size):
    assert scaled((8, 6), max_side) == size


def test_window_max_side_scales_frames_down(film):
    video = Window(max_side=4).of(film(3))
    assert isinstance(video, VideoWindow)
    assert (video.size_wh, video[2].shape) == ((4, 3), (3, 4, 3))
    np.testing.assert_array_equal(video[2], 2)
    assert part_of(video).size_wh == (8, 6)
    with pytest.raises(IndexError):
        video[3]
