"""Lessons in looking: name and box everything one frame shows, in the very phrases that reasoning traces are made of.

A young model learns to write traces long before it looks at the picture. These lessons bind words to places first.
"""

from __future__ import annotations

import numpy as np

from thinkseg.data.shapes.traces import Sight, frame


def lists(sight: Sight, rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """(request, reply) for up to `count` of the frames, each at most once; frames that show nothing are left out."""
    frames = [shown for shown in range(len(sight.labels)) if sight.areas[shown].any()]
    chosen = rng.permutation(frames)[:count]
    return [(f"list {sight.labels[shown]} s", frame(sight, shown)) for shown in chosen]
