"""Frames and times of files of all codecs, edited and damaged, in any order."""

import os
import pickle
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import footage
from thinkseg.errors import VideoError
from thinkseg.ops import videofile
from thinkseg.ops.video import write_video
from thinkseg.ops.videofile import VideoFile

COUNT = 50
TURNED = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def numbers(video):
    return [footage.number_of(frame) for frame in video.read(range(len(video)))]


def decoded_numbers(path):
    """The numbers of the frames that sequential decoding yields: the reference for a damaged file."""
    found = []
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        for packet in container.demux(video=0):
            try:
                frames = context.decode(packet if packet.size else None)
            except av.InvalidDataError:
                continue
            found += [footage.number_of(frame.to_ndarray(format="rgb24")) for frame in frames]
    return found


@pytest.fixture(scope="module", params=footage.CODINGS)
def coded(request, tmp_path_factory):
    return footage.clip(tmp_path_factory.mktemp("coded"), request.param, COUNT)


def test_video_file_in_order_has_all_frames(coded):
    video = VideoFile(coded)
    assert len(video) == COUNT
    assert video.size_wh == footage.SIZE_WH
    assert numbers(video) == list(range(COUNT))


def test_video_file_random_access_equals_reading_in_order(coded):
    ordered = list(VideoFile(coded).read(range(COUNT)))
    shuffled = np.random.default_rng(0).permutation(COUNT).tolist()
    for order in (shuffled, range(COUNT - 1, -1, -1), [COUNT - 1, 0, COUNT - 1, 0], [7, 7, 7], range(3, COUNT, 9)):
        for index, frame in zip(order, VideoFile(coded).read(order), strict=True):
            assert frame.dtype == np.uint8
            assert np.array_equal(frame, ordered[index])


def test_video_file_random_access_with_small_cache(coded, monkeypatch):
    monkeypatch.setattr(videofile, "_CACHE_BYTES", 0)
    order = np.random.default_rng(1).permutation(COUNT).tolist()[:20]
    video = VideoFile(coded)
    for index, frame in zip(order, video.read(order), strict=True):
        assert footage.number_of(frame) == index
        assert len(video._cache) <= 2


def test_times_ascend_evenly_from_zero(coded):
    video = VideoFile(coded)
    times = [video.time_of(index) for index in range(COUNT)]
    assert times[0] == 0
    # A bare stream has no container to state its rate.
    step = 0.04 if coded.suffix == ".h264" else 0.1
    assert times == pytest.approx([index * step for index in range(COUNT)], abs=0.002)
    assert video.fps == pytest.approx(1 / step, rel=0.01)


def test_video_file_two_readers_are_independent(coded):
    first, second = VideoFile(coded), VideoFile(coded)
    forward, backward = first.read(range(COUNT)), second.read(range(COUNT - 1, -1, -1))
    for index in range(COUNT):
        assert footage.number_of(next(forward)) == index
        assert footage.number_of(next(backward)) == COUNT - 1 - index


def test_video_file_pickled_reader_reads_frames(coded):
    video = VideoFile(coded)
    expected = video[20]
    copy = pickle.loads(pickle.dumps(video))
    assert (len(copy), copy.fps, copy.size_wh, copy.name) == (COUNT, video.fps, video.size_wh, video.name)
    assert np.array_equal(copy[20], expected)


def test_video_file_equal_times_are_distinct_frames(tmp_path):
    # Matroska keeps milliseconds: at 4000 frames a second four frames have the same one.
    path = footage.clip(tmp_path, "ffv1", pts=range(COUNT), time_base=Fraction(1, 4000))
    with av.open(str(path)) as container:
        assert len({packet.pts for packet in container.demux(video=0) if packet.size}) < COUNT
    video = VideoFile(path)
    assert numbers(video) == list(range(COUNT))
    assert [footage.number_of(video[index]) for index in (49, 2, 1, 30)] == [49, 2, 1, 30]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="lists open files through /proc")
