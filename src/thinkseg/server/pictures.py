"""Pictures as they come in requests: a data URL in, pixels out. Nothing is fetched from anywhere."""

from __future__ import annotations

import base64
import binascii
import io
import re
import struct

import numpy as np

from thinkseg.server.limits import RefusedError

FORMATS = ("PNG", "JPEG", "WEBP")
"""What is decoded. The library knows dozens more, and every decoder is one more way in."""

_HEAD = re.compile(r"data:image/(?:png|jpe?g|webp);base64,", re.IGNORECASE)


def read_picture(url: str, max_side: int, max_pixels: int) -> np.ndarray:
    """The picture inside a data URL, uint8 RGB (H, W, 3). Its size is known before any pixel is decoded.

    Raises RefusedError if it is none, is of another kind, or is too large.
    """
    from PIL import Image

    head = _HEAD.match(url)
    if not head:
        raise RefusedError(
            "pictures come inside the request, as data:image/png;base64,... (or jpeg, webp); no address is fetched",
            code="invalid_image_url",
            param="messages",
        )
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if max(width, height) > max_side or width * height > max_pixels:
                raise RefusedError(
                    f"a picture of {width}x{height} is too large: sides may be up to {max_side}, and all pictures of a"
                    " request share a limit of pixels",
                    code="image_too_large",
                    param="messages",
                )
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, struct.error, binascii.Error, Image.DecompressionBombError) as error:
        # All of these are how the decoders say that a file is broken.
        said = str(error).splitlines()
        raise RefusedError(
            f"a picture cannot be decoded: {said[0][:100] if said else 'it is broken'}",
            code="invalid_image",
            param="messages",
        ) from None


def fitted(image: np.ndarray, multiple: int) -> np.ndarray:
    """A picture with its sides rounded to what a model can see, as other servers do; itself if they are so already."""
    height, width = image.shape[:2]
    size_wh = tuple(max(multiple, round(side / multiple) * multiple) for side in (width, height))
    if size_wh == (width, height):
        return image
    from PIL import Image

    return np.array(Image.fromarray(image).resize(size_wh, Image.Resampling.BICUBIC))
