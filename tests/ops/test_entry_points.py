"""Packets of real files, and what their bytes say about starting to decode there."""

import av
import pytest

import footage
from thinkseg.ops.entry_points import Start, start_of

X264 = "keyint=8:min-keyint=8:scenecut=0:bframes=2:"
X265 = "keyint=8:min-keyint=8:bframes=2:log-level=none:pools=none:frame-threads=1:"


def starts(path):
    """What is said of each packet, in decoding order."""
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        codec, extradata = context.codec.canonical_name, context.extradata or b""
        return [start_of(codec, extradata, bytes(packet)) for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize(
    ("suffix", "encoder", "options", "expected"),
    [
        (".mp4", "libx264", {"x264-params": X264}, {Start.COMPLETE: 3}),
        (".ts", "libx264", {"x264-params": X264}, {Start.DESCRIBED: 3}),
        (".mp4", "libx264", {"x264-params": f"{X264}open-gop=1"}, {Start.COMPLETE: 1}),
        (".ts", "libx264", {"x264-params": f"{X264}open-gop=1"}, {Start.DESCRIBED: 1}),
        (".mkv", "libx264", {"x264-params": "keyint=8:intra-refresh=1"}, {Start.COMPLETE: 1}),
        (".mp4", "libx265", {"x265-params": f"{X265}open-gop=1"}, {Start.DESCRIBED: 3}),
        (".ts", "libx265", {"x265-params": f"{X265}open-gop=0"}, {Start.DESCRIBED: 3}),
        (".webm", "libvpx", {"g": "8"}, {Start.COMPLETE: 4}),  # one more where the scene changes
        (".webm", "libvpx-vp9", {"g": "8", "lag-in-frames": "0"}, {Start.COMPLETE: 3}),
        (".mp4", "libsvtav1", {"g": "8", "preset": "12"}, {Start.COMPLETE: 3}),
        (".avi", "mjpeg", {}, {Start.COMPLETE: 24}),
        (".avi", "mpeg4", {"g": "8"}, {}),
    ],
)
def test_start_of_packets_of_a_file(tmp_path, suffix, encoder, options, expected):
    pixels = "yuvj420p" if encoder == "mjpeg" else "yuv420p"
    path = tmp_path / f"clip{suffix}"
    footage.write(path, map(footage.lively, range(24)), (suffix, encoder, pixels, options))
    found = starts(path)
    kinds = {kind: found.count(kind) for kind in (Start.COMPLETE, Start.DESCRIBED) if kind in found}
    if encoder == "libx265":  # whether parameter sets are repeated in an MP4 file is the encoder's choice
        assert sum(kinds.values()) == sum(expected.values())
    else:
        assert kinds == expected
    assert found[0] is not Start.UNSURE or not expected


def test_start_of_picture_with_half_of_its_parameter_sets_is_unsure():
    extradata, picture = b"\1\x64\0\x0a\xff\xe1\0", b"\0\0\0\2\x65\x88"
    parameters, tables = b"\0\0\0\2\x67\x64", b"\0\0\0\2\x68\xee"
    assert start_of("h264", extradata, picture) is Start.COMPLETE
    assert start_of("h264", extradata, parameters + picture) is Start.UNSURE
    assert start_of("h264", extradata, parameters + tables + picture) is Start.DESCRIBED


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp8", "vp9", "av1", "mjpeg", "prores", "gif", "nonsense"])
@pytest.mark.parametrize("data", [b"\0", b"\xff", b"\0\0\0", b"\0\0\1", b"\xff" * 9, b"\x12\x80" * 9])
@pytest.mark.parametrize("extradata", [b"", b"\1", b"\1\0\0\0", b"\1" * 30])
def test_start_of_broken_packets_is_some_start(codec, extradata, data):
    assert start_of(codec, extradata, data) in Start


def test_start_of_jpeg_without_tables_is_unsure():
    assert start_of("mjpeg", b"", b"\xff\xd8\xff\xdb\0\xff\xc4\0") is Start.COMPLETE
    assert start_of("mjpeg", b"", b"\xff\xd8\xff\xdb\0") is Start.UNSURE
