"""Writes the samples of a source in a format into an empty folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from thinkseg.chains import CHAINS, get_chain
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.errors import SettingsError
from thinkseg.export import FORMATS, Format
from thinkseg.export.samples import ExportSample, ExportSettings, SkipSampleError
from thinkseg.export.sources import ExportSource
from thinkseg.types import ProgressCallback


@dataclass(frozen=True, slots=True, eq=False)
class ExportJob:
    """The parameters of a writer.

    folder: exists, and is empty except for images; out: its final path. source: name of the data set and split.
    name: of the export in configurations. model: a folder or hub name. size_multiple: side of an image token in pixels.
    info: a dataset_info.json of LLaMA-Factory that gets the export's entry (default: one in the export).
    """

    folder: Path
    out: Path
    source: str
    name: str
    settings: ExportSettings
    model: str
    size_multiple: int
    info: Path | None = None


@dataclass(frozen=True, slots=True)
class ExportResult:
    """written: number of samples. skipped: number of the other questions by reason."""

    written: int
    skipped: Mapping[str, int]


def checked_format(format_name: str, chain: str) -> Format:
    """Returns a format. Raises SettingsError if it is unknown or does not support a chain."""
    get_chain(chain)
    if format_name not in FORMATS:
        raise SettingsError(f"unknown format {format_name!r}: must be one of {', '.join(FORMATS)}")
    found = FORMATS[format_name]
    if chain not in found.chains:
        if chain not in CHAINS:
            raise SettingsError(f"{found.title}: cannot export the chain {chain!r}; must be one of {', '.join(CHAINS)}")
        raise SettingsError(
            f"{found.title}: the chain {chain!r} shows an image in its second turn, which is not supported; "
            f"export for verl, or use the chain {found.chains[0]!r}"
        )
    return found


def export(
    source: ExportSource,
    format_name: str,
    job: ExportJob,
    issues: DatasetIssues,
    progress: ProgressCallback | None = None,
) -> ExportResult:
    """Writes all samples of a source that a format can use.

    issues: collects or raises invalid files. progress: called with (done, total) questions.
    Raises SettingsError if there is no such sample or the format cannot be written; OSError if a file cannot be.
    """
    module, _, function = checked_format(format_name, job.settings.chain).write.partition(".")
    write = getattr(import_module(f"thinkseg.export.{module}"), function)
    samples = _Samples(source, job.settings, issues, progress)
    write(samples, job)
    if not samples.written:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in samples.skipped.items())
        raise SettingsError(
            f"{source.name}: none of {len(source)} questions can be exported ({reasons or 'all are unreadable'})"
        )
    return ExportResult(samples.written, samples.skipped)


class _Samples:
    """Iterates over the usable samples of a source. written, skipped: as in `ExportResult`, so far."""

    def __init__(
        self, source: ExportSource, settings: ExportSettings, issues: DatasetIssues, progress: ProgressCallback | None
    ) -> None:
        self._source = source
        self._settings = settings
        self._issues = issues
        self._progress = progress
        self.written = 0
        self.skipped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[ExportSample]:
        for number in range(len(self._source)):
            if sample := self._sample(number):
                self.written += 1
                yield sample
            if self._progress:
                self._progress(number + 1, len(self._source))

    def _sample(self, number: int) -> ExportSample | None:
        with self._issues.skipping():
            try:
                return self._source.sample(number, self._settings)
            except SkipSampleError as reason:
                self.skipped[str(reason)] += 1
        return None
