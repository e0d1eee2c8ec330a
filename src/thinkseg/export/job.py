"""One export: a source of questions and a format in, an empty folder filled."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from thinkseg.chains import get_chain
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.errors import SettingsError
from thinkseg.export import FORMATS, Format
from thinkseg.export.questions import ExportSettings, Question, SkipSampleError, check_placeholders
from thinkseg.export.sources import Source
from thinkseg.types import Progress


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What a writer must know besides the questions.

    folder: there, and empty but for pictures; out: what it is going to be called. source: name of the data set.
    name: what the export is called in configurations: letters, digits, dots, dashes and underscores.
    model: whom it is for, a folder or hub name. size_multiple: side of what it sees as one token, in pixels.
    info: LLaMA-Factory's dataset_info.json that the export is added to; None for one of its own.
    """

    folder: Path
    out: Path
    source: str
    name: str
    asking: ExportSettings
    model: str
    size_multiple: int
    info: Path | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """written: questions in the export. left_out: why others are not in it, and how many of them."""

    written: int
    left_out: Mapping[str, int]


def check(format_name: str, chain: str) -> Format:
    """A format by its name. Raises SettingsError if there is none, or it cannot lead the dialogues of a chain."""
    get_chain(chain)
    if format_name not in FORMATS:
        raise SettingsError(f"there is no format {format_name!r}; there are: {', '.join(FORMATS)}")
    one = FORMATS[format_name]
    if chain not in one.chains:
        raise SettingsError(
            f"{one.title} cannot show another picture in a second turn, as the chain {chain} does: "
            f"export it for verl, or choose the chain {one.chains[0]}"
        )
    return one


def export(source: Source, format_name: str, job: Job, issues: DatasetIssues, progress: Progress | None = None) -> Done:
    """Writes all questions of a source that are of use to a format.

    problems: takes what is broken. progress: called with (done, total) questions.
    Raises SettingsError if no question is of use, or the format cannot be written; OSError if a file cannot be.
    """
    module, _, function = check(format_name, job.asking.chain).write.partition(".")
    write = getattr(import_module(f"thinkseg.export.{module}"), function)
    asked = _Asked(source, job.asking, issues, progress)
    write(asked, job)
    if not asked.written:
        told = "; ".join(f"{why}: {count}" for why, count in asked.left_out.items())
        raise SettingsError(f"{source.name}: none of {len(source)} questions can be exported ({told or 'all broken'})")
    return Done(asked.written, asked.left_out)


class _Asked:
    """The questions of a source that are of use, made one by one. written, left_out: as in `Done`, so far."""

    def __init__(
        self, source: Source, asking: ExportSettings, issues: DatasetIssues, progress: Progress | None
    ) -> None:
        self._source = source
        self._asking = asking
        self._problems = issues
        self._progress = progress
        self.written = 0
        self.left_out: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Question]:
        for number in range(len(self._source)):
            if question := self._made(number):
                self.written += 1
                yield question
            if self._progress:
                self._progress(number + 1, len(self._source))

    def _made(self, number: int) -> Question | None:
        with self._problems.skipping():
            try:
                question = self._source.question(number, self._asking)
                check_placeholders(question)
            except SkipSampleError as why:
                self.left_out[str(why)] += 1
            else:
                return question
        return None


def write_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Plain JSON values, one line each."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
