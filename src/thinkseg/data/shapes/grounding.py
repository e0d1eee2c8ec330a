"""Lessons in looking, in the very phrases that reasoning traces are made of: name and box everything that one frame
shows, and tell what becomes of everything from frame to frame.

A young model learns to write traces long before it looks at the picture. These lessons bind words to places first.
"""

from __future__ import annotations

import numpy as np

from thinkseg.data.shapes.traces import ORDERS, Sight, courses, frame


def lists(sight: Sight, rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """At most `count` of (request, reply): what becomes of everything, if there are several frames; then single frames.

    A frame is listed at most once, and not at all if it shows nothing. Half of the lists are asked for in one of the
    orders in which traces list things.
    """
    lessons = [("list what becomes of everything", courses(sight))] if len(sight.labels) > 1 else []
    frames = [shown for shown in range(len(sight.labels)) if sight.areas[shown].any()]
    for shown in rng.permutation(frames)[: count - len(lessons)]:
        order = _ORDERS[rng.integers(len(_ORDERS))] if rng.random() < 0.5 else None
        request = f"list {sight.labels[shown]} s" + (f" {order.phrase}" if order else "")
        lessons.append((request, frame(sight, int(shown), order)))
    return lessons


_ORDERS = sorted(set(ORDERS.values()), key=lambda order: order.phrase)
