"""Turns of a chain: its wording (`thinkseg.prompts`) with texts and images in the place of placeholders."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from thinkseg.chains.frames import Shown
from thinkseg.ops.chat_text import escape_control_tokens
from thinkseg.prompts import PLACEHOLDER, LabelTexts, RevsegPrompts, VeasonPrompts
from thinkseg.types import Turn

Content = list[str | np.ndarray]
"""Texts and images (uint8 RGB, H x W x 3) in reading order."""

Repair = Callable[[str], tuple[str, tuple[str, ...]]]
"""See `Turn.repair`."""


def query_turn(
    text: str,
    wording: VeasonPrompts | RevsegPrompts,
    query: str,
    shown: Shown,
    images: Sequence[np.ndarray],
    repair: Repair | None = None,
) -> Turn:
    """Makes a turn with {frames} and {query}. images: one per frame of `shown`. The query loses its control tokens."""
    unit: str = getattr(wording.unit, shown.label_unit)
    frames = frames_content(wording.frame, shown.label_unit, shown.indices, shown.labels, images)
    values = {"query": escape_control_tokens(query), "unit": unit, "units": getattr(wording.units, shown.coordinates)}
    return Turn(tuple(content_around(text, "frames", frames, **values)), repair, _labels(shown))


def image_turn(
    text: str,
    wording: RevsegPrompts,
    description: str,
    shown: Shown,
    image: np.ndarray,
    repair: Repair | None = None,
) -> Turn:
    """Makes a turn with {image} and {description}, which loses its control tokens. shown: of the image."""
    values = {"description": escape_control_tokens(description), "units": getattr(wording.units, shown.coordinates)}
    return Turn(tuple(content_around(text, "image", [image], **values)), repair, _labels(shown))


def _labels(shown: Shown) -> dict[int, str]:
    return dict(zip(shown.indices, shown.labels, strict=True))


def frames_content(
    frame: LabelTexts, label_unit: str, indices: Sequence[int], labels: Sequence[str], images: Sequence[np.ndarray]
) -> Content:
    """Returns frames as label and image. indices, labels, images: one of each per frame, see `Shown`."""
    text: str = getattr(frame, label_unit)
    content: Content = []
    for number, (index, label, image) in enumerate(zip(indices, labels, images, strict=True)):
        # The text for numbered frames has no {time}.
        content += content_around(text, "image", [image], time=label, index=str(index), number=str(number))
    return content


def content_around(text: str, name: str, inside: Sequence[str | np.ndarray], **values: str) -> Content:
    """Returns `inside` in the place of {name}, between the texts before and after it, of which an empty one is omitted.

    values: of the other placeholders. Braces in them stay as they are.
    """
    before, after = (filled(part, **values) for part in text.split(f"{{{name}}}"))
    return [*([before] if before else []), *inside, *([after] if after else [])]


def filled(text: str, **values: str) -> str:
    """Returns the text with values for its placeholders."""
    return PLACEHOLDER.sub(lambda found: values[found[1]], text)
