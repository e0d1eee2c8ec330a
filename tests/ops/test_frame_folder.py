"""Which files of a folder are frames, their order and their names."""

import os

import numpy as np
import pytest
from PIL import Image

import footage
from thinkseg.errors import VideoError
from thinkseg.ops.frame_folder import FrameFolder, frame_names, image_names
from thinkseg.ops.video import ArrayFrames, open_video


def save(path, frame, **settings):
    Image.fromarray(frame).save(path, **settings)
    return path


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "frames"
    place.mkdir()
    for number in range(12):
        save(place / f"{number}.png", footage.numbered(number))
    return place


def test_folder_is_read_in_natural_order(folder):
    video = open_video(folder)
    assert [footage.number_of(frame) for frame in video.read(range(len(video)))] == list(range(12))
    assert [footage.number_of(frame) for frame in video.read([11, 0, 5, 5])] == [11, 0, 5, 5]
    assert (video.name, video.size_wh, video.fps, len(video)) == ("frames", footage.SIZE_WH, None, 12)
    assert video.time_of(3) is None


def test_open_video_folder_mixes_suffixes_and_skips_other_files(tmp_path):
    save(tmp_path / "a10.JPG", footage.numbered(10))
    save(tmp_path / "a9.jpeg", footage.numbered(9))
    save(tmp_path / "a011.png", footage.numbered(11))
    save(tmp_path / ".a1.png", footage.numbered(1))
    (tmp_path / "a2.png").mkdir()
    (tmp_path / "notes.txt").write_text("not a frame")
    video = open_video(str(tmp_path))
    assert [footage.number_of(frame) for frame in video.read(range(len(video)))] == [9, 10, 11]


def test_named_frames_keep_their_order(folder):
    video = FrameFolder([folder / "7.png", folder / "2.png"])
    assert [footage.number_of(frame) for frame in video.read([0, 1])] == [7, 2]
    assert video.name == "frames"


def odd_size(folder):
    save(folder / "5.png", footage.numbered(5, (32, 48)))
    return "5.png is 32x48, but 0.png is 64x48"


def not_a_picture(folder):
    (folder / "5.png").write_bytes(b"no picture")
    return "5.png: not a readable image"


def no_frames(folder):
    for file in folder.iterdir():
        file.unlink()
    (folder / "readme.txt").touch()
    return r"has no frames; put \.jpg"


@pytest.mark.parametrize("spoil", [odd_size, not_a_picture, no_frames])
def test_open_video_invalid_folder_raises(folder, spoil):
    complaint = spoil(folder)
    with pytest.raises(VideoError, match=complaint):
        open_video(folder)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_frame_folder_damaged_image_raises_when_read(tmp_path, suffix):
    path = save(tmp_path / f"0.{suffix}", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:900])
    video = open_video(tmp_path)
    with pytest.raises(VideoError, match=f"0.{suffix}: image is damaged"):
        video[0]


def test_frame_folder_other_size_raises_when_read(folder):
    odd_size(folder)
    video = FrameFolder([folder / "0.png", folder / "5.png"])
    with pytest.raises(VideoError, match="give frames of one size"):
        video[1]


@pytest.mark.parametrize("index", [-1, 12])
def test_frame_folder_index_outside_raises(folder, index):
    video = open_video(folder)
    with pytest.raises(IndexError):
        video[index]
    with pytest.raises(IndexError):
        video.time_of(index)


def test_frame_folder_without_files_raises():
    with pytest.raises(VideoError, match="at least one image"):
        FrameFolder([])