def test_video_file_cache_is_empty_before_reading_and_after_close(tmp_path):
    video = VideoFile(footage.clip(tmp_path))
    open_files = Path("/proc/self/fd")
    assert str(video.path) not in held(open_files)
    assert footage.number_of(video[3]) == 3
    assert str(video.path) in held(open_files)
    video.close()
    assert str(video.path) not in held(open_files)
    assert footage.number_of(video[40]) == 40


def held(folder):
    return {os.path.realpath(link) for link in folder.iterdir()}


@pytest.mark.parametrize("hidden", [1, 7, 30, 49])
def test_video_file_hidden_frames_are_skipped(tmp_path, hidden):
    path = footage.write(tmp_path / "hidden.webm", map(footage.grainy, range(COUNT)), "vp8")
    footage.hide(path, hidden)
    video = VideoFile(path)
    assert len(footage.packets(path)) == COUNT
    assert numbers(video) == [number for number in range(COUNT) if number != hidden]
    assert footage.number_of(VideoFile(path)[45]) == (46 if hidden <= 45 else 45)


@pytest.mark.parametrize("index", [-1, COUNT, 10**9])
def test_outside_is_an_index_error(tmp_path, index):
    video = VideoFile(footage.clip(tmp_path))
    with pytest.raises(IndexError, match=f"frame {index} .* 0 to {COUNT - 1}"):
        video[index]
    with pytest.raises(IndexError):
        video.time_of(index)


def test_ascending_indices_are_decoded_in_one_pass(tmp_path, monkeypatch):
    video = VideoFile(footage.clip(tmp_path, "h264 one keyframe"))
    decoded = []
    monkeypatch.setattr(
        video, "_add_to_cache", lambda at, frame: (decoded.append(at), VideoFile._add_to_cache(video, at, frame))
    )
    list(video.read(range(1, COUNT, 7)))
    assert decoded == list(range(44))


def test_video_file_reading_backward_decodes_sections_once(tmp_path, monkeypatch):
    video = VideoFile(footage.clip(tmp_path, "h264 one keyframe"))
    decoded = []
    monkeypatch.setattr(
        video, "_add_to_cache", lambda at, frame: (decoded.append(at), VideoFile._add_to_cache(video, at, frame))
    )
    list(video.read(range(COUNT - 1, -1, -1)))
    assert len(decoded) < 2 * COUNT


def test_video_file_far_frame_is_reached_by_seeking(tmp_path, monkeypatch):
    video = VideoFile(footage.clip(tmp_path, "h264", 200))
    decoded = []
    monkeypatch.setattr(
        video, "_add_to_cache", lambda at, frame: (decoded.append(at), VideoFile._add_to_cache(video, at, frame))
    )
    assert footage.number_of(video[0]) == 0
    decoded.clear()
    assert footage.number_of(video[190]) == 190
    assert min(decoded) >= 180
    assert footage.number_of(video[100]) == 100
    assert len(decoded) < 40


@pytest.mark.parametrize("coding", ["h264", "vp9", "h264 transport stream", "gif"])
def test_uneven_times_are_kept(tmp_path, coding):
    steps = np.random.default_rng(3).integers(1, 9, COUNT)
    pts = (np.cumsum(steps) - steps[0]).tolist()
    path = footage.clip(tmp_path, coding, pts=pts, time_base=Fraction(1, 50))
    video = VideoFile(path)
    assert numbers(video) == list(range(COUNT))
    assert [video.time_of(index) for index in range(COUNT)] == pytest.approx([at / 50 for at in pts], abs=0.002)
    assert video.fps == pytest.approx((COUNT - 1) / (pts[-1] / 50), rel=0.01)


@pytest.mark.parametrize("coding", ["h264", "vp9", "h264 transport stream"])
def test_a_late_start_is_time_zero(tmp_path, coding):
    path = footage.clip(tmp_path, coding, pts=[70 + at for at in range(COUNT)])
    video = VideoFile(path)
    assert [video.time_of(0), video.time_of(9)] == pytest.approx([0, 0.9])
    assert footage.number_of(video[30]) == 30


