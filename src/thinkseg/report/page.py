"""HTML pages that are rendered from the templates of this package and open from disk without network access."""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from thinkseg.storage.atomic import replacing

if TYPE_CHECKING:
    from jinja2 import Environment

JPEG_QUALITY = 80


class PageImage(NamedTuple):
    """An image for the macro `strips`. src: a URL relative to the page, or a data URL."""

    src: str
    alt: str
    caption: str = ""


def write_html(path: Path, template: str, **values: Any) -> None:
    """Renders a template of this package and writes the page atomically.

    values: variables of the template, escaped as text. Raises jinja2.UndefinedError if one is missing.
    """
    text = _environment().get_template(template).render(values)
    with replacing(path) as partial:
        # File names that are not valid Unicode contain surrogates, which UTF-8 cannot encode.
        partial.write_text(text, "utf-8", "backslashreplace")


def jpeg_url(image: np.ndarray) -> str:
    """Returns an image, uint8 RGB (H, W, 3), as a data URL."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("thinkseg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
