"""What is wrong with a data set's files: an error for one flaw, and a record of many.

A flaw is a `DatasetFileError`, which says its kind, so that flaws can be counted. `DatasetIssues` either lets the
first one through
or counts them all and keeps the first of each kind, which is what --keep-going asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from thinkseg.errors import DatasetError, VideoError

Kind = Literal["file", "field", "path", "id", "frame", "mask", "size", "rle", "count"]
"""What can be wrong.

file: a file or folder of the layout is missing, or is not the JSON it should be.
field: a field of a JSON file is missing or holds something else than documented.
path: a name in a JSON file would lead out of the data set's folder.
id: an id that names no object, mask or video that is there.
frame: a frame is missing or cannot be read.
mask: a mask is missing or cannot be read.
size: a picture or a mask is larger or smaller than its video.
rle: the run lengths of a mask do not make one.
count: there are more or fewer of something than the benchmark is known to have.
"""

KINDS: tuple[Kind, ...] = get_args(Kind)

EXAMPLES = 3
"""Flaws of each kind that are kept in full."""


class DatasetFileError(DatasetError):
    """One flaw of one kind in a data set's files."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class DatasetIssues:
    """Flaws found so far.

    keep_going: count flaws and pass over what they spoil; otherwise the first one is raised.
    counts: how often each kind was met. examples: the first of each kind, in full.
    """

    def __init__(self, keep_going: bool = False) -> None:
        self.keep_going = keep_going
        self.counts: Counter[Kind] = Counter()
        self.examples: dict[Kind, list[str]] = {}

    @property
    def total(self) -> int:
        """Flaws of all kinds."""
        return self.counts.total()

    def add(self, flaw: DatasetFileError | VideoError) -> None:
        """Counts a flaw, or raises it; a frame that cannot be read comes as a VideoError."""
        if not self.keep_going:
            raise flaw
        self.note(flaw)

    def note(self, flaw: DatasetFileError | VideoError) -> None:
        """Counts what is odd but stands in nobody's way; it is never raised."""
        kind: Kind = flaw.kind if isinstance(flaw, DatasetFileError) else "frame"
        self.counts[kind] += 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(str(flaw))

    @contextmanager
    def skipping(self) -> Iterator[None]:
        """Gives up the rest of the block at a flaw: counted if going on is wanted, raised if not."""
        try:
            yield
        except (DatasetFileError, VideoError) as flaw:
            self.add(flaw)