@pytest.mark.parametrize("cut", [1, 5, 12, 17, 40])
@pytest.mark.parametrize("coding", ["h264", "h264 open gop", "hevc"])
def test_video_file_frames_outside_edit_list_are_skipped(tmp_path, coding, cut):
    path = footage.clip(tmp_path, coding)
    footage.cut_start(path, Fraction(cut, 10))
    shown = decoded_numbers(path)
    assert shown == list(range(cut, COUNT))
    video = VideoFile(path)
    assert numbers(video) == shown
    assert video.time_of(0) == 0
    assert [footage.number_of(VideoFile(path)[index]) for index in (0, 3, len(shown) - 1)] == [cut, cut + 3, COUNT - 1]


@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
@pytest.mark.parametrize("coding", ["h264", "hevc", "h264 transport stream", "h264 bare", "vp9", "gif", "ffv1"])
def test_video_file_truncated_keeps_complete_frames(tmp_path, coding, share):
    path = tmp_path / f"cut{footage.CODINGS[coding][0]}"
    options = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    footage.write(path, map(footage.grainy, range(COUNT)), coding, container_options=options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    expected = decoded_numbers(path)
    assert 5 < len(expected) < COUNT
    video = VideoFile(path)
    assert len(video) == len(expected)
    ordered = list(video.read(range(len(video))))
    # The frame in which the file breaks off, and the up to 3 that lean on it, are made up and may look like anything.
    sound = len(expected) - 4
    assert [footage.number_of(frame) for frame in ordered[:sound]] == expected[:sound]
    shuffled = np.random.default_rng(0).permutation(len(expected))
    for at, frame in zip(shuffled, VideoFile(path).read(shuffled), strict=True):
        assert at >= sound or np.array_equal(frame, ordered[at])


def test_video_file_damaged_last_packets_are_skipped(tmp_path):
    path = footage.clip(tmp_path, "h264", count=40)
    for position, size, _ in footage.packets(path)[-5:]:
        footage.overwrite(path, position, bytes(size))
    expected = decoded_numbers(path)
    assert 0 < len(expected) < 40
    video = VideoFile(path)
    assert len(video) == len(expected)
    assert numbers(video) == expected


def test_video_file_damaged_start_is_skipped(tmp_path):
    path = footage.clip(tmp_path, "mjpeg", count=20)
    for position, size, _ in footage.packets(path)[:3]:
        footage.overwrite(path, position, bytes(size))
    video = VideoFile(path)
    assert len(video) == 17
    assert numbers(video) == list(range(3, 20))
    assert video.time_of(0) == 0


def test_video_file_damaged_frame_raises_when_read(tmp_path):
    path = footage.clip(tmp_path, "mjpeg", count=20)
    position, size, _ = footage.packets(path)[8]
    footage.overwrite(path, position, bytes(size))
    video = VideoFile(path)
    assert footage.number_of(video[7]) == 7
    with pytest.raises(VideoError, match=r"frame 8 of .* cannot be decoded; repair the file"):
        video[8]
    assert footage.number_of(video[9]) == 9


def test_a_stream_that_changes_size_is_scaled_to_its_first_frame(tmp_path):
    large = footage.clip(tmp_path, "h264 bare", count=10).read_bytes()
    frames = (footage.numbered(number, (128, 96)) for number in range(10, 20))
    small = footage.write(tmp_path / "other.h264", frames, "h264 bare").read_bytes()
    path = tmp_path / "both.h264"
    path.write_bytes(large + small)
    video = VideoFile(path)
    assert video.size_wh == footage.SIZE_WH
    assert numbers(video) == list(range(20))
    assert video[15].shape == video[0].shape


@pytest.mark.parametrize("size_wh", [(63, 47), (65, 48), (64, 33), (17, 9)])
@pytest.mark.parametrize(
    ("coding", "pixels"), [("vp9", "yuv420p"), ("h264", "yuv444p"), ("ffv1", "yuv420p"), ("gif", "rgb8")]
)
def test_odd_sizes(tmp_path, size_wh, coding, pixels):
    path = tmp_path / f"odd{footage.CODINGS[coding][0]}"
    footage.write(path, (footage.numbered(number, size_wh) for number in range(9)), coding, pixels=pixels)
    video = VideoFile(path)
    assert video.size_wh == size_wh
    assert video[4].shape == (size_wh[1], size_wh[0], 3)
    assert numbers(video) == list(range(9))


def corners(frame):
    """The upper left, upper right, lower left and lower right quarters' mean brightness, as four letters."""
    height, width = frame.shape[:2]
    quarters = [frame[y:, x:][: height // 2, : width // 2] for y in (0, height // 2) for x in (0, width // 2)]
    return "".join(
        "abcd"[int(np.argmin(np.abs(np.array([30, 90, 150, 220]) - quarter.mean())))] for quarter in quarters
    )


def quarters():
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24, :32], frame[:24, 32:], frame[24:, :32], frame[24:, 32:] = 30, 90, 150, 220
    return frame


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), "abcd"),
        ((0, 1, -1, 0), "cadb"),  # a phone held upright: the left column becomes the upper row
        ((-1, 0, 0, -1), "dcba"),
        ((0, -1, 1, 0), "bdac"),
        ((-1, 0, 0, 1), "badc"),
        ((1, 0, 0, -1), "cdab"),
        ((0, 1, 1, 0), "acbd"),
        ((0, -1, -1, 0), "dbca"),
    ],
)
@pytest.mark.parametrize("coding", ["h264", "hevc", "mjpeg"])
def test_turned_and_mirrored_videos_are_shown_upright(tmp_path, matrix, shown, coding):
    a, b, c, d = (entry << 16 for entry in matrix)
    path = tmp_path / f"turned{footage.CODINGS[coding][0]}"
    footage.write(path, [quarters()] * 5, coding, matrix=[a, b, 0, c, d, 0, 0, 0, 1 << 30])
    video = VideoFile(path)
    assert corners(video[3]) == shown
    assert video.size_wh == video[0].shape[1::-1] == ((64, 48) if matrix[0] else (48, 64))
    assert video[0].flags.c_contiguous


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turning_agrees_with_the_angle_that_pyav_reads(degrees):
    # PyAV's angle turns anticlockwise, as numpy's rot90 does.
    matrix = TURNED[(360 - degrees) % 360]
    assert np.array_equal(videofile._upright(quarters(), matrix), np.rot90(quarters(), degrees // 90))


def see_through(number):
    """A numbered frame whose lower half is wholly transparent black."""
    frame = np.zeros((48, 64, 4), np.uint8)
    frame[:24, :, :3] = footage.numbered(number)[:24]
    frame[:24, :, 3] = 255
    return frame


@pytest.mark.parametrize(
    ("name", "coding", "pixels"),
    [("a.webm", "vp9", "yuva420p"), ("a.webm", "vp8", "yuva420p"), ("a.mkv", "ffv1", "bgra")],
)
def test_transparency_is_shown_over_white(tmp_path, name, coding, pixels):
    video = VideoFile(footage.write(tmp_path / name, map(see_through, range(COUNT)), coding, pixels=pixels))
    assert len(video) == COUNT
    for index in np.random.default_rng(0).permutation(COUNT):
        frame = video[index]
        assert footage.number_of(frame[:20]) == index
        assert frame[30:].min() > 240


def test_half_transparent_is_half_white(tmp_path):
    frame = np.full((48, 64, 4), (255, 0, 0, 128), np.uint8)
    video = VideoFile(footage.write(tmp_path / "half.mkv", [frame], "ffv1", pixels="bgra"))
    assert video[0][10, 10].tolist() == [255, 127, 127]


def test_transparent_gif_is_shown_over_white(tmp_path):
    from PIL import Image

    stills = [Image.fromarray(see_through(number)) for number in range(20)]
    path = tmp_path / "clear.gif"
    stills[0].save(path, save_all=True, append_images=stills[1:], duration=100, disposal=2, loop=0)
    video = VideoFile(path)
    assert len(video) == 20
    for index in (0, 19, 7):
        assert footage.number_of(video[index][:20]) == index
        assert video[index][30:].min() == 255


@pytest.mark.parametrize("share", [1, 0.7])
@pytest.mark.parametrize("name", ["moving.gif", "moving.png"])
def test_video_file_incremental_frames_in_any_order(tmp_path, name, share):
    from PIL import Image

    # Alternately a whole picture and one that changes only a corner of it.
    frames = [footage.numbered(number // 2 + 1) for number in range(30)]
    for frame in frames[1::2]:
        frame[:8, :8] = (250, 0, 0)
    stills = [Image.fromarray(frame) for frame in frames]
    path = tmp_path / name
    stills[0].save(path, save_all=True, append_images=stills[1:], duration=100)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    video = VideoFile(path)
    assert len(video) == 30 if share == 1 else 10 < len(video) < 30
    whole = len(video) - (share != 1)
    for index in np.random.default_rng(0).permutation(whole):
        assert np.abs(video[index].astype(int) - frames[index]).max() < 12


@pytest.mark.parametrize("name", ["a:b.mp4", "100%03d.mp4", "with space.mp4", "http:x.mp4", "ünï.mp4"])
def test_any_file_name_will_do(tmp_path, name, monkeypatch):
    footage.clip(tmp_path, count=3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(VideoFile(name)) == len(VideoFile(tmp_path / name)) == 3


def test_video_file_comment_is_the_one_written(tmp_path):
    for comment in ("a tag", ""):
        write_video(tmp_path / "clip.mp4", np.zeros((2, 8, 8, 3), np.uint8), 10.0, comment=comment)
        assert pickle.loads(pickle.dumps(VideoFile(tmp_path / "clip.mp4"))).comment == comment


def test_a_single_frame_is_a_video(tmp_path):
    video = VideoFile(footage.clip(tmp_path, count=1))
    assert len(video) == 1
    assert video.time_of(0) == 0
    assert video.fps == pytest.approx(10)


def sound_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        noise.rate = 8000
        container.mux(stream.encode(noise))
        container.mux(stream.encode(None))


def without_an_index(path):
    content = footage.clip(path.parent, count=20).read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])


def every_packet_blank(path):
    footage.clip(path.parent, "mjpeg", count=5).rename(path)
    for position, size, _ in footage.packets(path):
        footage.overwrite(path, position, bytes(size))


@pytest.mark.parametrize(
    ("name", "make", "complaint"),
    [
        ("missing.mp4", lambda path: None, "does not exist or is not a file"),
        ("x" * 300, lambda path: None, "does not exist or is not a file"),
        ("folder.mp4", lambda path: path.mkdir(), "does not exist or is not a file"),
        ("empty.mp4", lambda path: path.touch(), "is not a readable video"),
        ("text.mp4", lambda path: path.write_text("not a video\n" * 50), "is not a readable video|has no video track"),
        ("text.txt", lambda path: path.write_text("not a video\n" * 50), "is not a readable video|has no video track"),
        (
            "noise.mp4",
            lambda path: path.write_bytes(np.random.default_rng(0).bytes(20000)),
            "is not a readable video|no video",
        ),
        ("sound.wav", sound_only, "has no video track"),
        ("cut.mp4", without_an_index, "is not a readable video"),
        ("blank.mov", every_packet_blank, "has no frame that can be decoded"),
    ],
)
def test_video_file_not_a_video_raises(tmp_path, name, make, complaint):
    path = tmp_path / name
    make(path)
    with pytest.raises(VideoError, match=complaint) as caught:
        VideoFile(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_video_file_cover_image_is_not_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(footage.numbered(1), format="rgb24")))
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        noise.rate = 8000
        container.mux([*sound.encode(noise), *sound.encode(None)])
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    with pytest.raises(VideoError, match="has no video track"):
        VideoFile(path)


def test_video_file_keyframes_are_compared_on_the_first_long_jump_only(tmp_path, monkeypatch):
    path = footage.write(
        tmp_path / "clip.avi", map(footage.lively, range(30)), ("", "ffv1", "yuv420p", {"g": "5", "level": "3"})
    )
    monkeypatch.setattr(videofile, "_LONG_WAY", 8)
    video, compared = VideoFile(path), []
    monkeypatch.setattr(video, "_compare_keyframes", lambda: compared.append(1) or VideoFile._compare_keyframes(video))
    for index, entries in ((7, [0]), (25, [0, 5, 10, 15, 20, 25]), (9, [0, 5, 10, 15, 20, 25])):
        assert video[index].shape == (48, 64, 3)
        assert video._index.entries == entries
        video.close()
    assert len(compared) == 1


def test_video_file_times_invented_for_reordered_frames_are_not_believed(tmp_path):
    # AVI has no presentation times. The last group has no reordered frames, so decoding both ends does not show it.
    frames = (footage.numbered(number) for number in range(13))
    video = VideoFile(footage.write(tmp_path / "clip.avi", frames, "h264", g="3", bf="2"))
    assert [footage.number_of(video[index]) for index in (1, 2, 11, 3)] == [1, 2, 11, 3]
    assert numbers(video) == list(range(13))


PLAYLISTS = {
    "list.ffconcat": "ffconcat version 1.0\nfile clip.mp4\n",
    "list.mp4": "ffconcat version 1.0\nfile clip.mp4\nfile clip.mp4\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.6,\nclip.ts\n#EXT-X-ENDLIST\n",
    "net.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.6,\nhttp://127.0.0.1:9/clip.ts\n#EXT-X-ENDLIST\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_video_file_that_refers_to_others_raises(tmp_path, name):
    footage.clip(tmp_path, count=3)
    footage.clip(tmp_path, "h264 transport stream", count=3)
    (tmp_path / name).write_text(PLAYLISTS[name])
    with pytest.raises(VideoError, match="refers to other files"):
        VideoFile(tmp_path / name)


def test_video_file_name_like_a_pattern_of_pictures_does_not_read_others(tmp_path):
    from PIL import Image

    for name in ("f%d.png", "f1.png", "f2.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    with pytest.raises(VideoError, match="refers to other files"):
        VideoFile(tmp_path / "f%d.png")


@pytest.mark.parametrize("coding", ["h264", "vp9", "gif", "h264 transport stream", "mpeg4", "av1"])
def test_video_file_frames_of_too_many_pixels_raise(tmp_path, monkeypatch, coding):
    path = footage.clip(tmp_path, coding, count=3)
    assert len(VideoFile(path)) == 3
    monkeypatch.setenv("THINKSEG_MAX_PIXELS", str(64 * 48 - 1))
    with pytest.raises(VideoError, match=r"3071 pixels.*THINKSEG_MAX_PIXELS") as caught:
        VideoFile(path)
    assert "\n" not in str(caught.value)


def test_video_file_later_frames_of_too_many_pixels_are_not_decoded(tmp_path, monkeypatch):
    small = footage.clip(tmp_path, "h264 bare", count=10).read_bytes()
    frames = (footage.numbered(number, (128, 96)) for number in range(10, 20))
    large = footage.write(tmp_path / "other.h264", frames, "h264 bare").read_bytes()
    path = tmp_path / "both.h264"
    path.write_bytes(small + large)
    monkeypatch.setenv("THINKSEG_MAX_PIXELS", str(64 * 48))
    assert numbers(VideoFile(path)) == list(range(10))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_video_file_frame_with_exif_is_upright(tmp_path, orientation):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(quarters()).save(tmp_path / "0.mjpeg", "JPEG", exif=exif)
    shown = {1: "abcd", 3: "dcba", 6: "cadb", 8: "bdac"}[orientation]
    assert corners(VideoFile(tmp_path / "0.mjpeg")[0]) == shown
