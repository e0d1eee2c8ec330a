"""How each benchmark makes its figures out of scores and masks, quirks included: see `Report` for what comes out.

    means           J and F of expressions -> ReVOS, ReasonVOS, MeViS 1 and 2, Ref-YouTube-VOS, Ref-DAVIS17 protocol B
    robustness      masks -> the robustness R of ReVOS, as published and as meant
    refdavis        label maps of all objects at once -> Ref-DAVIS17 protocol A
    lgvis           tracks -> average precision of ViCaS
    overlap         areas -> gIoU and cIoU

The protocols differ in more than names, and figures of different protocols must not be compared; so every report says
which one it follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a benchmark.

    protocol: which rules they follow.
    figures: percent by name, e.g. "referring/J"; None where there was nothing to measure it on.
    """

    protocol: str
    figures: Mapping[str, float | None]
