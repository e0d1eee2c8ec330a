"""Check of a policy's box coordinates on clips of the shapes world.

A wrong convention raises no error: every box is parsed, and lies somewhere else. So the policy is prompted with easy
queries, once for boxes in pixels and once normalized to 0..1000, and each reply is parsed in both ways: some models
follow the prompt, others always write boxes as in their training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import get_args

import numpy as np

from thinkseg import console
from thinkseg.chains.parsing import REASONS
from thinkseg.data.shapes import load
from thinkseg.errors import SettingsError
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.boxes import mean_matched_iou
from thinkseg.pipeline import resolve_view, run_chains
from thinkseg.types import ChainFn, Coordinates, Outcome, Policy, ProgressCallback, Reading, Turn, VideoSample, View

CONVENTIONS: tuple[Coordinates, ...] = get_args(Coordinates)

MIN_IOU = 0.25
"""Mean IoU with the ground truth that chance does not reach; boxes parsed in a wrong convention stay below."""

AMBIGUOUS_SIDES = (800, 1250)
"""Sides of frames in pixels for which pixels and normalized coordinates are nearly the same numbers."""


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """The result of `check`.

    iou: mean IoU of the boxes with the ground truth, by (convention prompted for, convention parsed in); a reply that
        cannot be parsed counts 0.
    parse_rate: share of replies that can be parsed in at least one convention, by the convention prompted for.
    failures: how often each failure occurs among the others.
    repairs: how many of the replies that can be parsed have each repair, see `thinkseg.chains.repair`.
    """

    policy: str
    view: View
    clips: int
    iou: Mapping[tuple[Coordinates, Coordinates], float]
    parse_rate: Mapping[Coordinates, float]
    failures: Mapping[str, int]
    repairs: Mapping[str, int] = field(default_factory=dict)

    @property
    def matching(self) -> list[Coordinates]:
        """Conventions whose boxes match the targets when prompted for and parsed in, the best first."""
        found = [name for name in CONVENTIONS if self.iou[name, name] >= MIN_IOU]
        return sorted(found, key=lambda name: -self.iou[name, name])

    def table(self) -> str:
        """Returns the values as text."""
        columns = ("prompted for", *(f"IoU in {name}" for name in CONVENTIONS), "parsed replies")
        lines = [
            (
                prompted,
                *(f"{self.iou[prompted, parsed]:.2f}" for parsed in CONVENTIONS),
                f"{self.parse_rate[prompted] * self.clips:.0f} of {self.clips}",
            )
            for prompted in CONVENTIONS
        ]
        return console.table(columns, lines, range(1, 4))

    def verdict(self) -> str:
        """Returns the result in one sentence."""
        if self.matching:
            return f"boxes match the targets in {' and in '.join(self.matching)}"
        failures = "".join(f"\n{times} times: {REASONS.get(name, name)}" for name, times in self.failures.items())
        return f"boxes match the targets neither in pixels nor in normalized_1000{failures}"


def check(
    policy: Policy,
    chain: ChainFn,
    clips: int,
    view: View | None = None,
    progress: ProgressCallback | None = None,
    reading: Reading = "repair",
) -> PolicyCheck:
    """Prompts a policy about the first `clips` easy samples of the val split.

    view: (default: the policy's own). progress: called with (done, total) replies. reading: of replies.
    Raises SettingsError for frames of a size at which the conventions cannot be distinguished.
    """
    view = resolve_view(policy, view)
    samples = list(islice(easy_samples(), clips))
    ious: dict[tuple[Coordinates, Coordinates], list[float]] = {
        (prompted, parsed): [] for prompted in CONVENTIONS for parsed in CONVENTIONS
    }
    parsed_replies: dict[Coordinates, int] = dict.fromkeys(CONVENTIONS, 0)
    failures: Counter[str] = Counter()
    repairs: Counter[str] = Counter()
    for prompted in CONVENTIONS:
        for number, sample in enumerate(samples, start=1):
            (outcome,) = run_chains([chain(sample, replace(view, coordinates=prompted))], policy, reading=reading)
            check_frame_size(outcome)
            outcomes = {parsed: parse_again(outcome, chain, sample, view, parsed, reading) for parsed in CONVENTIONS}
            for parsed, again in outcomes.items():
                ious[prompted, parsed].append(target_iou(again, sample))
            if all(again.failure for again in outcomes.values()):
                failures.update([outcome.failure or ""])
            else:
                parsed_replies[prompted] += 1
                repairs.update({name for again in outcomes.values() if not again.failure for name in again.repairs})
            if progress:
                progress(CONVENTIONS.index(prompted) * clips + number, len(CONVENTIONS) * clips)
    return PolicyCheck(
        policy=policy.name,
        view=view,
        clips=clips,
        iou={pair: float(np.mean(values)) for pair, values in ious.items()},
        parse_rate={prompted: number / clips for prompted, number in parsed_replies.items()},
        failures=failures,
        repairs=repairs,
    )


def easy_samples() -> Iterator[VideoSample]:
    """Yields samples whose query names one target by its appearance, without end."""
    samples = (load("val", index) for index in count())
    return (one for one in samples if one.category == "referring" and one.truth and one.truth.num_objects == 1)


def parse_again(
    outcome: Outcome, chain: ChainFn, sample: VideoSample, view: View, parsed: Coordinates, reading: Reading
) -> Outcome:
    """Returns the outcome of the same replies in another convention."""
    chains = [chain(sample, replace(view, coordinates=parsed))]
    (again,) = run_chains(chains, ScriptedPolicy(outcome.replies), reading=reading)
    return again


def target_iou(outcome: Outcome, sample: VideoSample) -> float:
    """Returns the IoU of the boxes with the target in the keyframe, in [0, 1]; 0 without boxes."""
    if outcome.answer is None or outcome.answer.keyframe is None or sample.truth is None:
        return 0.0
    return mean_matched_iou(outcome.answer.boxes, sample.truth.boxes(outcome.answer.keyframe))


def check_frame_size(outcome: Outcome) -> None:
    """Raises SettingsError if boxes in the last prompted frame are nearly the same numbers in both conventions."""
    *_, last = (part for part in outcome.dialogue if isinstance(part, Turn))
    height, width = last.images[-1].shape[:2]
    if all(AMBIGUOUS_SIDES[0] < side < AMBIGUOUS_SIDES[1] for side in (width, height)):
        raise SettingsError(
            f"frames of {width}x{height}: pixels and normalized_1000 are nearly the same; pass --frame-size 560x560 and"
            " --closeup-size 560x560"
        )
