"""Arrays as videos, `open_video`, and reading written videos."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

import footage
from thinkseg.errors import VideoError
from thinkseg.ops.video import ArrayFrames, VideoFile, open_video, write_video


def test_array_is_a_video():
    array = np.stack([footage.numbered(number) for number in range(6)])
    video = ArrayFrames(array, fps=12.5, name="six")
    assert (len(video), video.size_wh, video.fps, video.name) == (6, footage.SIZE_WH, 12.5, "six")
    assert [footage.number_of(frame) for frame in video.read([5, 0, 3])] == [5, 0, 3]
    assert video.time_of(5) == pytest.approx(0.4)
    assert ArrayFrames(array).time_of(5) is None


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 3)),
        np.zeros((0, 4, 4, 3), "u1"),
    ],
)
def test_array_frames_invalid_array_raises(array):
    with pytest.raises(VideoError, match="frames must be uint8 with the shape"):
        ArrayFrames(array)


@pytest.mark.parametrize("index", [-1, 12])
def test_outside_is_an_index_error(index):
    video = ArrayFrames(np.zeros((12, 4, 4, 3), np.uint8), fps=5)
    with pytest.raises(IndexError):
        video[index]
    with pytest.raises(IndexError):
        video.time_of(index)


def test_missing_path_is_named(tmp_path):
    with pytest.raises(VideoError, match=r".*nowhere does not exist"):
        open_video(tmp_path / "nowhere")


def frames(count, size_wh=footage.SIZE_WH):
    return (footage.numbered(number, size_wh) for number in range(count))


@pytest.mark.parametrize("fps", [10, 29.97002997, 12.5, 0.5, 60, 1e9, 1e6, 1 / 3600, 1e-8])
def test_written_video_is_read_back(tmp_path, fps):
    path = tmp_path / "out.mp4"
    write_video(path, frames(70), fps)
    video = open_video(path)
    assert isinstance(video, VideoFile)
    assert [footage.number_of(frame) for frame in video.read(range(len(video)))] == list(range(70))
    assert video.fps == pytest.approx(fps, rel=1e-6)
    assert video.time_of(69) == pytest.approx(69 / fps)
    assert list(tmp_path.iterdir()) == [path]


def test_same_frames_make_the_same_file(tmp_path):
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 256, (112, 112, 3), np.uint8)
    frames = [np.roll(grain, (number, 2 * number), (0, 1)) for number in range(30)]
    kept = []
    for number in range(6):
        write_video(tmp_path / f"{number}.mp4", frames, 10)
        kept.append(rng.random((number + 1, 500_000)))  # memory differs from one time to the next
    files = {path.read_bytes() for path in tmp_path.glob("*.mp4")}
    assert len(files) == 1


WRITE = """
import os, sys, numpy as np
os.sched_setaffinity(0, {int(core) for core in sys.argv[2:]})
from thinkseg.ops.video import write_video
grain = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
write_video(sys.argv[1], [np.roll(grain, (number, 2 * number), (0, 1)) for number in range(60)], 10)
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="restricts a process to cores of Linux")
def test_write_video_any_number_of_cores_writes_the_same_bytes(tmp_path):
    cores = [str(core) for core in os.sched_getaffinity(0)]
    if len(cores) == 1:
        pytest.skip("needs two cores")
    for count in (1, len(cores)):
        subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / f"{count}.mp4"), *cores[:count]], check=True)
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / f"{len(cores)}.mp4").read_bytes()


@pytest.mark.parametrize(
    ("times", "read"),
    [
        ([0, 0.5, 0.6, 9], [0, 0.5, 0.6, 9]),
        ([7, 7.5, 8], [0, 0.5, 1]),
        ([-3, -1, 0], [0, 2, 3]),
        ([0, 3600, 7200, 144000 + 7200], [0, 3600, 7200, 151200]),
        ([0, 5e8, 1e9], [0, 5e8, 1e9]),
        ([0, 0, 0, 1], [0, 0, 0, 1]),
        ([5], [0]),
        (np.arange(300) / 1e6, np.arange(300) / 90_000),
    ],
)
def test_write_video_uneven_times_are_read_back(tmp_path, times, read):
    write_video(tmp_path / "out.mp4", frames(len(times)), 10, times=times)
    video = open_video(tmp_path / "out.mp4")
    assert [video.time_of(index) for index in range(len(video))] == pytest.approx(read, abs=1e-4)


@pytest.mark.parametrize("times", [[0, 2, 1], [0, float("nan"), 1], [0, 1, float("inf")], [0, 1, 1.1e9]])
def test_write_video_impossible_times_raise(tmp_path, times):
    with pytest.raises(VideoError, match="do not ascend, or span more than 34 years"):
        write_video(tmp_path / "out.mp4", frames(3), 10, times=times)
    assert list(tmp_path.iterdir()) == []


