"""Pictures for people: frames, masks and boxes in; uint8 RGB pictures out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]

PALETTE: tuple[Color, ...] = (
    (255, 82, 82),
    (41, 182, 246),
    (255, 214, 64),
    (105, 220, 120),
    (213, 122, 255),
    (255, 152, 48),
    (38, 214, 196),
    (255, 128, 186),
)
"""Colours of objects in turn: light enough for black lettering, far enough apart to be told from one another."""

PAPER: Color = (20, 23, 28)
INK: Color = (236, 238, 240)
FADED: Color = (148, 156, 166)
ACCENT: Color = (255, 196, 46)


def color_of(obj: int) -> Color:
    """The colour of object number `obj`, the same in every picture."""
    return PALETTE[obj % len(PALETTE)]


def overlay(
    frame: np.ndarray,
    masks: np.ndarray,
    boxes: np.ndarray | None = None,
    alpha: float = 0.45,
    labels: Sequence[str] | None = None,
) -> np.ndarray:
    """A frame with its objects tinted, outlined and named; a new uint8 RGB (H, W, 3).

    frame: uint8 RGB (H, W, 3). masks: bool (N, H, W). boxes: xyxy pixels (M, 4) or None; box k has object k's colour.
    alpha: strength of the tint, 0..1. labels: one text for each object, set at its box or else at the top of its mask.
    Raises ValueError if the masks are not of the frame's size.
    """
    if masks.ndim != 3 or masks.shape[1:] != frame.shape[:2]:
        raise ValueError(f"masks to draw must be (N, {frame.shape[0]}, {frame.shape[1]}), not {masks.shape}")
    picture = np.array(frame, order="C")
    line = _line_width(picture)
    for obj, mask in enumerate(masks):
        _tint(picture, mask, color_of(obj), alpha, line)
    for obj, box in enumerate(() if boxes is None else boxes):
        _frame_box(picture, box, color_of(obj), line + 1)
    if labels:
        return _write_labels(picture, labels, _anchors(masks, boxes))
    return picture


def film_strip(
    frames: Sequence[np.ndarray],
    labels: Sequence[str],
    highlight: int | None = None,
    boxes: np.ndarray | None = None,
    masks: Sequence[np.ndarray] | None = None,
    title: str = "",
    thinking: str = "",
    width: int = 1600,
) -> np.ndarray:
    """One picture that tells how a question was answered; uint8 RGB (any height, about `width`, 3).

    From the top: the question, the thinking, the frames in a row with their labels, and the masks on them.
    frames: uint8 RGB (H, W, 3) of one size, at least one. labels: one text for each, for example its time.
    highlight: position in `frames` of the keyframe, which is framed and bears `boxes`, xyxy pixels (N, 4).
    masks: bool (N, H, W) for each frame; without them there is no second row.
    Raises ValueError if there is no frame, or labels or masks are not as many as the frames.
    """
    if not frames or len(labels) != len(frames) or (masks is not None and len(masks) != len(frames)):
        raise ValueError("a film strip needs at least one frame, and a label and masks for each")
    unit = max(width // 100, 6)
    thumb_wh = _thumb_size(frames[0], len(frames), width - 4 * unit, unit)
    row_width = len(frames) * (thumb_wh[0] + unit) - unit
    none = np.zeros((0, *frames[0].shape[:2]), bool)
    shown = [_thumb(frame, none, boxes if at == highlight else None, thumb_wh) for at, frame in enumerate(frames)]
    parts = []
    if title:
        parts.append(_paragraph(f"“{title}”", row_width, 2 * unit, INK))
    if thinking:
        parts.append(_paragraph(thinking, row_width, round(1.25 * unit), FADED))
    parts.append(_row(shown, labels, highlight, unit))
    if masks is not None:
        tinted = [_thumb(frame, stack, None, thumb_wh) for frame, stack in zip(frames, masks, strict=True)]
        parts.append(_row(tinted, None, highlight, unit))
    return _stack(parts, row_width, unit)


def _line_width(picture: np.ndarray) -> int:
    """Width of an outline that looks the same on pictures of any size: 2 pixels at 480p."""
    return max(1, round(min(picture.shape[:2]) / 240))


def _tint(picture: np.ndarray, mask: np.ndarray, color: Color, alpha: float, line: int) -> None:
    """Tints a mask and draws its outline, in place. Only its surroundings are touched, which is quick."""
    binary = np.ascontiguousarray(mask).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(binary)
    if not width:
        return
    inside = (slice(y, y + height), slice(x, x + width))
    region = np.ascontiguousarray(picture[inside])
    paint = np.full_like(region, color)
    cv2.copyTo(cv2.addWeighted(region, 1 - alpha, paint, alpha, 0), binary[inside], region)
    picture[inside] = region
    contours, _ = cv2.findContours(binary[inside], cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    # Smoothing a line of one pixel only makes it pale.
    cv2.drawContours(picture, contours, -1, color, line, cv2.LINE_8 if line == 1 else cv2.LINE_AA)


def _frame_box(picture: np.ndarray, box: np.ndarray, color: Color, line: int) -> None:
    """Draws a box just inside its edges, with a dark rim so that it shows on any background, in place."""
    height, width = picture.shape[:2]
    x0, y0 = (round(float(np.clip(side, 0, most))) for side, most in zip(box[:2], (width - 1, height - 1), strict=True))
    x1, y1 = (round(float(np.clip(side, 1, most))) - 1 for side, most in zip(box[2:], (width, height), strict=True))
    cv2.rectangle(picture, (x0, y0), (x1, y1), (0, 0, 0), line + max(1, line // 2), cv2.LINE_AA)
    cv2.rectangle(picture, (x0, y0), (x1, y1), color, line, cv2.LINE_AA)


def _anchors(masks: np.ndarray, boxes: np.ndarray | None) -> list[tuple[int, int] | None]:
    """Where each object's label begins, (x, y): the corner of its box, or of its mask's; None where it is not seen."""
    if boxes is not None and len(boxes):
        return [(int(x), int(y)) for x, y, _, _ in boxes]
    corners: list[tuple[int, int] | None] = []
    for mask in masks:
        x, y, width, _ = cv2.boundingRect(np.ascontiguousarray(mask).astype(np.uint8))
        corners.append((x, y) if width else None)
    return corners


def _write_labels(picture: np.ndarray, labels: Sequence[str], anchors: Sequence[tuple[int, int] | None]) -> np.ndarray:
    """The picture with a tag in the object's colour above each anchor, kept inside the picture."""
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    size = max(11, min(image.size) // 24)
    for obj, (text, anchor) in enumerate(zip(labels, anchors, strict=False)):
        if anchor is None or not text:
            continue
        width, height = draw.textlength(text, _font(size)) + size * 0.6, size * 1.4
        x = min(max(anchor[0], 0), max(image.width - width, 0))
        y = min(max(anchor[1] - height, 0), image.height - height)
        _tag(draw, (x, y), text, color_of(obj), size)
    return np.asarray(image)


def _tag(draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, color: Color, size: int) -> None:
    """Black text on a coloured tag whose upper left corner is `corner`."""
    x, y = corner
    right, bottom = x + draw.textlength(text, _font(size)) + size * 0.6, y + size * 1.4
    draw.rounded_rectangle((x, y, right, bottom), radius=size * 0.25, fill=color)
    draw.text((x + size * 0.3, y + size * 0.7), text, fill=(0, 0, 0), font=_font(size), anchor="lm")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _thumb_size(frame: np.ndarray, count: int, room: int, gap: int) -> tuple[int, int]:
    """(width, height) of thumbnails of which `count` fit beside each other; few frames do not grow without bound."""
    height, width = frame.shape[:2]
    thumb_width = max(32, (room + gap) // max(count, 3) - gap)
    return thumb_width, max(1, round(thumb_width * height / width))


def _thumb(frame: np.ndarray, masks: np.ndarray, boxes: np.ndarray | None, size_wh: tuple[int, int]) -> np.ndarray:
    """A frame made small first and drawn on then, so that lines stay crisp."""
    height, width = frame.shape[:2]
    small = cv2.resize(frame, size_wh, interpolation=cv2.INTER_AREA)
    stack = np.zeros((len(masks), size_wh[1], size_wh[0]), bool)
    for obj, mask in enumerate(masks):
        share = cv2.resize(np.ascontiguousarray(mask).astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
        stack[obj] = share >= 0.5
    scale = np.array([size_wh[0] / width, size_wh[1] / height] * 2)
    return overlay(small, stack, None if boxes is None else np.asarray(boxes, np.float64).reshape(-1, 4) * scale)


def _row(thumbs: Sequence[np.ndarray], labels: Sequence[str] | None, highlight: int | None, unit: int) -> Image.Image:
    """Thumbnails beside each other with labels below; the highlighted one is framed and its label lit."""
    height, width = thumbs[0].shape[:2]
    rim, text = max(3, unit // 4), round(1.25 * unit)
    below = round(2.2 * unit) if labels else 0
    row = Image.new("RGB", (len(thumbs) * (width + unit) - unit + 2 * rim, height + 2 * rim + below), PAPER)
    draw = ImageDraw.Draw(row)
    for position, thumb in enumerate(thumbs):
        x, lit = rim + position * (width + unit), position == highlight
        if lit:
            draw.rectangle((x - rim, 0, x + width + rim - 1, height + 2 * rim - 1), fill=ACCENT)
        row.paste(Image.fromarray(thumb), (x, rim))
        if labels:
            label = f"{labels[position]} · keyframe" if lit else labels[position]
            centre = (x + width / 2, height + 2 * rim + 1.2 * unit)
            draw.text(centre, label, fill=ACCENT if lit else FADED, font=_font(text), anchor="mm")
    return row


def _paragraph(text: str, width: int, size: int, color: Color) -> Image.Image:
    """Text broken into lines of at most `width` pixels."""
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    lines = [line for part in text.splitlines() for line in _wrap(part, width, measure, size)]
    leading = round(size * 1.4)
    block = Image.new("RGB", (width, leading * len(lines)), PAPER)
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        draw.text((0, (number + 0.5) * leading), line, fill=color, font=_font(size), anchor="lm")
    return block


def _wrap(text: str, width: int, measure: ImageDraw.ImageDraw, size: int) -> list[str]:
    """Lines of whole words; a word that is too long for any line is broken where the line ends."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if measure.textlength(longer, _font(size)) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        while (fits := _fitting(word, width, measure, size)) < len(word):
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    return [*lines, line] if line else lines


def _fitting(word: str, width: int, measure: ImageDraw.ImageDraw, size: int) -> int:
    """How many letters of a word fit into `width` pixels; one at least, so that there is always progress."""
    letters = range(2, len(word) + 1)
    too_long = bisect_left(letters, True, key=lambda count: measure.textlength(word[:count], _font(size)) > width)
    return min(too_long + 1, len(word))


def _stack(parts: Sequence[Image.Image], width: int, unit: int) -> np.ndarray:
    """Parts below each other on paper, left-aligned, with a margin all round."""
    margin, gap = 2 * unit, unit
    height = sum(part.height for part in parts) + gap * (len(parts) - 1)
    sheet = Image.new("RGB", (width + 2 * margin, height + 2 * margin), PAPER)
    y = margin
    for part in parts:
        # A row is wider than the text by the rim of its first and last thumbnail.
        sheet.paste(part, (margin - (part.width - width) // 2, y))
        y += part.height + gap
    return np.asarray(sheet)
