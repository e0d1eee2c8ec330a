"""Draws masks, boxes and labels on frames, and film strips of answers."""

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
"""Colors of objects, repeated: light enough for black text and easy to distinguish."""

_COMPARED_PIXELS = 1000
"""Up to so many pixels of an object are compared with the palette, evenly spread."""

RULED_SIDE = 960
"""Pixels of the long side up to which `ruled` enlarges a frame."""

RULER_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Source pixels between two numbers of a ruler."""

MIN_LABEL = 11
"""Least size in pixels of the text below a frame, which is to be read on a page."""

LIGHT = 110
"""Gray level above which a line of the grid is dark."""

PAPER: Color = (20, 23, 28)
INK: Color = (236, 238, 240)
FADED: Color = (148, 156, 166)
ACCENT: Color = (255, 196, 46)


def color_of(obj: int) -> Color:
    """Returns the color of an object, the same in every image."""
    return PALETTE[obj % len(PALETTE)]


class ObjectColors:
    """Colors of objects that differ from what they cover. Each is chosen in the first frame that shows the object."""

    def __init__(self, num_objects: int) -> None:
        self._chosen: list[Color | None] = [None] * num_objects

    def of(self, frame: np.ndarray, masks: np.ndarray) -> list[Color]:
        """Returns the color of each object. frame: uint8 RGB (H, W, 3). masks: bool (N, H, W)."""
        for obj, mask in enumerate(masks):
            if self._chosen[obj] is None and mask.any():
                self._chosen[obj] = self._most_different(frame[mask])
        return [color or color_of(obj) for obj, color in enumerate(self._chosen)]

    def _most_different(self, covered: np.ndarray) -> Color:
        """Returns the color of the palette that is farthest from pixels (K, 3), of those used least often."""
        used = [self._chosen.count(color) for color in PALETTE]
        free = [color for color, count in zip(PALETTE, used, strict=True) if count == min(used)]
        pixels = _lab(covered[:: len(covered) // _COMPARED_PIXELS + 1])
        distances = np.linalg.norm(_lab(np.array(free, np.uint8))[:, None] - pixels, axis=2).mean(axis=1)
        return free[int(distances.argmax())]


def _lab(colors: np.ndarray) -> np.ndarray:
    """Converts colors, uint8 RGB (K, 3), to CIE Lab, float32, in which distances are those that are seen."""
    return cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]


def overlay(
    frame: np.ndarray,
    masks: np.ndarray,
    boxes: np.ndarray | None = None,
    alpha: float = 0.45,
    labels: Sequence[str] | None = None,
    colors: Sequence[Color] | None = None,
) -> np.ndarray:
    """Draws masks, boxes and labels on a copy of a frame. Returns uint8 RGB (H, W, 3).

    frame: uint8 RGB (H, W, 3). masks: bool (N, H, W). boxes: xyxy pixels (M, 4); box k has the color of object k.
    alpha: opacity of the masks, 0 to 1. labels: one text per object, drawn at its box, or above its mask without boxes.
    colors: one per object (default: `color_of`).
    Raises ValueError if the masks have another size than the frame.
    """
    if masks.ndim != 3 or masks.shape[1:] != frame.shape[:2]:
        raise ValueError(f"masks must have the shape (N, {frame.shape[0]}, {frame.shape[1]}), not {masks.shape}")
    canvas = np.array(frame, order="C")
    line = _line_width(canvas)
    count = max(len(masks), 0 if boxes is None else len(boxes))
    colors = colors or [color_of(obj) for obj in range(count)]
    for mask, color in zip(masks, colors, strict=False):
        _tint(canvas, mask, color, alpha, line)
    for box, color in zip(() if boxes is None else boxes, colors, strict=False):
        _frame_box(canvas, box, color, line + 1)
    if labels:
        return _write_labels(canvas, labels, _anchors(masks, boxes), colors)
    return canvas


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
    """Draws an answer as one image, uint8 RGB (H, about `width`, 3).

    From top to bottom: the title, the thinking, a row of frames with labels, and a row of frames with masks.
    frames: uint8 RGB (H, W, 3) of one size. labels: one text per frame, such as its time.
    highlight: index in `frames` of the keyframe, which gets a border and `boxes`, xyxy pixels (N, 4).
    masks: bool (N, H, W) per frame (default: no second row).
    Raises ValueError without frames, or if the numbers of labels or masks differ from that of frames.
    """
    if not frames or len(labels) != len(frames) or (masks is not None and len(masks) != len(frames)):
        raise ValueError("a film strip needs at least one frame, and a label and masks per frame")
    unit = max(width // 100, 6)
    thumb_wh = _thumb_size(frames[0], len(frames), width - 4 * unit, unit)
    row_width = len(frames) * (thumb_wh[0] + unit) - unit
    none = np.zeros((0, *frames[0].shape[:2]), bool)
    shown = [thumbnail(frame, none, boxes if at == highlight else None, thumb_wh) for at, frame in enumerate(frames)]
    parts = []
    if title:
        parts.append(_paragraph(f"“{title}”", row_width, 2 * unit, INK))
    if thinking:
        parts.append(_paragraph(thinking, row_width, round(1.25 * unit), FADED))
    parts.append(_row(shown, labels, highlight, unit))
    if masks is not None:
        tinted = [thumbnail(frame, stack, None, thumb_wh) for frame, stack in zip(frames, masks, strict=True)]
        parts.append(_row(tinted, None, highlight, unit))
    return _stack(parts, row_width, unit)


def ruled(frame: np.ndarray) -> np.ndarray:
    """Draws a frame with a grid, and with rulers in its own pixels on all sides; uint8 RGB.

    frame: uint8 RGB (H, W, 3). A small frame is enlarged by an integer, so that single pixels can be read.
    """
    height, width = frame.shape[:2]
    zoom = max(1, RULED_SIDE // max(height, width))
    picture = np.repeat(np.repeat(frame, zoom, axis=0), zoom, axis=1)
    size = max(11, max(picture.shape[:2]) // 80)
    step = next(step for step in RULER_STEPS if step * zoom >= 3 * size)
    for axis, length in ((0, height), (1, width)):
        for position in range(step, length, step):
            line = picture[position * zoom] if axis == 0 else picture[:, position * zoom]
            # Dark on what is light, and light on what is dark.
            line[:] = np.where(line.mean(axis=-1, keepdims=True) > LIGHT, line // 2, 127 + line // 2)
    return _with_rulers(picture, zoom, step, size)


def _with_rulers(picture: np.ndarray, zoom: int, step: int, size: int) -> np.ndarray:
    """Adds margins with ticks and numbers. step: source pixels between numbers. size: of the text, in pixels."""
    height, width = picture.shape[:2]
    margin = 4 * size
    sheet = Image.new("RGB", (width + 2 * margin, height + 2 * margin), PAPER)
    sheet.paste(Image.fromarray(picture), (margin, margin))
    draw = ImageDraw.Draw(sheet)
    for length, horizontal in ((width, True), (height, False)):
        for tick in range(0, length // zoom + 1, max(step // 5, 1)):
            at, reach = margin + tick * zoom, size // 2 if tick % step == 0 else size // 4
            other = margin + (height if horizontal else width)
            for edge, outward, anchors in ((margin - 1, -1, ("mb", "rm")), (other, 1, ("mt", "lm"))):
                end = edge + outward * reach
                line = (at, edge, at, end) if horizontal else (edge, at, end, at)
                draw.line(line, fill=INK)
                if tick % step == 0:
                    text_at = end + outward * size // 4
                    corner = (at, text_at) if horizontal else (text_at, at)
                    draw.text(corner, str(tick), fill=INK, font=_font(size), anchor=anchors[not horizontal])
    return np.asarray(sheet)


def thumbnail(frame: np.ndarray, masks: np.ndarray, boxes: np.ndarray | None, size_wh: tuple[int, int]) -> np.ndarray:
    """Shrinks a frame to (width, height) and then draws masks and boxes on it, so that lines stay sharp; uint8 RGB."""
    height, width = frame.shape[:2]
    small = cv2.resize(frame, size_wh, interpolation=cv2.INTER_AREA)
    stack = np.zeros((len(masks), size_wh[1], size_wh[0]), bool)
    for obj, mask in enumerate(masks):
        stack[obj] = shrunk(mask, size_wh)
    scale = np.array([size_wh[0] / width, size_wh[1] / height] * 2)
    return overlay(small, stack, None if boxes is None else np.asarray(boxes, np.float64).reshape(-1, 4) * scale)


def shrunk(mask: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Returns a mask, bool (H, W), in a smaller size (width, height): the pixels that it covers by half or more."""
    share = cv2.resize(np.ascontiguousarray(mask).astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
    return share >= 0.5


def outlined(frame: np.ndarray, mask: np.ndarray, color: Color) -> np.ndarray:
    """Draws the outline of a mask, bool (H, W), on a copy of a frame, with a dark edge. Returns uint8 RGB (H, W, 3)."""
    canvas = np.array(frame, order="C")
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, color, 1, cv2.LINE_AA)
    return canvas


