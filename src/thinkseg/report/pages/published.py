"""Scores that papers report, to be shown beside those of a run: other data, models or settings, so no comparison.

In: published.yaml of this package. Out: the entries about one benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Annotated

from pydantic import Field

from thinkseg.models import ASSETS
from thinkseg.storage.settings_file import FROM_LIST, Settings, read_yaml

PUBLISHED = ASSETS / "published.yaml"


class PublishedScore(Settings):
    """Scores of a method on a benchmark in percent, by name.

    setting: what they were measured with. source: the paper, with its number at arXiv.
    """

    method: str
    benchmark: str
    scores: dict[str, Annotated[float, Field(ge=0, le=100)]]
    setting: str
    source: Annotated[str, Field(pattern=r"arXiv \d{4}\.\d{5}")]


class _Published(Settings):
    entries: Annotated[tuple[PublishedScore, ...], FROM_LIST]


def published(benchmark: str) -> Sequence[PublishedScore]:
    """Returns the published scores on a benchmark, a key of `thinkseg.data.BENCHMARKS`; () if none are known."""
    return [entry for entry in _entries() if entry.benchmark == benchmark]


@cache
def _entries() -> tuple[PublishedScore, ...]:
    return read_yaml(_Published, PUBLISHED).entries
