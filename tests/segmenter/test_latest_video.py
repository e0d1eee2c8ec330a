"""Further questions about one video: what is not decoded and encoded again, and when it is."""

import os
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from thinkseg.data.readers import frame_cache
from thinkseg.data.readers.frame_rates import Rates, write_rate
from thinkseg.data.readers.video_window import Window
from thinkseg.errors import VideoError
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops import inputs
from thinkseg.segmenter import Segmenter
from thinkseg.segmenter.latest_video import LatestVideo
from thinkseg.types import View
from tinytrackers import BOXES, footage, save_sam2

VIEW = View(num_frames=3, frame_wh=(8, 6))
FOUND = '<think>grey</think><answer>{"keyframe_timestamp": 1.0, "bbox_2d_list": [[1, 2, 4, 5]]}</answer>'
FRAME_BYTES = 8 * 6 * 3


@pytest.fixture
def segmenter(box_tracker, monkeypatch):
    """A segmenter whose tracker reads all frames."""
    track = box_tracker.track

    def reading(video, *arguments):
        assert len(list(video.read(range(len(video))))) == len(video)
        return track(video, *arguments)

    monkeypatch.setattr(box_tracker, "track", reading)

    def make(**settings):
        return Segmenter(ScriptedPolicy(lambda dialogue: FOUND, view=VIEW), box_tracker, **settings)

    return make


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "clip"
    path.mkdir()
    for number in range(3):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(path / f"{number}.png")
    return path


def test_segmenter_reads_each_frame_once_for_all_questions(segmenter, film):
    video, one = film(21), segmenter()
    first, second = one(video, "the grey one"), one(video, "the other")
    one(video, keyframe=3, boxes=[[1, 1, 5, 5]])
    assert sorted(video.reads) == list(range(21))
    np.testing.assert_array_equal(first[0], second[0])


def test_segmenter_frame_cache_is_bounded_and_keeps_the_frames_shown(segmenter, film):
    video, one = film(21), segmenter(frame_cache_bytes=5 * FRAME_BYTES)
    for query in ("the grey one", "the other"):
        one(video, query)
    assert [video.reads.count(frame) for frame in (0, 10, 20, 1, 2)] == [1] * 5
    assert len(video.reads) == 5 + 2 * 16


def test_segmenter_other_video_releases_the_frames(segmenter, film):
    videos, one = [film(21), film(21)], segmenter(frame_cache_bytes=21 * FRAME_BYTES)
    results = [one(video, "it") for video in (videos[0], videos[1], videos[1], videos[0])]
    assert [len(video.reads) for video in videos] == [42, 21]
    assert results[1].sample.video[3][0, 0, 0] == 3


def test_segmenter_in_another_window_reads_again(segmenter, film):
    video, one = film(21), segmenter()
    for window in (Window(), Window(end=11), Window(end=11)):
        one(video, "it", window=window)
    assert len(video.reads) == 21 + 11


def test_segmenter_keeps_features_of_sam2(tmp_path, monkeypatch):
    video = footage(5)
    one = Segmenter(ScriptedPolicy([]), save_sam2(tmp_path), device="cpu")
    encoded, encode = [], one.tracker._encode
    monkeypatch.setattr(one.tracker, "_encode", lambda rgb: encoded.append(rgb) or encode(rgb))
    for box in BOXES:
        one(video, keyframe=2, boxes=[box])
    assert len(encoded) == len(video)


def opened(latest, video, fps=None):
    return latest.open(video, Rates(fps), Window())[0]


def test_latest_video_same_path_is_the_same_object(folder):
    latest = LatestVideo(1000)
    assert opened(latest, folder) is opened(latest, str(folder))
    assert opened(latest, folder) is not opened(latest, folder, fps=2.0)


def change_frame(folder):
    Image.effect_noise((8, 6), 9).convert("RGB").save(folder / "1.png")


def touch_frame(folder):
    os.utime(folder / "1.png", ns=(1, 1))


def remove_frame(folder):
    (folder / "2.png").unlink()


def state_rate(folder):
    write_rate(folder.parent, 3.0)


@pytest.mark.parametrize("change", [change_frame, touch_frame, remove_frame, state_rate])
def test_latest_video_changed_files_are_opened_anew(folder, change):
    latest = LatestVideo(1000)
    before = opened(latest, folder)
    change(folder)
    assert opened(latest, folder) is not before


def test_latest_video_that_is_gone_raises(folder):
    latest = LatestVideo(1000)
    opened(latest, folder)
    shutil.rmtree(folder)
    with pytest.raises(VideoError, match="does not exist"):
        opened(latest, folder)


def test_latest_video_arrays_are_opened_anew():
    latest, array = LatestVideo(1000), np.zeros((2, 6, 8, 3), np.uint8)
    before = opened(latest, array)
    array[:] = 7
    assert opened(latest, array) is not before
    assert opened(latest, array)[1][0, 0, 0] == 7


def test_cached_frames_pickle_without_the_cache(film):
    frames = opened(LatestVideo(1000), film(3))
    assert isinstance(frames, frame_cache.CachedFrames)
    assert len(list(frames.read([0, 1]))) == 2
    copy = pickle.loads(pickle.dumps(frames))
    assert type(copy).__name__ == "Film"
    assert inputs.is_frames(copy)