def _line_width(canvas: np.ndarray) -> int:
    """Returns a line width in proportion to the image: 2 pixels at 480p."""
    return max(1, round(min(canvas.shape[:2]) / 240))


def _tint(canvas: np.ndarray, mask: np.ndarray, color: Color, alpha: float, line: int) -> None:
    """Fills a mask and draws its outline, in place. Processes only its bounding box, for speed."""
    binary = np.ascontiguousarray(mask).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(binary)
    if not width:
        return
    inside = (slice(y, y + height), slice(x, x + width))
    region = np.ascontiguousarray(canvas[inside])
    paint = np.full_like(region, color)
    cv2.copyTo(cv2.addWeighted(region, 1 - alpha, paint, alpha, 0), binary[inside], region)
    canvas[inside] = region
    contours, _ = cv2.findContours(binary[inside], cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    # Antialiasing makes a line of one pixel too faint.
    cv2.drawContours(canvas, contours, -1, color, line, cv2.LINE_8 if line == 1 else cv2.LINE_AA)


def _frame_box(canvas: np.ndarray, box: np.ndarray, color: Color, line: int) -> None:
    """Draws a box inside its edges, in place, with a dark outline that is visible on any background."""
    height, width = canvas.shape[:2]
    x0, y0 = (round(float(np.clip(side, 0, most))) for side, most in zip(box[:2], (width - 1, height - 1), strict=True))
    x1, y1 = (round(float(np.clip(side, 1, most))) - 1 for side, most in zip(box[2:], (width, height), strict=True))
    cv2.rectangle(canvas, (x0, y0), (x1, y1), (0, 0, 0), line + max(1, line // 2), cv2.LINE_AA)
    cv2.rectangle(canvas, (x0, y0), (x1, y1), color, line, cv2.LINE_AA)


def _anchors(masks: np.ndarray, boxes: np.ndarray | None) -> list[tuple[int, int] | None]:
    """Returns the corner (x, y) of each object's box, or of its mask without boxes; None for an empty mask."""
    if boxes is not None and len(boxes):
        return [(int(x), int(y)) for x, y, _, _ in boxes]
    corners: list[tuple[int, int] | None] = []
    for mask in masks:
        x, y, width, _ = cv2.boundingRect(np.ascontiguousarray(mask).astype(np.uint8))
        corners.append((x, y) if width else None)
    return corners


def _write_labels(
    canvas: np.ndarray, labels: Sequence[str], anchors: Sequence[tuple[int, int] | None], colors: Sequence[Color]
) -> np.ndarray:
    """Draws a tag in the object's color above each anchor, moved inside the image if needed."""
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    size = max(11, min(image.size) // 24)
    for text, anchor, color in zip(labels, anchors, colors, strict=False):
        if anchor is None or not text:
            continue
        width, height = draw.textlength(text, _font(size)) + size * 0.6, size * 1.4
        x = min(max(anchor[0], 0), max(image.width - width, 0))
        y = min(max(anchor[1] - height, 0), image.height - height)
        _tag(draw, (x, y), text, color, size)
    return np.asarray(image)


def _tag(draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, color: Color, size: int) -> None:
    """Draws black text on a colored tag with the upper left corner `corner`."""
    x, y = corner
    right, bottom = x + draw.textlength(text, _font(size)) + size * 0.6, y + size * 1.4
    draw.rounded_rectangle((x, y, right, bottom), radius=size * 0.25, fill=color)
    draw.text((x + size * 0.3, y + size * 0.7), text, fill=(0, 0, 0), font=_font(size), anchor="lm")


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _thumb_size(frame: np.ndarray, count: int, room: int, gap: int) -> tuple[int, int]:
    """Returns (width, height) of thumbnails so that `count` of them, or 3 if that is more, fit in a row."""
    height, width = frame.shape[:2]
    thumb_width = max(32, (room + gap) // max(count, 3) - gap)
    return thumb_width, max(1, round(thumb_width * height / width))


def _row(thumbs: Sequence[np.ndarray], labels: Sequence[str] | None, highlight: int | None, unit: int) -> Image.Image:
    """Draws a row of thumbnails with labels below. The highlighted one has a border and a label in the accent color."""
    height, width = thumbs[0].shape[:2]
    border, text = max(3, unit // 4), max(MIN_LABEL, round(1.25 * unit))
    below = round(1.76 * text) if labels else 0
    row = Image.new("RGB", (len(thumbs) * (width + unit) - unit + 2 * border, height + 2 * border + below), PAPER)
    draw = ImageDraw.Draw(row)
    for position, thumb in enumerate(thumbs):
        x, highlighted = border + position * (width + unit), position == highlight
        if highlighted:
            draw.rectangle((x - border, 0, x + width + border - 1, height + 2 * border - 1), fill=ACCENT)
        row.paste(Image.fromarray(thumb), (x, border))
        if labels:
            label = f"{labels[position]} · keyframe" if highlighted else labels[position]
            # The border alone says so where there is no room for the word.
            label = label if draw.textlength(label, _font(text)) <= width + unit else labels[position]
            center = (x + width / 2, height + 2 * border + 0.96 * text)
            draw.text(center, label, fill=ACCENT if highlighted else FADED, font=_font(text), anchor="mm")
    return row


def _paragraph(text: str, width: int, size: int, color: Color) -> Image.Image:
    """Draws text in lines of at most `width` pixels."""
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    lines = [line for part in text.splitlines() for line in _wrap(part, width, measure, size)]
    leading = round(size * 1.4)
    block = Image.new("RGB", (width, leading * len(lines)), PAPER)
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        draw.text((0, (number + 0.5) * leading), line, fill=color, font=_font(size), anchor="lm")
    return block


def _wrap(text: str, width: int, measure: ImageDraw.ImageDraw, size: int) -> list[str]:
    """Breaks text into lines at spaces; a word longer than a line is broken at the line's end."""
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
    """Returns how many characters of a word fit in `width` pixels, at least 1."""
    letters = range(2, len(word) + 1)
    too_long = bisect_left(letters, True, key=lambda count: measure.textlength(word[:count], _font(size)) > width)
    return min(too_long + 1, len(word))


def _stack(parts: Sequence[Image.Image], width: int, unit: int) -> np.ndarray:
    """Stacks images vertically, aligned to the left, with a margin on all sides."""
    margin, gap = 2 * unit, unit
    height = sum(part.height for part in parts) + gap * (len(parts) - 1)
    sheet = Image.new("RGB", (width + 2 * margin, height + 2 * margin), PAPER)
    y = margin
    for part in parts:
        # A row is wider than the text by the borders of its first and last thumbnail.
        sheet.paste(part, (margin - (part.width - width) // 2, y))
        y += part.height + gap
    return np.asarray(sheet)
