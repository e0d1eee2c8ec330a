"""Corrects a result: its own prompts and new ones become the prompts from which it is tracked again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.pipeline import track_prompts
from thinkseg.types import ObjectPrompt, ProgressCallback, Segmentation, Tracker


def prompts_of(result: Segmentation) -> tuple[ObjectPrompt, ...]:
    """Returns the prompts that a result was tracked from: those by hand, else the boxes of its answer."""
    answer = result.answer
    if result.prompts or answer is None or answer.keyframe is None:
        return result.prompts
    return tuple(ObjectPrompt(answer.keyframe, obj, box) for obj, box in enumerate(answer.boxes))


def corrected_prompts(
    earlier: Sequence[ObjectPrompt], new: Iterable[ObjectPrompt], dropped: Iterable[int] = ()
) -> list[ObjectPrompt]:
    """Returns earlier prompts with new ones, both with frame indices.

    A new box or mask replaces what its object has on its frame; points alone are added to it. dropped: objects, from 0,
    whose earlier prompts do not count. One that has no new prompt is left out, and those after it move up.

    Raises SettingsError for a dropped object that is unknown, points on a frame with a mask, and if nothing is left.
    """
    new, dropped = list(new), set(dropped)
    known = {one.obj for one in earlier}
    for obj in sorted(dropped - known):
        raise SettingsError(f"drop: {obj + 1} is no object of the result; give a number from 1 to {len(known)}")
    prompts = {(one.obj, one.frame): one for one in earlier if one.obj not in dropped}
    for one in new:
        key = one.obj, one.frame
        prompts[key] = _merged(prompts[key], one) if key in prompts else one
    gone = dropped - {one.obj for one in new}
    if not prompts:
        raise SettingsError("drop: no object is left; keep one, or mark another")
    return [replace(one, obj=one.obj - sum(obj < one.obj for obj in gone)) for one in prompts.values()]


def _merged(earlier: ObjectPrompt, new: ObjectPrompt) -> ObjectPrompt:
    if new.box is not None or new.mask is not None:
        return new
    if earlier.mask is not None:
        where = f"object {new.obj + 1}, frame {new.frame}"
        raise SettingsError(f"{where}: has a mask, to which points cannot be added; give another mask, or a box")
    points, labels = (np.concatenate([getattr(one, name) for one in (earlier, new)]) for name in ("points", "labels"))
    return replace(earlier, points=points, labels=labels)


def track_again(
    result: Segmentation, prompts: Sequence[ObjectPrompt], tracker: Tracker, progress: ProgressCallback | None = None
) -> Segmentation:
    """Tracks a result from other prompts, see `thinkseg.pipeline.track_prompts`. The answer of a policy is kept."""
    outcome = result.outcome if result.outcome.replies else None
    return replace(track_prompts(result.sample, prompts, tracker, progress, outcome), warnings=result.warnings)
