"""What a policy is shown of a video: which frames, at what size, under which labels.

In: a video and a view. Out: a `Shown`, the record that `thinkseg.chains.parsing` needs to turn a reply back into frame
indices and source pixels, and the images themselves. Only the frames that are shown are ever decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.types import Coordinates, Frames, LabelUnit, View

MAX_QUERY_CHARS = 2_000
"""Longest question a chain takes; more is a pasted document and would push the frames out of a model's context."""

UNITS: dict[Coordinates, str] = {
    "pixels": "pixels of the frame",
    "normalized_1000": "thousandths of the frame's width and height (0 to 1000)",
}
"""What a policy is told about the boxes it is to write."""

_MAX_DECIMALS = 6
"""Containers keep times in ticks of a microsecond or more, so times that agree to six decimals are the same time."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The frames of one video as a policy saw them.

    indices: frame indices into the whole video, strictly ascending.
    labels: one timestamp a frame, as text exactly as shown: decimal numbers, no two of them equal as numbers.
    frame_wh: size of the images shown; source_wh: size of the video.
    coordinates: how the policy writes boxes on those images.
    label_unit: what the labels count: seconds, or frames of the video.
    """

    indices: tuple[int, ...]
    labels: tuple[str, ...]
    frame_wh: tuple[int, int]
    source_wh: tuple[int, int]
    coordinates: Coordinates
    label_unit: LabelUnit = "seconds"


def sample_indices(total: int, count: int) -> tuple[int, ...]:
    """Exactly min(count, total) frame indices spread evenly over a video, strictly ascending.

    The first and the last frame are among them, except for a single one, which is taken from the middle.
    """
    if total < 1 or count < 1:
        raise ValueError(f"cannot sample {count} of {total} frames")
    count = min(count, total)
    if count == 1:
        return (total // 2,)
    # Whole numbers only: steps of at least one frame, rounded half up, can then never meet.
    return tuple((2 * i * (total - 1) + count - 1) // (2 * (count - 1)) for i in range(count))


def describe(video: Frames, view: View, indices: Sequence[int] | None = None) -> Shown:
    """The record of what `show` shows, without decoding a frame.

    Raises ValueError if `indices` are not strictly ascending frame indices of the video.
    """
    chosen = sample_indices(len(video), view.num_frames) if indices is None else tuple(int(i) for i in indices)
    ascending = all(a < b for a, b in pairwise(chosen))
    if not chosen or not ascending or chosen[0] < 0 or chosen[-1] >= len(video):
        raise ValueError(f"not strictly ascending indices into the {len(video)} frames of {video.name}: {chosen}")
    labels = _seconds(video, chosen) if view.label_unit == "seconds" else None
    label_unit: LabelUnit = "index" if labels is None else "seconds"
    return Shown(
        indices=chosen,
        labels=labels or tuple(map(str, chosen)),
        frame_wh=view.frame_wh,
        source_wh=video.size_wh,
        coordinates=view.coordinates,
        label_unit=label_unit,
    )


def show(video: Frames, view: View, indices: Sequence[int] | None = None) -> tuple[Shown, list[np.ndarray]]:
    """Reads and resizes the frames a policy is to see.

    indices: the frames to show, strictly ascending; `view.num_frames` evenly spread ones unless given.
    Returns the record of what was shown and one image a frame, uint8 RGB (H, W, 3) of size `view.frame_wh`.
    """
    shown = describe(video, view, indices)
    return shown, [fit(frame, view.frame_wh) for frame in video.read(shown.indices)]


def fit(frame: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """A frame, uint8 RGB (H, W, 3), resized to a size without regard to its aspect; itself if it has that size."""
    height, width = frame.shape[:2]
    if (width, height) == size_wh:
        return frame
    import cv2

    # Averaging over areas is the one filter of OpenCV that does not alias when shrinking.
    shrinking = size_wh[0] * size_wh[1] < width * height
    return cv2.resize(frame, size_wh, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def checked_query(query: str) -> str:
    """A question on one line, single-spaced. Raises SettingsError if there is none, or one no model can take."""
    text = " ".join(query.split())
    if not text:
        raise SettingsError("the query is empty: say what to segment, e.g. 'the red car that turns left'")
    if len(text) > MAX_QUERY_CHARS:
        raise SettingsError(
            f"the query has {len(text):,} characters; at most {MAX_QUERY_CHARS:,} are taken: shorten it"
        )
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise SettingsError("the query is not valid Unicode text: check the encoding it was typed or read in")
    return text


def _seconds(video: Frames, indices: Sequence[int]) -> tuple[str, ...] | None:
    """Times of the frames with as few decimals, at least one, as keep them apart; None if that cannot be done."""
    times = [time for i in indices if (time := video.time_of(i)) is not None]
    if len(times) < len(indices):
        return None
    for decimals in range(1, _MAX_DECIMALS + 1):
        labels = tuple(f"{time:.{decimals}f}" for time in times)
        if len({float(label) for label in labels}) == len(labels):
            return labels
    return None
