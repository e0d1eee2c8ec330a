"""Mask images, read as the evaluators read them, and invalid files."""

import numpy as np
import pytest
from PIL import Image

from layouts import LABELS, LEFT, RIGHT, SIZE_WH, mask, write_labels, write_mask
from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.mask_images import check_size, label_map, mask_image

READERS = (check_size, label_map, mask_image)


def test_label_map_palette_returns_indices(tmp_path):
    write_labels(tmp_path / "a.png", LABELS)
    labels = label_map(tmp_path / "a.png", SIZE_WH)
    assert labels.dtype == np.uint8
    assert labels.tolist() == LABELS.tolist()


def test_label_map_gray_returns_levels(tmp_path):
    Image.fromarray(LABELS.astype(np.uint8)).save(tmp_path / "a.png")
    assert label_map(tmp_path / "a.png", SIZE_WH).tolist() == LABELS.tolist()


def test_label_map_rgb_raises(tmp_path):
    Image.new("RGB", SIZE_WH).save(tmp_path / "a.png")
    with pytest.raises(DatasetFileError, match=r"a\.png: not a label map: mode is RGB"):
        label_map(tmp_path / "a.png", SIZE_WH)


def test_mask_image_nonblack_is_inside(tmp_path):
    write_mask(tmp_path / "a.png", LEFT)
    assert mask_image(tmp_path / "a.png", SIZE_WH).tolist() == LEFT.tolist()
    Image.fromarray(LEFT.astype(np.uint8)).save(tmp_path / "b.png")
    assert mask_image(tmp_path / "b.png", SIZE_WH).tolist() == LEFT.tolist()
    Image.fromarray(LEFT[..., None] * np.array([0, 255, 0], np.uint8)).save(tmp_path / "c.png")
    assert mask_image(tmp_path / "c.png", SIZE_WH).tolist() == LEFT.tolist()


@pytest.mark.parametrize("palette", [[0, 0, 0, 128, 0, 0, 0, 128, 0], [0, 0, 0, 128, 0, 0]])
def test_mask_image_palette_with_black_0_returns_other_indices(tmp_path, palette):
    picture = Image.fromarray(LABELS.astype(np.uint8))
    picture.putpalette(palette)
    picture.save(tmp_path / "a.png")
    assert mask_image(tmp_path / "a.png", SIZE_WH).tolist() == (LABELS != 0).tolist()


@pytest.mark.parametrize(
    "palette", [[9, 9, 9, 200, 0, 0, 0, 9, 0], [0, 0, 0, 200, 0, 0, 0, 0, 0], [255, 255, 255, 0, 0, 0]]
)
def test_mask_image_palette_with_another_black_raises(tmp_path, palette):
    picture = Image.fromarray(LABELS.astype(np.uint8))
    picture.putpalette(palette)
    picture.save(tmp_path / "a.png")
    with pytest.raises(DatasetFileError, match=r"a\.png: color 0 of its palette must be black, and no other") as caught:
        mask_image(tmp_path / "a.png", SIZE_WH)
    assert caught.value.kind == "unclear_mask"


def test_mask_image_1_bit_nonblack_is_inside(tmp_path):
    Image.fromarray(LEFT).save(tmp_path / "a.png", bits=1)
    assert (tmp_path / "a.png").read_bytes()[24] == 1
    assert mask_image(tmp_path / "a.png", SIZE_WH).tolist() == LEFT.tolist()


