"""Issues of a data set's files: the error for one issue, and the record of many.

A `DatasetFileError` carries the kind of its issue, so that issues can be counted. `DatasetIssues` raises the first
issue, or with `keep_going` counts all of them and keeps the first messages of each kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from thinkseg.errors import DatasetError, VideoError
from thinkseg.scale.workers import WorkerLostError

Item = TypeVar("Item")
Result = TypeVar("Result")

IssueKind = Literal[
    "invalid_file",
    "invalid_field",
    "unsafe_path",
    "unknown_id",
    "missing_frame",
    "missing_mask",
    "unclear_mask",
    "size_mismatch",
    "invalid_rle",
    "unexpected_count",
    "worker_lost",
]
"""Kinds of issues.

invalid_file: a file or folder of the layout is missing, or is not the documented JSON.
invalid_field: a field of a JSON file is missing, or its value is not as documented.
unsafe_path: a name in a JSON file would lead out of the data set's folder.
unknown_id: an id without an object, mask or video.
missing_frame: a frame is missing or cannot be read.
missing_mask: a mask is missing or cannot be read.
unclear_mask: the values of a mask image do not say which pixels are the object.
size_mismatch: an image or a mask does not have the size of its video.
invalid_rle: a mask is not a valid RLE.
unexpected_count: the number of something differs from the documented number.
worker_lost: processes died during a video, see `thinkseg.scale.workers.WorkerLostError`.
"""


MAX_EXAMPLES = 3
"""Messages kept of each kind."""


class DatasetFileError(DatasetError):
    """One issue of a data set's files."""

    def __init__(self, kind: IssueKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.kind, *self.args)


Issue = DatasetFileError | VideoError
"""What `DatasetIssues` records."""

ISSUES = (DatasetFileError, VideoError)
"""The same, to catch."""


class DatasetIssues:
    """The issues found so far.

    keep_going: count issues and skip the affected parts; otherwise the first issue is raised.
    counts: number of issues per kind. examples: the first messages of each kind, at most `MAX_EXAMPLES`.
    """

    def __init__(self, keep_going: bool = False) -> None:
        self.keep_going = keep_going
        self.counts: Counter[IssueKind] = Counter()
        self.examples: dict[IssueKind, list[str]] = {}

    @property
    def total(self) -> int:
        """Number of issues of all kinds."""
        return self.counts.total()

    def add(self, issue: Issue) -> None:
        """Counts an issue, or raises it without `keep_going`; a VideoError without a kind is a "missing_frame"."""
        if not self.keep_going:
            raise issue
        self.note(issue)

    def note(self, issue: Issue) -> None:
        """Counts an issue that affects no result; never raises it."""
        kind: IssueKind = getattr(issue, "kind", "missing_frame")
        self.counts[kind] += 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(str(issue))

    def filtered(self, results: Iterable[tuple[Item, Result | Issue | None]]) -> Iterator[tuple[Item, Result]]:
        """Yields the results of a worker. Its issues go to `add`, and at the end those of videos that are set aside."""
        lost: list[WorkerLostError] = []
        for item, found in results:
            if isinstance(found, WorkerLostError):
                lost.append(found)
            elif isinstance(found, Issue):
                self.add(found)
            elif found is not None:
                yield item, found
        for error in lost:
            self.add(error)

    @contextmanager
    def skipping(self) -> Iterator[None]:
        """Ends the block at the first issue, which goes to `add`."""
        try:
            yield
        except ISSUES as issue:
            self.add(issue)
