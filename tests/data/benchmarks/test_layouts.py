"""Common layouts of frames and masks."""

import pytest

import layouts
from layouts import FRAMES, LABELS, LEFT, SIZE_WH, write_frames, write_labels, write_mask
from thinkseg.data.benchmarks.base import Video
from thinkseg.data.benchmarks.layouts import JpegFolders, LabelFiles, MaskFolders, RleFiles, jpeg_names
from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.mask_dict import MaskFile

CLIP = Video("sub/clip", FRAMES)


def test_jpeg_folders_frames(tmp_path):
    write_frames(tmp_path / "sub" / "clip")
    files = JpegFolders(tmp_path)
    video = files.frames(CLIP)
    assert (video.name, len(video), video.size_wh) == ("sub/clip", 3, SIZE_WH)
    assert list(files.frame_paths(CLIP)) == [tmp_path / "sub" / "clip" / f"{name}.jpg" for name in FRAMES]
    assert files.foreground(CLIP, SIZE_WH) is None


def test_jpeg_folders_track_raises(tmp_path):
    with pytest.raises(DatasetFileError, match="no masks of object 1"):
        JpegFolders(tmp_path).track(CLIP, "1", SIZE_WH)


def test_rle_files_track_reads_mask_dict(tmp_path):
    layouts.write_json(tmp_path / "masks.json", {"7": [layouts.rle(LEFT), None, None]})
    files = RleFiles(tmp_path, MaskFile(tmp_path / "masks.json", "["))
    assert files.track(CLIP, "7", SIZE_WH)[0] == layouts.rle(LEFT)
    assert files.foreground(CLIP, SIZE_WH) is None
    with pytest.raises(DatasetFileError, match=r"masks\.json: no annotation 8, needed for video sub/clip"):
        files.track(CLIP, "8", SIZE_WH)


def test_label_files_track_reads_label_maps(tmp_path):
    write_labels(tmp_path / "sub" / "clip" / "00001.png", LABELS)
    files = LabelFiles(tmp_path / "frames", tmp_path)
    assert list(files.map_paths(CLIP))[1] == tmp_path / "sub" / "clip" / "00001.png"
    assert files.track(CLIP, "1", SIZE_WH)[1] == layouts.rle(LEFT)


def test_mask_folders_track_reads_mask_images(tmp_path):
    write_mask(tmp_path / "cat" / "00002.png", LEFT)
    write_mask(tmp_path / "cat" / "00000.png", LEFT)
    files = MaskFolders(tmp_path, tmp_path)
    assert files.annotated(CLIP, "cat") == (0, 2)
    assert list(files.track(CLIP, "cat", SIZE_WH)) == [layouts.rle(LEFT), None, layouts.rle(LEFT)]


def test_jpeg_names_returns_sorted_jpg_files(tmp_path):
    write_frames(tmp_path, ("00010", "00009"))
    for name in ("._00009.jpg", "Thumbs.db", "notes.txt"):
        (tmp_path / name).touch()
    assert jpeg_names(tmp_path) == ("00009", "00010")


@pytest.mark.parametrize("name", ["00001.png", "00001.JPG", "00001.webp"])
def test_jpeg_names_other_image_raises(tmp_path, name):
    write_frames(tmp_path, ("00010", "00009"))
    (tmp_path / name).touch()
    with pytest.raises(DatasetFileError, match=f"{name}: not a .jpg file; frames must be .jpg files"):
        jpeg_names(tmp_path)


@pytest.mark.parametrize("name", ["00001.PNG", "00001.jpg", "00001.tif"])
def test_mask_folders_other_image_raises(tmp_path, name):
    write_mask(tmp_path / "cat" / "00000.png", LEFT)
    (tmp_path / "cat" / "._00001.png").touch()
    files = MaskFolders(tmp_path, tmp_path)
    assert files.annotated(CLIP, "cat") == (0,)
    (tmp_path / "cat" / name).touch()
    with pytest.raises(DatasetFileError, match=f"{name}: not a .png file; masks must be .png files"):
        files.annotated(CLIP, "cat")