@pytest.mark.parametrize("level", [1, 255, 256, 65535])
def test_mask_image_16_bits_every_level_is_inside(tmp_path, level):
    Image.fromarray((LEFT * level).astype(np.uint16)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[24] == 16
    assert mask_image(tmp_path / "a.png", SIZE_WH, one_value=True).tolist() == LEFT.tolist()


@pytest.mark.parametrize(("dtype", "level"), [(np.int32, 1), (np.int32, 70000), (np.float32, 0.5), (np.float32, 1.0)])
def test_mask_image_32_bits_every_level_is_inside(tmp_path, dtype, level):
    Image.fromarray((LEFT * level).astype(dtype)).save(tmp_path / "a.png", "TIFF")
    assert mask_image(tmp_path / "a.png", SIZE_WH, one_value=True).tolist() == LEFT.tolist()


@pytest.mark.parametrize("color", [(0, 0, 1), (1, 0, 0), (0, 2, 0)])
def test_mask_image_dark_color_is_inside(tmp_path, color):
    Image.fromarray(LEFT[..., None] * np.array(color, np.uint8)).save(tmp_path / "a.png")
    assert mask_image(tmp_path / "a.png", SIZE_WH).tolist() == LEFT.tolist()


def with_alpha(path, gray, alpha, mode):
    """A PNG file of gray levels and transparency, arrays (H, W)."""
    channels = [Image.fromarray(np.broadcast_to(one, LEFT.shape).astype(np.uint8)) for one in (gray, alpha)]
    Image.merge("LA", channels).convert(mode).save(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize(
    ("gray", "alpha", "expected"),
    [
        (0, LEFT * 255, LEFT),
        (255, LEFT * 255, LEFT),
        (LEFT * 255, LEFT * 128, LEFT),
        (LEFT * 255, 255, LEFT),
        (0, 255, LEFT & False),
        (0, 0, LEFT & False),
        (255, 0, LEFT & False),
        (255, 255, LEFT | True),
    ],
)
def test_mask_image_alpha_shows_object(tmp_path, mode, gray, alpha, expected):
    with_alpha(tmp_path / "a.png", gray, alpha, mode)
    assert mask_image(tmp_path / "a.png", SIZE_WH).tolist() == expected.tolist()


def test_mask_image_colors_and_alpha_differ_raises(tmp_path):
    with_alpha(tmp_path / "a.png", LEFT * 255, RIGHT * 255, "RGBA")
    with pytest.raises(DatasetFileError, match="its colors and its transparency show different masks; save it as gray"):
        mask_image(tmp_path / "a.png", SIZE_WH)


def test_mask_image_transparent_level_is_outside(tmp_path):
    Image.fromarray((LEFT * 300).astype(np.uint16)).save(tmp_path / "a.png", transparency=0)
    assert mask_image(tmp_path / "a.png", SIZE_WH).tolist() == LEFT.tolist()
    Image.fromarray((LEFT * 255).astype(np.uint8)).save(tmp_path / "a.png", transparency=0)
    assert mask_image(tmp_path / "a.png", SIZE_WH).tolist() == LEFT.tolist()


@pytest.mark.filterwarnings("error")
def test_mask_image_palette_with_transparent_background_returns_other_indices(tmp_path):
    picture = Image.fromarray(LEFT.astype(np.uint8))
    picture.putpalette([0, 0, 0, 128, 0, 0])
    picture.save(tmp_path / "a.png", transparency=b"\0\x80")
    assert mask_image(tmp_path / "a.png", SIZE_WH, one_value=True).tolist() == LEFT.tolist()


def test_mask_image_turned_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(LEFT).astype(np.uint8)).save(tmp_path / "a.png", exif=exif)
    check_size(tmp_path / "a.png", SIZE_WH)
    assert mask_image(tmp_path / "a.png", SIZE_WH).tolist() == LEFT.tolist()


@pytest.mark.parametrize("read", [label_map, mask_image])
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_readers_lossy_format_raises(tmp_path, read, kind):
    Image.fromarray((LEFT * 255).astype(np.uint8)).save(tmp_path / "a.png", kind)
    with pytest.raises(DatasetFileError, match=f"a.png: is a {kind} file, which does not keep the values of a mask"):
        read(tmp_path / "a.png", SIZE_WH)


def test_mask_image_several_values_raise_only_if_one_is_required(tmp_path):
    Image.fromarray((LEFT * 17 + RIGHT * 34).astype(np.uint8)).save(tmp_path / "a.png")
    assert mask_image(tmp_path / "a.png", SIZE_WH).tolist() == (LEFT | RIGHT).tolist()
    with pytest.raises(DatasetFileError, match=r"has the values \[17, 34\] besides 0, must have one; threshold it"):
        mask_image(tmp_path / "a.png", SIZE_WH, one_value=True)


def test_label_map_2_bits_returns_indices(tmp_path):
    picture = Image.fromarray(LABELS.astype(np.uint8))
    picture.putpalette([9, 9, 9, 200, 0, 0, 0, 0, 0])
    picture.save(tmp_path / "a.png", bits=2)
    assert (tmp_path / "a.png").read_bytes()[24] == 2
    assert label_map(tmp_path / "a.png", SIZE_WH).tolist() == LABELS.tolist()


@pytest.mark.parametrize("read", READERS)
def test_readers_other_size_raises(tmp_path, read):
    write_mask(tmp_path / "a.png", mask("##", "##", "##"))
    with pytest.raises(DatasetFileError, match=r"a\.png: mask is 2x3, its video 5x4") as caught:
        read(tmp_path / "a.png", SIZE_WH)
    assert caught.value.kind == "size_mismatch"


@pytest.mark.parametrize("read", READERS)
def test_readers_missing_or_invalid_file_raises(tmp_path, read):
    with pytest.raises(DatasetFileError, match=r"a\.png: no such mask") as caught:
        read(tmp_path / "a.png", SIZE_WH)
    assert caught.value.kind == "missing_mask"
    (tmp_path / "b.png").write_text("not a picture")
    with pytest.raises(DatasetFileError, match=r"b\.png: not a readable image"):
        read(tmp_path / "b.png", SIZE_WH)


@pytest.mark.parametrize("read", [label_map, mask_image])
def test_readers_truncated_image_raises(tmp_path, read):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    check_size(tmp_path / "a.png", (64, 64))
    with pytest.raises(DatasetFileError, match=r"a\.png: image is damaged"):
        read(tmp_path / "a.png", (64, 64))


@pytest.mark.parametrize("damage", ["length", "checksum"])
def test_mask_image_damaged_chunk_raises(tmp_path, damage):
    write_mask(tmp_path / "a.png", LEFT)
    data = bytearray((tmp_path / "a.png").read_bytes())
    at = data.index(b"IDAT")
    position, value = (at - 4, b"\x7f\xff\xff\xff") if damage == "length" else (at + 8, b"\0\0\0\0")
    data[position : position + 4] = value
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DatasetFileError, match="image is damaged"):
        mask_image(tmp_path / "a.png", SIZE_WH)
