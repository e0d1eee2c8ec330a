"""Image files of every form, and their limits."""

import struct
import subprocess
import sys
import warnings
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import footage
from thinkseg.errors import SettingsError, VideoError
from thinkseg.ops.frame_folder import FrameFolder
from thinkseg.ops.pictures import check_pixels, load_picture, picture_size, read_picture

TURNED = Image.Exif()
TURNED[0x0112] = 6


def content(picture, kind="PNG", **settings):
    file = BytesIO()
    picture.save(file, kind, **settings)
    return file.getvalue()


def picture(mode="RGB"):
    """A numbered frame, whose stripes have two colors."""
    return Image.fromarray(footage.numbered(5)).convert(mode)


def with_chunk(png, kind, data, before=b"IEND"):
    """A PNG file with one more chunk."""
    at = png.index(before) - 4
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:at] + chunk + png[at:]


def of_size(width, height):
    """A PNG file that states a size and has no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return with_chunk(
        with_chunk(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 0) + b"IEND\xaeB`\x82", b"IHDR", header), b"IDAT", b""
    )


def sixteen_bits(transparent=None):
    levels = np.array([[0, 256, 30000, 65535]], np.uint16)
    return content(Image.fromarray(levels), **({} if transparent is None else {"transparency": transparent}))


KINDS = {
    "jpeg": (content(picture(), "JPEG", quality=95), ".jpg"),
    "jpeg turned": (content(picture(), "JPEG", quality=95, exif=TURNED), ".jpg"),
    "jpeg cmyk": (content(picture("CMYK"), "JPEG", quality=95), ".jpg"),
    "jpeg gray": (content(picture("L"), "JPEG", quality=95), ".jpg"),
    "png turned": (content(picture(), exif=TURNED), ".png"),
    "png turned after its pixels": (with_chunk(content(picture()), b"eXIf", TURNED.tobytes()[6:]), ".png"),
    "png 1 bit": (content(picture("1")), ".png"),
    "png gray": (content(picture("L")), ".png"),
    "png gray and alpha": (content(picture("LA")), ".png"),
    "png palette": (content(picture("P")), ".png"),
    "png palette with transparency": (content(picture("P"), transparency=250), ".png"),
    "png 16 bits": (sixteen_bits(), ".png"),
    "png 16 bits with transparency": (sixteen_bits(256), ".png"),
    "webp turned": (content(picture(), "WEBP", lossless=True, exif=TURNED), ".webp"),
    "tiff turned": (content(picture(), "TIFF", exif=TURNED), ".tif"),
    "tiff cmyk": (content(picture("CMYK"), "TIFF"), ".tif"),
    "avif turned": (content(picture(), "AVIF", quality=95, exif=TURNED), ".avif"),
    "bmp": (content(picture(), "BMP"), ".bmp"),
    "gif": (content(picture("P"), "GIF"), ".gif"),
    "ppm": (content(picture(), "PPM"), ".ppm"),
    "pgm 16 bits": (b"P5 2 1 65535 \x00\x00\xff\xff", ".pgm"),
}


@pytest.mark.parametrize("name", KINDS)
def test_read_picture_frame_file_and_bytes_are_equal(tmp_path, name):
    data, suffix = KINDS[name]
    (tmp_path / f"0{suffix}").write_bytes(data)
    frames = FrameFolder([tmp_path / f"0{suffix}"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = read_picture(data)
        np.testing.assert_array_equal(frame, frames[0])
    assert (frame.dtype, frame.shape) == (np.uint8, (*frames.size_wh[::-1], 3))
    assert picture_size(data) == frames.size_wh
    if "turned" in name:
        frame = np.rot90(frame)
    if "16" not in name:
        assert footage.number_of(frame) == 5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_read_picture_every_orientation_is_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    corner = np.zeros((16, 32, 3), np.uint8)
    corner[:8, :8] = 255
    frame = read_picture(content(Image.fromarray(corner), kind, exif=exif))
    assert frame.shape == ((32, 16, 3) if orientation >= 5 else (16, 32, 3))
    right, low = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    assert frame[-4 if low else 4, -4 if right else 4].min() > 200
    assert frame[4 if low else -4, 4 if right else -4].max() < 50


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"nonsense"])
def test_read_picture_invalid_exif_is_ignored(exif):
    frame = read_picture(content(picture(), "JPEG", quality=95, exif=exif))
    assert footage.number_of(frame) == 5


def test_read_picture_transparent_pixels_are_white():
    rgba = np.array([[(255, 0, 0, 255), (0, 0, 0, 0), (0, 0, 0, 51)]], np.uint8)
    assert read_picture(content(Image.fromarray(rgba))).tolist() == [[[255, 0, 0], [255] * 3, [204] * 3]]
    gray = Image.merge("LA", [Image.new("L", (1, 1), 0), Image.new("L", (1, 1), 0)])
    assert read_picture(content(gray)).tolist() == [[[255] * 3]]
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert read_picture(content(palette, transparency=1)).tolist() == [[[255] * 3]]


def test_read_picture_16_bits_are_scaled():
    assert read_picture(sixteen_bits())[0, :, 0].tolist() == [0, 1, 117, 255]
    assert read_picture(sixteen_bits(256))[0, :, 0].tolist() == [0, 255, 117, 255]


def test_read_picture_cmyk_jpeg_is_not_inverted():
    assert read_picture(content(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))[4, 4].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_read_picture_32_bits_raise(mode):
    with pytest.raises(VideoError, match=r"^image: 32 bits per pixel do not say what is white; convert it to 8 bits$"):
        read_picture(content(Image.new(mode, (2, 2), 1), "TIFF"))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_read_picture_several_images_raise(tmp_path, kind):
    images = [Image.new("RGB", (8, 8), (number, 0, 0)) for number in (0, 99, 200)]
    data = content(images[0], kind, save_all=True, append_images=images[1:])
    for read in (read_picture, picture_size):
        with pytest.raises(VideoError, match=r"^a\.gif: holds several images; save each as a file of its own$"):
            read(data, "a.gif")


def test_read_picture_phone_jpeg_with_second_image_reads_first():
    images = [picture(), Image.new("RGB", (8, 8))]
    data = content(images[0], "MPO", save_all=True, append_images=images[1:], quality=95)
    assert footage.number_of(read_picture(data)) == 5


@pytest.mark.parametrize(
    "data", [b"", b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x89PNG\r\n\x1a\n"]
)
@pytest.mark.parametrize("read", [read_picture, picture_size, load_picture])
def test_read_picture_not_an_image_raises(data, read):
    with pytest.raises(VideoError, match=r"^image: not a readable image; replace or remove it$"):
        read(data)


def test_read_picture_missing_or_unopenable_path_raises(tmp_path):
    with pytest.raises(VideoError, match=r"a\.png: no such image"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(VideoError, match="cannot be opened"):
        picture_size(tmp_path)
    with pytest.raises(VideoError, match="cannot be opened"):
        picture_size("a\0.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
def test_read_picture_truncated_raises(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    data = content(noise, kind)
    with pytest.raises(VideoError, match=r"^image: (image is damaged|not a readable image); replace"):
        read_picture(data[: len(data) // 2])


def test_check_pixels_at_limit_passes_beyond_raises():
    check_pixels((2**13, 2**13), "a.png")
    with pytest.raises(VideoError, match=r"^a\.png: 8192x8193 are more than 67108864 pixels; make it smaller"):
        check_pixels((2**13, 2**13 + 1), "a.png")


def test_check_pixels_variable_changes_limit(monkeypatch):
    monkeypatch.setenv("THINKSEG_MAX_PIXELS", "12")
    check_pixels((4, 3), "a.png")
    with pytest.raises(VideoError, match="4x4 are more than 12 pixels"):
        check_pixels((4, 4), "a.png")


@pytest.mark.parametrize("value", ["0", "-1", "1e9", "many", " 5", "9" * 30, "4x4"])
def test_check_pixels_invalid_variable_raises(monkeypatch, value):
    monkeypatch.setenv("THINKSEG_MAX_PIXELS", value)
    with pytest.raises(SettingsError, match=r"THINKSEG_MAX_PIXELS: .* is not a number of pixels"):
        check_pixels((1, 1), "a.png")


@pytest.mark.parametrize("side", [8193, 12_000, 40_000, 2**31 - 1])
@pytest.mark.parametrize("read", [read_picture, picture_size, load_picture])
def test_read_picture_too_many_pixels_raises_without_warnings(side, read):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(VideoError, match=f"^image: {side}x{side} are more than 67108864 pixels; make it smaller"):
            read(of_size(side, side))


def test_picture_size_limit_of_pillow_does_not_apply(monkeypatch):
    monkeypatch.setenv("THINKSEG_MAX_PIXELS", str(10**10))
    assert picture_size(of_size(40_000, 40_000)) == (40_000, 40_000)
    assert Image.MAX_IMAGE_PIXELS is not None


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_read_picture_compressed_text_of_many_bytes_raises(kind):
    bomb = b"Comment\0\0" + zlib.compress(bytes(8 * PngImagePlugin.MAX_TEXT_CHUNK))
    with pytest.raises(VideoError, match="not a readable image"):
        read_picture(with_chunk(content(picture()), kind, bomb, before=b"IDAT"))


def test_read_picture_damaged_tiff_prints_nothing():
    data = bytearray(content(picture(), "TIFF"))
    at = data.index(struct.pack("<HHI", 277, 3, 1))
    data[at + 8 : at + 10] = b"\xff\x7f"
    program = "import sys; from thinkseg.ops.pictures import read_picture\n"
    program += "try: read_picture(sys.stdin.buffer.read())\nexcept Exception as error: print(error)"
    result = subprocess.run([sys.executable, "-c", program], input=bytes(data), capture_output=True, check=True)
    assert (result.stdout, result.stderr) == (b"image: not a readable image; replace or remove it\n", b"")
