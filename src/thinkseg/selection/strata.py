"""The questions of a benchmark whose targets are known, and their strata.

The strata are {referring, reasoning} x {single, multiple} and questions without a target.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from thinkseg import console
from thinkseg.data.benchmarks.base import NO_TARGET, REFERRING, Benchmark
from thinkseg.data.cot import Targets, Type
from thinkseg.errors import SettingsError

NO_TARGET_STRATUM = "no target"

STRATA = ("referring, single", "referring, multiple", "reasoning, single", "reasoning, multiple", NO_TARGET_STRATUM)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question that may be drawn. id: unique in its data set; video: id of its video."""

    id: str
    video: str
    type: Type
    targets: Targets

    @property
    def stratum(self) -> str:
        """One of `STRATA`."""
        return NO_TARGET_STRATUM if self.targets == "none" else f"{self.type}, {self.targets}"


def candidates_of(benchmark: Benchmark) -> list[Candidate]:
    """Returns the expressions whose targets are known, in order. Raises SettingsError if there are none."""
    found = [
        Candidate(one.key, one.video, question_type(one.category), target_count(len(one.objects)))
        for one in benchmark.expressions
        if one.objects is not None
    ]
    if not found:
        problem = "the targets are not public" if benchmark.expressions else "no expression can be read"
        raise SettingsError(f"{benchmark.name}, split {benchmark.split!r}: {problem}; choose another split")
    return found


def question_type(category: str) -> Type:
    """Returns "referring" for plain referring, no target and no category, else "reasoning".

    Questions without a target have no further category in most data sets, so they count as referring.
    """
    return "referring" if category in (REFERRING, NO_TARGET, "none", "") else "reasoning"


def target_count(num_objects: int) -> Targets:
    """Returns "none", "single" or "multiple"."""
    return "none" if num_objects == 0 else "single" if num_objects == 1 else "multiple"


def stratum_sizes(candidates: Collection[Candidate]) -> dict[str, int]:
    """Returns the number of questions per stratum."""
    counts = Counter(candidate.stratum for candidate in candidates)
    return {name: counts[name] for name in STRATA}


def strata_table(columns: Mapping[str, Collection[Candidate]]) -> str:
    """Returns a table of questions per stratum and of videos, one column per collection."""
    sizes = [stratum_sizes(column) for column in columns.values()]
    rows = [[name, *(f"{size[name]:,}" for size in sizes)] for name in STRATA]
    rows.append(["all", *(f"{len(column):,}" for column in columns.values())])
    videos = (len({candidate.video for candidate in column}) for column in columns.values())
    rows.append(["videos", *(f"{number:,}" for number in videos)])
    return console.table(("stratum", *columns), rows, numbers=range(1, len(columns) + 1))
