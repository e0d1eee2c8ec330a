"""Samples, labels and resizes the frames that a policy is shown.

A `Shown` records them, so that `thinkseg.chains.parsing` can convert replies to frame indices and source pixels. Only
frames that are shown are decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.types import Coordinates, Frames, LabelUnit, View

MAX_QUERY_CHARS = 2_000
"""Maximum length of a query. Longer ones are usually pasted documents, and leave no space for frames in the context."""

_MAX_DECIMALS = 6
"""Containers store times in units of a microsecond or more, so times that are equal to six decimals are equal."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Record of the frames of a video that a policy was shown.

    indices: frame indices into the video, strictly ascending.
    labels: one timestamp per frame, as shown: decimal numbers with distinct values.
    frame_wh: size of the images shown; source_wh: size of the video.
    coordinates: of the boxes that the policy writes for these images.
    label_unit: what the labels count: seconds, or frames of the video.
    """

    indices: tuple[int, ...]
    labels: tuple[str, ...]
    frame_wh: tuple[int, int]
    source_wh: tuple[int, int]
    coordinates: Coordinates
    label_unit: LabelUnit = "seconds"


def sample_indices(total: int, count: int) -> tuple[int, ...]:
    """Returns min(count, total) evenly spaced frame indices, strictly ascending.

    They include the first and the last frame. A single index is the middle frame.
    """
    if total < 1 or count < 1:
        raise ValueError(f"cannot sample {count} of {total} frames")
    count = min(count, total)
    if count == 1:
        return (total // 2,)
    # In integers, steps of at least one frame, rounded half up, give distinct indices.
    return tuple((2 * i * (total - 1) + count - 1) // (2 * (count - 1)) for i in range(count))


def box_limits(view: View | Shown) -> tuple[int, int]:
    """Returns the largest x and y of a box in the coordinates of a view."""
    return (1000, 1000) if view.coordinates == "normalized_1000" else view.frame_wh


def select_frames(video: Frames, view: View, indices: Sequence[int] | None = None) -> Shown:
    """Returns the record of the frames that `show` returns, without decoding a frame.

    Raises ValueError if `indices` are not strictly ascending frame indices of the video, SettingsError if the view
    wants seconds and the frames have no distinct times. With the label unit "auto", such frames are numbered.
    """
    chosen = sample_indices(len(video), view.num_frames) if indices is None else tuple(int(i) for i in indices)
    ascending = all(a < b for a, b in pairwise(chosen))
    if not chosen or not ascending or chosen[0] < 0 or chosen[-1] >= len(video):
        raise ValueError(
            f"indices must be strictly ascending from 0 to {len(video) - 1} for {video.name}, not {chosen}"
        )
    labels = None if view.label_unit == "index" else _seconds(video, chosen)
    if labels is None and view.label_unit == "seconds":
        raise SettingsError(f"{video.name}: its frames have no times to tell them apart; give their fps")
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
    """Reads and resizes the frames to show to a policy.

    indices: strictly ascending frames (default: `view.num_frames` evenly spaced ones).
    Returns their record and one image per frame, uint8 RGB (H, W, 3) of size `view.frame_wh`.
    """
    shown = select_frames(video, view, indices)
    return shown, [fit(frame, view.frame_wh) for frame in video.read(shown.indices)]


def fit(frame: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """Resizes a frame, uint8 RGB (H, W, 3), without keeping its aspect ratio. Returns it as is if the size is right."""
    height, width = frame.shape[:2]
    if (width, height) == size_wh:
        return frame
    import cv2

    # INTER_AREA is the only filter of OpenCV that shrinks without aliasing.
    shrinking = size_wh[0] * size_wh[1] < width * height
    return cv2.resize(frame, size_wh, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def checked_query(query: object) -> str:
    """Returns a query on one line with single spaces.

    Raises SettingsError if it is not a str, or is empty, too long or not Unicode.
    """
    if not isinstance(query, str):
        raise SettingsError(f"the query is {type(query).__name__}, not a str: give one text per call")
    text = " ".join(query.split())
    if not text:
        raise SettingsError("the query is empty: say what to segment, e.g. 'the red car that turns left'")
    if len(text) > MAX_QUERY_CHARS:
        raise SettingsError(f"the query has {len(text):,} characters; shorten it to {MAX_QUERY_CHARS:,}")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise SettingsError("the query is not valid Unicode: check its encoding")
    return text


def _seconds(video: Frames, indices: Sequence[int]) -> tuple[str, ...] | None:
    """Returns the frames' times with the fewest decimals, at least 1, that keep them distinct; None if none do.

    They are those since the first frame, as policies are trained: a part of a video has the times of its source.
    """
    start, times = video.time_of(0), [video.time_of(i) for i in indices]
    if start is None or None in times:
        return None
    times = [time - start for time in times if time is not None]
    for decimals in range(1, _MAX_DECIMALS + 1):
        labels = tuple(f"{time:.{decimals}f}" for time in times)
        if len({float(label) for label in labels}) == len(labels):
            return labels
    return None