def test_written_video_is_what_browsers_play(tmp_path):
    path = tmp_path / "out.mp4"
    write_video(path, [footage.numbered(1)] * 70, 10)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    keyframes = [number for number, (_, _, keyframe) in enumerate(footage.packets(path)) if keyframe]
    assert keyframes == [0, 30, 60]


def test_colours_survive(tmp_path):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (20, 200, 90), (250, 250, 250), (5, 5, 5)]
    write_video(tmp_path / "out.mp4", [np.full((64, 64, 3), colour, np.uint8) for colour in colours], 1)
    video = open_video(tmp_path / "out.mp4")
    for frame, colour in zip(video.read(range(len(colours))), colours, strict=True):
        assert np.abs(frame[20:40, 20:40].astype(int) - colour).max() <= 6


@pytest.mark.parametrize(("size_wh", "written"), [((63, 48), (64, 48)), ((64, 47), (64, 48)), ((63, 47), (64, 48))])
def test_odd_sides_grow_by_one_and_nothing_moves(tmp_path, size_wh, written):
    write_video(tmp_path / "out.mp4", frames(5, size_wh), 10)
    video = open_video(tmp_path / "out.mp4")
    assert video.size_wh == written
    kept = video[3][: size_wh[1], : size_wh[0]].astype(int)
    assert np.abs(kept - footage.numbered(3, size_wh)).mean() < 6


def test_frames_are_scaled_to_the_size_asked_for(tmp_path):
    mixed = [footage.numbered(0), footage.numbered(1, (128, 96)), footage.numbered(2, (32, 24))]
    write_video(tmp_path / "out.mp4", mixed, 10, size_wh=(80, 60))
    video = open_video(tmp_path / "out.mp4")
    assert video.size_wh == (80, 60)
    assert [footage.number_of(frame) for frame in video.read(range(3))] == [0, 1, 2]


def test_read_only_frames_in_any_memory_order_are_written(tmp_path):
    frame = np.asfortranarray(footage.numbered(9))
    frame.flags.writeable = False
    write_video(tmp_path / "out.mp4", [frame[::-1]] * 3, 10)
    assert footage.number_of(open_video(tmp_path / "out.mp4")[2]) == 9


@pytest.mark.parametrize(
    ("given", "fps", "complaint"),
    [
        ([], 10, "no frames to write"),
        ([footage.numbered(0)], 0, "give a number from 1e-8 to 1e9"),
        ([footage.numbered(0)], float("nan"), "give a number from 1e-8 to 1e9"),
        ([footage.numbered(0)], float("inf"), "give a number from 1e-8 to 1e9"),
        ([footage.numbered(0)], 1e-9, "give a number from 1e-8 to 1e9"),
        ([footage.numbered(0), footage.numbered(1, (32, 48))], 10, r"frame 1 to write has the shape \(48, 32, 3\)"),
        ([footage.numbered(0)[..., 0]], 10, "frame 0 to write"),
        ([footage.numbered(0).astype(np.float32)], 10, "frame 0 to write"),
    ],
)
def test_write_video_invalid_frames_leave_no_file(tmp_path, given, fps, complaint):
    with pytest.raises(VideoError, match=complaint):
        write_video(tmp_path / "out.mp4", given, fps)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["missing/out.mp4", "file/out.mp4"])
def test_unwritable_place_is_named(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(VideoError, match=r"cannot write .*out\.mp4"):
        write_video(tmp_path / place, frames(3), 10)


def test_write_video_source_raises_oserror_propagates_unchanged(tmp_path):
    def frames():
        yield np.zeros((4, 4, 3), np.uint8)
        raise FileNotFoundError(2, "No such file", "input.png")

    with pytest.raises(FileNotFoundError, match=r"input\.png"):
        write_video(tmp_path / "out.mp4", frames(), 5.0)
    assert not list(tmp_path.iterdir())


def test_write_video_source_raises_keeps_old_file(tmp_path):
    path = tmp_path / "out.mp4"
    write_video(path, frames(5), 10)
    before = path.read_bytes()

    def broken():
        yield from frames(100)
        raise RuntimeError("the source of frames broke")

    with pytest.raises(RuntimeError, match="broke"):
        write_video(path, broken(), 10)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_frames_are_written_as_they_come(tmp_path):
    alive = []

    def counted():
        for number in range(200):
            alive.append(number)
            yield footage.numbered(number)

    write_video(tmp_path / "out.mp4", counted(), 10)
    assert len(alive) == len(open_video(tmp_path / "out.mp4")) == 200


def test_written_name_may_hold_anything(tmp_path):
    path = Path(tmp_path, "a:b %03d ü.mp4")
    write_video(path, frames(3), 10)
    assert len(open_video(path)) == 3


def test_footage_really_cuts_the_start(tmp_path):
    path = footage.clip(tmp_path)
    before = path.read_bytes()
    footage.cut_start(path, footage.Fraction(1, 2))
    entry = before.index(b"elst") + 16
    assert struct.unpack_from(">i", path.read_bytes(), entry) > struct.unpack_from(">i", before, entry)
