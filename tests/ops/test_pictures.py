"""Image files of every form, and their limits."""

import pytest

from thinkseg.errors import SettingsError, VideoError
from thinkseg.ops.pictures import check_pixels


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
