import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from thinkseg.models.wire import data_url
from thinkseg.server.limits import RefusedError
from thinkseg.server.pictures import fitted, read_picture
from tinymodels import picture


def as_url(image, kind, name=None):
    data = io.BytesIO()
    image.save(data, kind)
    return f"data:image/{name or kind.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"


def read(url, max_side=100, max_pixels=5_000):
    return read_picture(url, max_side, max_pixels)


def test_what_the_endpoint_policy_sends_arrives_as_it_was():
    image = picture(1, (56, 28))
    assert np.array_equal(read(data_url(image)), image)
    assert read(data_url(image, 90)).shape == image.shape


@pytest.mark.parametrize(("mode", "value"), [("L", 7), ("RGBA", (7, 7, 7, 255)), ("P", 7), ("I;16", 7), ("1", 0)])
def test_pictures_of_all_kinds_become_rgb(mode, value):
    read_image = read(as_url(Image.new(mode, (6, 4), value), "PNG"))
    assert read_image.shape == (4, 6, 3)
    assert read_image.dtype == np.uint8


def test_webp_and_jpg_are_understood():
    assert read(as_url(Image.new("RGB", (6, 4)), "WEBP")).shape == (4, 6, 3)
    assert read(as_url(Image.new("RGB", (6, 4)), "JPEG", "jpg")).shape == (4, 6, 3)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://example.org/a.png",
        "https://example.org/a.png",
        "file:///etc/passwd",
        "ftp://example.org/a.png",
        "data:text/html;base64,aGVsbG8=",
        "data:image/svg+xml;base64,aGVsbG8=",
        "data:image/png,hello",
        " data:image/png;base64,aGVsbG8=",
    ],
)
def test_nothing_is_fetched(url):
    with pytest.raises(RefusedError, match="no address is fetched") as caught:
        read(url)
    assert (caught.value.status, caught.value.code) == (400, "invalid_image_url")


@pytest.mark.parametrize(
    "url", ["data:image/png;base64,", "data:image/png;base64,!!!", "data:image/png;base64,aGVsbG8="]
)
def test_what_is_no_picture_is_refused(url):
    with pytest.raises(RefusedError, match="cannot be decoded"):
        read(url)


def test_kinds_that_are_not_asked_for_are_not_decoded():
    with pytest.raises(RefusedError, match="cannot be decoded"):
        read(as_url(Image.new("RGB", (6, 4)), "GIF", "png"))


@given(st.data())
def test_a_broken_picture_is_a_picture_or_refused(data):
    whole = bytearray(base64.b64decode(data_url(picture(0, (28, 28))).split(",")[1]))
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    for _ in range(data.draw(st.integers(0, 3))):
        if cut:
            cut[data.draw(st.integers(0, len(cut) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = read(f"data:image/png;base64,{base64.b64encode(cut).decode()}")
    except RefusedError as error:
        assert error.status == 400  # noqa: PT017
    else:
        assert image.dtype == np.uint8


@pytest.mark.parametrize("size", [(101, 1), (1, 101), (100, 51)])
def test_large_pictures_are_refused_before_they_are_decoded(size, monkeypatch):
    url = as_url(Image.new("RGB", size), "PNG")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(RefusedError, match="too large"):
        read(url)


def test_a_few_bytes_that_claim_to_be_gigabytes_are_refused():
    header = bytearray(base64.b64decode(data_url(picture(0, (28, 28))).split(",")[1]))
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(RefusedError):
        read_picture(f"data:image/png;base64,{base64.b64encode(header).decode()}", 100_000, 10**10)


@pytest.mark.parametrize(
    ("size", "becomes"), [((28, 56), (28, 56)), ((41, 43), (28, 56)), ((1, 1), (28, 28)), ((100, 70), (112, 56))]
)
def test_sides_are_rounded_to_what_the_model_sees(size, becomes):
    image = picture(0, size)
    result = fitted(image, 28)
    assert result.shape[1::-1] == becomes
    assert (result is image) == (size == becomes)
