"""The annotator of the shapes world, which needs no model: tasks in, its own traces out, in the form of all replies."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

import numpy as np

from thinkseg.annotate.prompts import Steps, write_steps
from thinkseg.annotate.statements import sentences
from thinkseg.annotate.tasks import Task, limits
from thinkseg.data.shapes import episode
from thinkseg.data.shapes.traces import Sight, look, trace
from thinkseg.types import Reply, View


class Rules:
    """Writes what a careful observer would think, from the simulation's own state.

    view: its boxes are in the units of that view. Samples must be those of `thinkseg.data.shapes.load`.
    """

    name = "rules"
    tells_boxes = True
    at_once = 1
    longest_reply = 0

    def __init__(self, view: View) -> None:
        self._limit_wh = limits(view)

    def ask(self, task: Task, template: int) -> Future[Reply]:
        draft = task.draft
        split, _, index = draft.id.rpartition("-")
        one = episode(split, int(index))
        sight = look(one.clip, draft.indices, draft.labels, self._limit_wh)
        if draft.keyframe is not None:
            sight = _seen_best(sight, one.asked[0].targets, draft.indices.index(draft.keyframe))
        said = sentences(trace(sight, one.asked[0], template).thinking)
        reply: Future[Reply] = Future()
        reply.set_result(Reply(write_steps(Steps(" ".join(said[:-2]), said[-2], said[-1]))))
        return reply


def _seen_best(sight: Sight, targets: tuple[int, ...], keyframe: int) -> Sight:
    """The same sight, in which no frame shows more of the targets than the keyframe: traces choose the one that does.

    Of the five best frames any may be the keyframe; what is in sight stays in sight.
    """
    most = sight.areas[keyframe, list(targets)]
    areas = sight.areas.copy()
    others = np.arange(len(areas)) != keyframe
    for target, area in zip(targets, most, strict=True):
        areas[others, target] = np.minimum(areas[others, target], max(1, area - 1))
    return replace(sight, areas=areas)
