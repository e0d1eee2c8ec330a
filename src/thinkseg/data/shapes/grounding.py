"""Looking lessons: short questions about places, in the very phrases that reasoning traces are made of.

A young model learns to write traces long before it looks at the picture. These lessons bind words to places first:
name and box what one frame shows, follow one object through all frames, measure it in each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from thinkseg.data.shapes.traces import Sight, listing, sizes, way


def lessons(sight: Sight, rng: np.random.Generator, count: int, lists_only: bool = False) -> list[tuple[str, str]]:
    """`count` different (request, reply) pairs about what the frames show; fewer if there is less to ask.

    lists_only: ask for nothing but what single frames show, each frame once.
    """
    requests: list[tuple[Callable[..., tuple[str, str]], int]] = []
    requests += [(_list, shown) for shown in range(len(sight.labels)) if sight.areas[shown].any()]
    if len(sight.labels) > 1 and not lists_only:
        requests += [(lesson, obj) for lesson in (_follow, _measure) for obj in sight.order]
        requests.append((_roll_call, 0))
    chosen = rng.permutation(len(requests))[:count]
    return [requests[i][0](sight, requests[i][1]) for i in chosen]


def _list(sight: Sight, shown: int) -> tuple[str, str]:
    return f"list {sight.labels[shown]} s", listing(sight, shown)


def _follow(sight: Sight, obj: int) -> tuple[str, str]:
    return f"follow the {sight.names[obj]}", way(sight, obj)


def _measure(sight: Sight, obj: int) -> tuple[str, str]:
    return f"measure the {sight.names[obj]}", sizes(sight, obj)


def _roll_call(sight: Sight, _: int) -> tuple[str, str]:
    return "who is there", "; ".join(sight.names[i] for i in sight.order)
