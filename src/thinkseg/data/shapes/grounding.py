"""Lessons in looking: name and box everything one frame shows, in the very phrases that reasoning traces are made of.

A young model learns to write traces long before it looks at the picture. These lessons bind words to places first.
"""

from __future__ import annotations

import numpy as np

from thinkseg.data.shapes.traces import ORDERS, Sight, frame


def lists(sight: Sight, rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """(request, reply) for up to `count` of the frames, each at most once; frames that show nothing are left out.

    Half of the lists are asked for in one of the orders in which traces list things.
    """
    frames = [shown for shown in range(len(sight.labels)) if sight.areas[shown].any()]
    lessons = []
    for shown in rng.permutation(frames)[:count]:
        order = _ORDERS[rng.integers(len(_ORDERS))] if rng.random() < 0.5 else None
        request = f"list {sight.labels[shown]} s" + (f" {order.phrase}" if order else "")
        lessons.append((request, frame(sight, int(shown), order)))
    return lessons


_ORDERS = sorted(set(ORDERS.values()), key=lambda order: order.phrase)
