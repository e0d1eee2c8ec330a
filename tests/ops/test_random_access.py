"""A frame that is jumped to equals, bit by bit, the one of PyAV decoding in order: every codec in every container."""

import zlib
from fractions import Fraction

import av
import numpy as np
import pytest

import footage
from thinkseg.ops import videofile
from thinkseg.ops.videofile import VideoFile

COUNT = 26
JUMPS = 8

X264 = "keyint=9:min-keyint=9:scenecut=0:"
X265 = "keyint=9:min-keyint=9:log-level=none:frame-threads=1:pools=none:"

# (encoder, pixel format, options): suffixes of containers
CODINGS = {
    ("libx264", "yuv420p", "x264-params=intra-refresh=1:keyint=9:bframes=0"): ".mp4 .mov .mkv .avi .ts .flv .mpg .h264",
    ("libx264", "yuv420p", "x264-params=intra-refresh=1:keyint=9:bframes=2"): ".mp4 .mkv .ts",
    (
        "libx264",
        "yuv420p",
        f"x264-params={X264}open-gop=1:b-pyramid=2:ref=8",
    ): ".mp4 .mov .mkv .avi .ts .flv .mpg .h264",
    ("libx264", "yuv420p", f"x264-params={X264}bframes=2"): ".mp4 .mkv .avi .ts .asf .mxf .nut",
    ("libx264", "yuv420p", f"x264-params={X264}interlaced=1"): ".mp4 .ts",
    ("libx264", "yuv444p", "g=3"): ".mp4 .avi",
    ("libx264", "yuv420p", "g=1"): ".mov .mkv",
    ("libx265", "yuv420p", f"x265-params={X265}open-gop=1:bframes=4"): ".mp4 .mkv .ts .hevc",
    ("libx265", "yuv420p", f"x265-params={X265}open-gop=0:radl=2:bframes=4"): ".mp4 .ts",
    ("libx265", "yuv420p", f"x265-params={X265}intra-refresh=1:bframes=0"): ".mkv",
    ("libvpx", "yuv420p", "g=9,auto-alt-ref=1,lag-in-frames=16,cpu-used=8"): ".webm .mkv .ivf",
    ("libvpx-vp9", "yuv420p", "g=9,auto-alt-ref=1,lag-in-frames=16,cpu-used=8"): ".webm .mp4 .mkv",
    ("libsvtav1", "yuv420p", "g=9,preset=12"): ".mp4",
    ("mpeg4", "yuv420p", "g=9,bf=2"): ".mp4 .avi .mkv .m4v",
    ("msmpeg4", "yuv420p", "g=9"): ".avi .asf",
    ("mpeg2video", "yuv420p", "g=9,bf=2"): ".ts .mpg .mkv .mxf .m2v",
    ("mpeg1video", "yuv420p", "g=9,bf=2"): ".mpg",
    ("flv", "yuv420p", "g=9"): ".flv",
    ("mjpeg", "yuvj420p", ""): ".mov .avi .mkv",
    ("gif", "rgb8", ""): ".gif",
    ("apng", "rgb24", ""): ".apng",
    ("qtrle", "rgb24", "g=9"): ".mov",
    ("msrle", "pal8", "g=9"): ".avi",
    ("rawvideo", "pal8", ""): ".avi .nut",
    ("rawvideo", "bgr24", ""): ".avi",
    ("smc", "pal8", "g=9"): ".mov",
    ("flashsv", "bgr24", "g=9"): ".flv",
    ("zmbv", "bgr0", "g=9"): ".avi",
    ("zmbv", "pal8", "g=9"): ".avi",
    ("cinepak", "rgb24", "g=9"): ".avi",
    ("msvideo1", "rgb555le", "g=9"): ".avi",
    ("svq1", "yuv410p", "g=9"): ".mov",
    ("huffyuv", "yuv422p", ""): ".avi",
    ("ffvhuff", "yuv420p", "context=1"): ".avi",
    ("ffv1", "yuv420p", "g=9,context=1,coder=1,level=3"): ".mkv .avi",
    ("snow", "yuv420p", "g=9,strict=-2"): ".avi",
    ("prores", "yuv422p10le", ""): ".mov",
    ("png", "rgb24", ""): ".mov",
}
FILES = [(*coding, suffix) for coding, suffixes in CODINGS.items() for suffix in suffixes.split()]


