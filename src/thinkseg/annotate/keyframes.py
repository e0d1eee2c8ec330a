"""Which frames a sample shows, and which of them its reasoning is to choose: masks in, frame indices out."""

from __future__ import annotations

from collections.abc import Sequence

from thinkseg.chains.show import sample_indices
from thinkseg.types import Masklets

LARGEST = 5
"""Frames among which the keyframe is drawn: were it always the largest, a model would learn its place by heart."""


def keyframe_of(truth: Masklets, annotated: Sequence[int], chance: int) -> int | None:
    """One of the frames in which the targets cover most, fewer where they are seen in fewer; None if never seen.

    annotated: frames whose masks are known. chance: any number of at least 0.
    """
    areas = {frame: truth.area(frame) for frame in annotated}
    largest = sorted((frame for frame in areas if areas[frame]), key=lambda frame: (-areas[frame], frame))[:LARGEST]
    return largest[chance % len(largest)] if largest else None


def shown_with(total: int, count: int, keyframe: int | None) -> tuple[int, ...]:
    """Exactly min(count, total) frames spread evenly over a video, ascending, the keyframe among them.

    It takes the place of the frame nearest to it.
    """
    spread = sample_indices(total, count)
    if keyframe is None or keyframe in spread:
        return spread
    nearest = min(spread, key=lambda index: abs(index - keyframe))
    return tuple(keyframe if index == nearest else index for index in spread)
