"""Whether a policy is set up right: clips of the shapes world in, what its boxes make sense as out.

A wrong convention for coordinates is silent: every box is read, and lies somewhere else. So the policy is asked easy
questions, once for boxes in pixels and once normalized to 0..1000, and what it writes is read in both ways, whatever
it was asked for: some models obey, and some write as they were taught.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import get_args

import numpy as np

from thinkseg import console
from thinkseg.data.shapes import load
from thinkseg.errors import SettingsError
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.boxes import mean_matched_iou
from thinkseg.pipeline import resolve_view, run_chains
from thinkseg.types import ChainFn, Coordinates, Outcome, Policy, Progress, Turn, VideoSample, View

CONVENTIONS: tuple[Coordinates, ...] = get_args(Coordinates)

SENSE = 0.25
"""Mean overlap with the truth from which boxes are no accident: boxes read in a wrong way stay below."""

TOO_ALIKE = (800, 1250)
"""Sides of frames for which pixels and normalized coordinates are nearly the same numbers."""


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """What came of it.

    overlap: mean IoU of the boxes with the truth, by (asked for, read as); what cannot be read counts 0.
    kept: share of replies in the format asked for, which can be read in one way at least, by what was asked for.
    reasons: why the others cannot, and how often.
    """

    policy: str
    view: View
    clips: int
    overlap: Mapping[tuple[Coordinates, Coordinates], float]
    kept: Mapping[Coordinates, float]
    reasons: Mapping[str, int]

    @property
    def sound(self) -> list[Coordinates]:
        """Conventions in which the boxes make sense when asked for and read in them, the best first."""
        found = [name for name in CONVENTIONS if self.overlap[name, name] >= SENSE]
        return sorted(found, key=lambda name: -self.overlap[name, name])

    def table(self) -> str:
        """The figures as text."""
        heads = ("boxes asked for in", *(f"read as {name}" for name in CONVENTIONS), "format kept")
        lines = [
            (
                asked,
                *(f"{self.overlap[asked, read]:.2f}" for read in CONVENTIONS),
                f"{self.kept[asked] * self.clips:.0f} of {self.clips}",
            )
            for asked in CONVENTIONS
        ]
        return console.table(heads, lines, range(1, 4))

    def verdict(self) -> str:
        """The figures in a sentence."""
        if self.sound:
            return f"its boxes make sense in {' and in '.join(self.sound)}"
        unread = ", ".join(f"{reason} {times}" for reason, times in self.reasons.items())
        return f"its boxes make sense neither in pixels nor in normalized_1000; unusable replies: {unread or 'none'}"


def check(
    policy: Policy, chain: ChainFn, clips: int, view: View | None = None, progress: Progress | None = None
) -> PolicyCheck:
    """Asks a policy about the first clips of the val split whose question names one target by its looks.

    view: how it is shown them; its own choice unless given. progress: called with (replies, replies in all).
    Raises SettingsError if frames are so large that the two conventions could not be told apart.
    """
    view = resolve_view(policy, view)
    samples = list(islice(easy(), clips))
    overlap: dict[tuple[Coordinates, Coordinates], list[float]] = {
        (asked, read): [] for asked in CONVENTIONS for read in CONVENTIONS
    }
    kept: dict[Coordinates, int] = dict.fromkeys(CONVENTIONS, 0)
    reasons: Counter[str] = Counter()
    for asked in CONVENTIONS:
        for number, sample in enumerate(samples, start=1):
            (outcome,) = run_chains([chain(sample, replace(view, coordinates=asked))], policy)
            checked_size(outcome)
            readings = {read: reread(outcome, chain, sample, view, read) for read in CONVENTIONS}
            for read, reading in readings.items():
                overlap[asked, read].append(overlap_of(reading, sample))
            if all(reading.failure for reading in readings.values()):
                reasons.update([outcome.failure or ""])
            else:
                kept[asked] += 1
            if progress:
                progress(CONVENTIONS.index(asked) * clips + number, len(CONVENTIONS) * clips)
    return PolicyCheck(
        policy=policy.name,
        view=view,
        clips=clips,
        overlap={pair: float(np.mean(values)) for pair, values in overlap.items()},
        kept={asked: number / clips for asked, number in kept.items()},
        reasons=reasons,
    )


def easy() -> Iterator[VideoSample]:
    """Samples whose question names one target by its looks, without end."""
    samples = (load("val", index) for index in count())
    return (one for one in samples if one.category == "referring" and one.truth and one.truth.num_objects == 1)


def reread(outcome: Outcome, chain: ChainFn, sample: VideoSample, view: View, read: Coordinates) -> Outcome:
    """The same replies, read in another convention."""
    (again,) = run_chains([chain(sample, replace(view, coordinates=read))], ScriptedPolicy(outcome.replies))
    return again


def overlap_of(outcome: Outcome, sample: VideoSample) -> float:
    """How well the boxes fit the target in the frame that was chosen, in [0, 1]; 0 without any."""
    if outcome.answer is None or outcome.answer.keyframe is None or sample.truth is None:
        return 0.0
    return mean_matched_iou(outcome.answer.boxes, sample.truth.boxes(outcome.answer.keyframe))


def checked_size(outcome: Outcome) -> None:
    """Raises SettingsError if boxes on the last frame shown are nearly the same numbers in both conventions."""
    *_, last = (part for part in outcome.dialogue if isinstance(part, Turn))
    height, width = last.images[-1].shape[:2]
    if all(TOO_ALIKE[0] < side < TOO_ALIKE[1] for side in (width, height)):
        raise SettingsError(
            f"on frames of {width}x{height} pixels and normalized_1000 are nearly the same: give --frame-size and"
            " --closeup-size 560x560"
        )
