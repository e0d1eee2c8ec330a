"""The sound of a clip whose audio is silent but for a beep, in a video with the same frames."""

from fractions import Fraction

import av
import numpy as np
import pytest

from thinkseg.ops.encoding.video_writer import video_writer

RATE = 48000
BEEP = 1.0
"""When the beep starts, in seconds after the first frame."""


def clip(path, codec, first_frame=0.0):
    """Writes two seconds of black frames, the first of which is shown at a time, with a beep."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10, options={"bf": "0"})
        video.width = video.height = 16
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        audio = container.add_stream(codec, rate=RATE, layout="mono")
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            frame.pts = round(1000 * (first_frame + number / 10))
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        time = np.arange(round((2 + first_frame) * RATE)) / RATE - first_frame
        tone = 0.5 * np.sin(2 * np.pi * 440 * time) * ((time >= BEEP) & (time < BEEP + 0.3))
        for start in range(0, len(tone), 1024):
            samples = av.AudioFrame.from_ndarray(tone[None, start : start + 1024].astype(np.float32), "fltp", "mono")
            samples.sample_rate, samples.pts, samples.time_base = RATE, start, Fraction(1, RATE)
            container.mux(audio.encode(samples))
        container.mux(audio.encode(None))


def beep_of(path):
    """The codec of the sound, and when the beep starts in seconds."""
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        for frame in container.decode(stream):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()).ravel() > 0.2)
            if len(loud):
                return stream.codec_context.name, frame.time + loud[0] / RATE
    return None


def with_sound_of(source, path):
    with video_writer(path, 10, sound_of=source) as add:
        for _ in range(20):
            add(np.zeros((16, 16, 3), np.uint8))


@pytest.mark.parametrize("first_frame", [0.0, 0.5])
@pytest.mark.parametrize(("name", "codec", "written"), [("a.mp4", "aac", "aac"), ("a.mkv", "pcm_s16le", "aac")])
def test_sound_stays_with_the_frames(tmp_path, name, codec, written, first_frame):
    clip(tmp_path / name, codec, first_frame)
    with_sound_of(tmp_path / name, tmp_path / "out.mp4")
    found, start = beep_of(tmp_path / "out.mp4")
    assert found == written
    assert start == pytest.approx(BEEP, abs=0.05)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


@pytest.mark.parametrize("first_frame", [0.0, 0.5])
@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "pcm_s16le")])
def test_sound_of_a_part_starts_and_ends_with_it(tmp_path, name, codec, first_frame):
    clip(tmp_path / name, codec, first_frame)
    with video_writer(tmp_path / "out.mp4", 10, sound_of=tmp_path / name, sound_span=(0.7, 1.5)) as add:
        for _ in range(8):
            add(np.zeros((16, 16, 3), np.uint8))
    _, start = beep_of(tmp_path / "out.mp4")
    assert start == pytest.approx(BEEP - 0.7, abs=0.05)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration / av.time_base == pytest.approx(0.8, abs=0.06)


def test_sound_of_a_silent_file_adds_no_track(tmp_path):
    with video_writer(tmp_path / "silent.mp4", 10) as add:
        add(np.zeros((16, 16, 3), np.uint8))
    with_sound_of(tmp_path / "silent.mp4", tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio
