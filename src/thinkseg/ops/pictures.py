"""Reads image files. In: a size from a header. Out: nothing, or an error for an image that would exhaust the memory."""

from __future__ import annotations

import os
import re
from pathlib import Path

from thinkseg.errors import SettingsError, VideoError

DEFAULT_MAX_PIXELS = 2**26
"""Pixels of one image or frame, unless `MAX_PIXELS_VARIABLE` is set."""

MAX_PIXELS_VARIABLE = "THINKSEG_MAX_PIXELS"
"""Environment variable with another limit."""


def check_pixels(size_wh: tuple[int, int], path: str | Path) -> None:
    """Raises VideoError if an image or a frame has more pixels than the limit; to be called before it is decoded.

    size_wh: the size that the header of `path` states. Raises SettingsError if the limit that is set is invalid.
    """
    (width, height), limit = size_wh, max_pixels()
    if width * height > limit:
        raise VideoError(
            f"{path}: {width}x{height} are more than {limit} pixels; make it smaller, or set {MAX_PIXELS_VARIABLE}"
        )


def max_pixels() -> int:
    """Returns the most pixels that an image or a frame may have. Raises SettingsError for an invalid variable."""
    text = os.environ.get(MAX_PIXELS_VARIABLE) or str(DEFAULT_MAX_PIXELS)
    if not re.fullmatch("[1-9][0-9]{0,17}", text):
        raise SettingsError(
            f"{MAX_PIXELS_VARIABLE}: {text!r} is not a number of pixels; give an integer > 0, or unset it"
        )
    return int(text)