def write(path, encoder, pixels, options):
    coding = (path.suffix, encoder, pixels, dict(option.split("=", 1) for option in options.split(",") if option))
    return footage.write(path, map(footage.lively, range(COUNT)), coding, time_base=Fraction(1, 25), rate=25)


def decoded(path):
    frames = []
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        for packet in container.demux(video=0):
            try:
                frames += context.decode(packet if packet.size else None)
            except av.InvalidDataError:
                continue
    return [videofile._to_rgb(frame, (frames[0].width, frames[0].height)) for frame in frames]


def check_jumps(path, monkeypatch, jumps=JUMPS):
    """Compares frames in random order, from a closed or an open file, near and far from an entry."""
    expected, rng = decoded(path), np.random.default_rng(zlib.crc32(path.name.encode()))
    for long_way in (videofile._LONG_WAY, 1):
        monkeypatch.setattr(videofile, "_LONG_WAY", long_way)
        video = VideoFile(path)
        assert len(video) == len(expected) > 0
        for index in rng.integers(len(video), size=jumps):
            if rng.random() < 0.6:
                video.close()
            assert np.array_equal(video[index], expected[index]), f"frame {index}"


@pytest.mark.parametrize(("encoder", "pixels", "options", "suffix"), FILES)
def test_video_file_any_jump_equals_decoding_in_order(tmp_path, monkeypatch, encoder, pixels, options, suffix):
    check_jumps(write(tmp_path / f"{encoder}{suffix}", encoder, pixels, options), monkeypatch)


LYING = [
    ("libx264", "yuv420p", f"x264-params={X264}bframes=2", ".mkv"),
    ("libx265", "yuv420p", f"x265-params={X265}bframes=2", ".mkv"),
    ("libvpx-vp9", "yuv420p", "g=9,cpu-used=8", ".mkv"),
    ("libvpx", "yuv420p", "g=9,cpu-used=8", ".mkv"),
    ("mpeg4", "yuv420p", "g=9,bf=2", ".mkv"),
    ("ffv1", "yuv420p", "g=9,context=1,coder=1", ".mkv"),
    ("qtrle", "rgb24", "g=9", ".mov"),
]


@pytest.mark.parametrize("changes", [{"keyframes": 4}, {"skip": 5}], ids=str)
@pytest.mark.parametrize(("encoder", "pixels", "options", "suffix"), LYING)
def test_video_file_flags_of_keyframes_are_not_believed(
    tmp_path, monkeypatch, encoder, pixels, options, suffix, changes
):
    source = write(tmp_path / f"source{suffix}", encoder, pixels, options)
    path = footage.remux(source, tmp_path / f"copied{suffix}", **changes)
    check_jumps(path, monkeypatch, 5)


@pytest.mark.parametrize(("encoder", "pixels", "options", "suffix"), [f for f in FILES if f[3] in (".ts", ".mpg")])
def test_video_file_joined_streams(tmp_path, monkeypatch, encoder, pixels, options, suffix):
    stream = write(tmp_path / f"whole{suffix}", encoder, pixels, options).read_bytes()
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(stream + stream)
    check_jumps(path, monkeypatch, 3)


@pytest.mark.parametrize("share", [0.1, 0.4])
@pytest.mark.parametrize(("encoder", "pixels", "options", "suffix"), [f for f in FILES if f[3] == ".ts"])
def test_video_file_stream_without_its_start(tmp_path, monkeypatch, encoder, pixels, options, suffix, share):
    stream = write(tmp_path / f"whole{suffix}", encoder, pixels, options).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(stream[int(len(stream) * share) // 188 * 188 :])
    check_jumps(path, monkeypatch, 3)


@pytest.mark.parametrize("cut", [4])
@pytest.mark.parametrize(("encoder", "pixels", "options", "suffix"), [f for f in FILES if f[3] in (".mp4", ".mov")])
def test_video_file_edit_lists(tmp_path, monkeypatch, encoder, pixels, options, suffix, cut):
    path = write(tmp_path / f"edited{suffix}", encoder, pixels, options)
    footage.cut_start(path, Fraction(cut, 25))
    check_jumps(path, monkeypatch, 3)
