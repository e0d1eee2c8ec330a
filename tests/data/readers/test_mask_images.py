"""Mask images, read as the evaluators read them, and invalid files."""

import numpy as np
import pytest
from PIL import Image

from layouts import LABELS, LEFT, SIZE_WH, mask, write_labels, write_mask
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


def test_mask_image_palette_uses_colors(tmp_path):
    # OpenCV, as in the evaluators, reads color 0 of the palette as gray and color 2 as black.
    write_labels(tmp_path / "a.png", LABELS)
    assert mask_image(tmp_path / "a.png", SIZE_WH).tolist() == (LABELS != 2).tolist()


def test_mask_image_1_bit_nonblack_is_inside(tmp_path):
    Image.fromarray(LEFT).save(tmp_path / "a.png", bits=1)
    assert (tmp_path / "a.png").read_bytes()[24] == 1
    assert mask_image(tmp_path / "a.png", SIZE_WH).tolist() == LEFT.tolist()


def test_mask_image_16_bits_uses_upper_8(tmp_path):
    # OpenCV, as in the evaluators, converts to 8 bits: levels below 256 become black.
    for level, expected in ((255, np.zeros_like(LEFT)), (256, LEFT), (65535, LEFT)):
        Image.fromarray((LEFT * level).astype(np.uint16)).save(tmp_path / "a.png")
        assert (tmp_path / "a.png").read_bytes()[24] == 16
        assert mask_image(tmp_path / "a.png", SIZE_WH).tolist() == expected.tolist()


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
    with pytest.raises(DatasetFileError, match=r"b\.png: mask is not a readable image"):
        read(tmp_path / "b.png", SIZE_WH)


@pytest.mark.parametrize("read", [label_map, mask_image])
def test_readers_truncated_image_raises(tmp_path, read):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    check_size(tmp_path / "a.png", (64, 64))
    with pytest.raises(DatasetFileError, match=r"a\.png: mask is not a readable image"):
        read(tmp_path / "a.png", (64, 64))


@pytest.mark.parametrize("damage", ["length", "checksum"])
def test_mask_image_damaged_chunk_raises(tmp_path, damage):
    write_mask(tmp_path / "a.png", LEFT)
    data = bytearray((tmp_path / "a.png").read_bytes())
    at = data.index(b"IDAT")
    position, value = (at - 4, b"\x7f\xff\xff\xff") if damage == "length" else (at + 8, b"\0\0\0\0")
    data[position : position + 4] = value
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DatasetFileError, match="not a readable image"):
        mask_image(tmp_path / "a.png", SIZE_WH)