def touch(folder, *names):
    """Frames of 2x2 pixels, whose gray level is their number in this order; a name that ends in / is a folder."""
    for number, name in enumerate(names):
        if name.endswith("/"):
            (folder / name).mkdir()
        elif Image.registered_extensions().get(os.path.splitext(name)[1].lower()):
            Image.new("L", (2, 2), number).save(folder / name)
        else:
            (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("1.jpg", "2.jpeg", "3.jpe", "4.jfif", "5.png", "6.webp", "7.bmp", "8.tif", "9.tiff", "10.gif", "11.avif"),
        ("0.PNG", "1.Png", "2.WEBP", "3.TIF"),
        ("a.png", "a2.png", "a10.png", "b1.b.png", "b1.c2.png"),
        tuple(f"shot {number} of 11 (cam2).png" for number in range(1, 12)),
        ("é 1.png", "é 2.png", "é 10.png"),
        ("7.png", "9.png", "0011.png"),
    ],
)
def test_open_video_frames_are_complete_and_in_order(tmp_path, names):
    touch(tmp_path, *names)
    touch(tmp_path, ".hidden.png", "._1.jpg", "Thumbs.db", "desktop.ini", "readme.txt", "sub/", "c.png/")
    video = open_video(tmp_path)
    assert [path.name for path in video.paths] == list(names)
    assert all(abs(int(frame[0, 0, 0]) - number) <= 2 for number, frame in enumerate(video.read(range(len(video)))))


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("0.jpg", "0.png"), r"0\.jpg and 0\.png differ only in suffix or case; keep one file per frame"),
        (("A.jpg", "a.png"), r"A\.jpg and a\.png differ only in suffix or case"),
        (("1.jpg", "01.jpg"), r"01\.jpg and 1\.jpg have the same number"),
        (
            ("1.jpg", "1_mask.png", "2.jpg", "2_mask.png"),
            r"1\.jpg and 1_mask\.png have the same number; keep one series",
        ),
        (("rgb_1.png", "depth_1.png"), r"depth_1\.png and rgb_1\.png have the same number"),
        (("1.png", "2.heic"), r"images of this type are not read \(2\.heic\); convert them to \.png"),
        (("1.HEIC",), r"images of this type are not read \(1\.HEIC\)"),
        (("a.mp4", "b.MOV", "poster.png"), r"holds images and videos \(a\.mp4, b\.MOV\); give one video, or move"),
        (("a.mp4", "b.avi", "c.mkv", "d.webm"), r"holds videos \(a\.mp4, b\.avi, c\.mkv, \.\.\.\), not frames"),
        (("a/", "b/"), "has no frames itself, only the folders a, b; give one of them"),
        (("notes.txt", ".1.png"), r"has no frames; put \.jpg"),
    ],
)
def test_open_video_ambiguous_folder_raises(tmp_path, names, complaint):
    touch(tmp_path, *names)
    with pytest.raises(VideoError, match=complaint) as caught:
        open_video(tmp_path)
    assert "\n" not in str(caught.value)


def test_open_video_names_equal_in_unicode_raise(tmp_path):
    touch(tmp_path, "\u00e9.png", "e\u0301.png")
    with pytest.raises(VideoError, match="differ only in suffix or case"):
        open_video(tmp_path)


def test_open_video_broken_link_raises(tmp_path):
    touch(tmp_path, "0.png")
    (tmp_path / "1.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(VideoError, match=r"not a file, or a broken link \(1\.png\)"):
        open_video(tmp_path)


def test_open_video_link_to_frame_is_read(tmp_path):
    touch(tmp_path, "0.png")
    (tmp_path / "1.png").symlink_to(tmp_path / "0.png")
    assert len(open_video(tmp_path)) == 2


def test_frame_names_folder_gives_stems(tmp_path):
    touch(tmp_path, "a.b 1.png", "a.b 2.jpg", "\u00e9 10.png")
    assert frame_names(open_video(tmp_path)) == ("a.b 1", "a.b 2", "\u00e9 10")


def test_frame_names_equal_stems_or_arrays_give_indices(tmp_path):
    for name in ("x", "y"):
        touch(tmp_path, f"{name}/", f"{name}/0.png")
    assert frame_names(FrameFolder([tmp_path / "x" / "0.png", tmp_path / "y" / "0.png"])) == ("00000", "00001")
    assert frame_names(ArrayFrames(np.zeros((2, 1, 1, 3), np.uint8))) == ("00000", "00001")


def test_open_video_one_image_is_read_like_a_frame(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "photo.jpg", footage.numbered(5), exif=exif)
    video = open_video(path)
    assert (video.name, len(video), video.size_wh, frame_names(video)) == ("photo", 1, (48, 64), ("photo",))
    np.testing.assert_array_equal(video[0], open_video(tmp_path)[0])


def test_open_video_animation_is_a_video(tmp_path):
    images = [Image.fromarray(footage.numbered(number)) for number in (3, 200)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    assert [footage.number_of(frame) for frame in open_video(tmp_path / "a.gif").read([0, 1])] == [3, 200]


@pytest.mark.parametrize("name", ["a.png", "a.mp4"])
def test_open_video_no_image_is_no_video(tmp_path, name):
    (tmp_path / name).write_bytes(b"neither")
    with pytest.raises(VideoError, match=name):
        open_video(tmp_path / name)


def test_image_names_of_frames_without_files_are_numbered(tmp_path):
    assert image_names(ArrayFrames(np.zeros((2, 1, 1, 3), np.uint8))) == ("00000.jpg", "00001.jpg")
    for name in ("7.png", "8.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    folder = open_video(tmp_path)
    assert (image_names(folder), folder.path) == (("7.png", "8.png"), tmp_path)
