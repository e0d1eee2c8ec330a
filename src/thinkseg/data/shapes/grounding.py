"""Grounding tasks in the phrases of reasoning traces: list all visible objects of a frame with their boxes, and the
state of every object from frame to frame.

An untrained model learns to write traces long before it uses the image. These tasks bind words to image regions first.
"""

from __future__ import annotations

import numpy as np

from thinkseg.data.shapes.traces import ORDERS, Observation, list_frame, object_tracks


def object_lists(observed: Observation, rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """Returns at most `count` pairs (request, reply): the tracks of all objects if there are several frames, then lists
    of single frames.

    Each frame is listed at most once, and only if an object is visible in it. Half of the requests name one of the
    orders in which traces list objects.
    """
    tasks = [("list what becomes of everything", object_tracks(observed))] if len(observed.labels) > 1 else []
    positions = [position for position in range(len(observed.labels)) if observed.areas[position].any()]
    for position in rng.permutation(positions)[: count - len(tasks)]:
        order = _ORDERS[rng.integers(len(_ORDERS))] if rng.random() < 0.5 else None
        request = f"list {observed.labels[position]} s" + (f" {order.phrase}" if order else "")
        tasks.append((request, list_frame(observed, int(position), order)))
    return tasks


_ORDERS = sorted(set(ORDERS.values()), key=lambda order: order.phrase)
