"""A folder of results of many questions, which resumes when it is interrupted.

    index.csv       a row per question, see `COLUMNS`
    clip-1/         the result of a question (`thinkseg.report.result_files`), by its id
    settings.json, results.jsonl    what a later call needs to resume (`thinkseg.storage.run_folder`)

A question is answered again if its query or its video has changed, if its video could not be read, or if its folder is
gone. Other settings or models are an error.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np

from thinkseg.chains.parsing import explained
from thinkseg.data.readers.frame_rates import RATE_FILE
from thinkseg.data.readers.json_tree import JsonNode, read_json
from thinkseg.errors import ThinkSegError
from thinkseg.ops.frame_folder import frame_files
from thinkseg.report.formats import FORMATS
from thinkseg.report.result_files import ANSWER, COMMAND, write_files
from thinkseg.scale.workers import Worker
from thinkseg.segmenter.questions import INDEX, Question
from thinkseg.storage.atomic import delete, replacing
from thinkseg.storage.fingerprint import file_fingerprint, sample_fingerprint, text_fingerprint
from thinkseg.storage.outputs import check_folder, writing
from thinkseg.storage.result_folder import check_no_result, check_out, result_folder
from thinkseg.storage.run_folder import ROWS, ResultFolder, Row, read_rows
from thinkseg.types import Segmentation, part_of

ANSWERED, NO_TARGET, UNUSABLE, ERROR = "answered", "no target", "unusable", "error"
"""What became of a question. unusable: the reply. error: the video cannot be used."""

STATUSES = (ANSWERED, NO_TARGET, UNUSABLE, ERROR)
TEXTS = ("id", "video", "query", "folder", "error")
"""Fields of a row that are text."""

COLUMNS = (
    *("id", "video", "query", "status", "keyframe", "time", "objects", "frames", "seen", "seconds", "folder"),
    *("error", "warnings"),
)
"""Columns of index.csv, see docs/segment.md."""

STEPS = ("frames", "policy", "tracker")
"""Steps whose seconds a row has in sum."""

MAX_FRAME_FILES = 16
"""Files of a folder of images that its fingerprint reads."""


class Writable(Protocol):
    """A result that can be written."""

    def write(self, folder: Path) -> Row:
        """Writes the files of the result to an existing folder, and returns the facts of its row."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class NewResult:
    """A result, written from its video. formats: of the masks. settings: for answer.json."""

    result: Segmentation
    formats: Iterable[str]
    settings: Mapping[str, Any]

    def write(self, folder: Path) -> Row:
        """See `Writable`."""
        left_out = write_files(self.result, folder, self.settings, formats=self.formats)
        missing = [f"{FORMATS[name].file} is missing: {error}" for name, error in left_out.items()]
        return _facts(self.result) | {"warnings": [*self.result.warnings, *missing]}

    def packed(self) -> PackedResult:
        """Returns the result with its files, which another process then writes without the video."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            facts = self.write(folder)
            paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            return PackedResult(facts, {str(path.relative_to(folder)): path.read_bytes() for path in paths})


@dataclass(frozen=True, slots=True, eq=False)
class PackedResult:
    """A result whose files are written. files: contents by path."""

    facts: Row
    files: Mapping[str, bytes]

    def write(self, folder: Path) -> Row:
        """See `Writable`."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return self.facts


class Batch:
    """The results of questions in a folder. done, todo: the questions with and without a result that still holds.

    Raises SettingsError if the folder cannot be written, or has a single result.
    """

    def __init__(self, questions: Sequence[Question], out: Path) -> None:
        check_folder(out)
        check_no_result(out)
        self._out, self._questions = out, questions
        self._videos: dict[Path, str] = {}
        self._rows = read_rows(out / ROWS)
        self.done = [question for question in questions if self._holds(question, self._rows.get(question.id))]
        held = set(self.done)
        self.todo = [question for question in questions if question not in held]
        for question in self.todo:
            if os.path.lexists(self.folder_of(question)):
                check_out(self.folder_of(question), COMMAND)

    def folder_of(self, question: Question) -> Path:
        """Returns the folder of a result."""
        return self._out / question.id

    def row_of(self, question: Question) -> Row:
        """Returns the row of a question that is done."""
        return self._rows[question.id]

    def read_answer(self, row: Row) -> JsonNode | None:
        """Returns a result's answer.json; None if there is no result. Raises DatasetError if it is damaged."""
        return read_json(self._out / row["folder"] / ANSWER) if row["folder"] else None

    def run(
        self,
        worker: Worker[Question, Writable | ThinkSegError],
        on_row: Callable[[Row], None],
    ) -> list[Row]:
        """Answers what is to be done, and returns the rows of all questions, in order.

        worker: yields the results of questions, or why they have none. on_row: called with each new row.
        Raises SettingsError if the folder has results of other settings, or is in use by another run.
        """
        with ResultFolder(self._out, worker.settings) as folder:
            try:
                with closing(worker.answer(self.todo)) as answers:
                    for question, result in answers:
                        folder.add(self._kept(question, result))
                        on_row(folder.rows[question.id])
            finally:
                self._write_index(folder.rows)
            return [folder.rows[question.id] for question in self._questions]

    def _holds(self, question: Question, row: Row | None) -> bool:
        """Whether a row is the result of a question as it is now."""
        if row is None or not _is_intact(row) or row["folder"] != question.id:
            return False
        same = bool(row.get("fingerprint") == self._fingerprint(question))
        return same and (self.folder_of(question) / ANSWER).is_file()

    def _fingerprint(self, question: Question) -> dict[str, str]:
        if question.video not in self._videos:
            self._videos[question.video] = video_fingerprint(question.video)
        return {"query": text_fingerprint(question.query), "video": self._videos[question.video]}

    def _kept(self, question: Question, result: Writable | ThinkSegError) -> Row:
        """Writes the folder of a result, and returns its row. Without a result, an earlier folder is deleted."""
        row: Row = {"id": question.id, "video": str(question.video), "query": question.query, "folder": question.id}
        row["fingerprint"] = self._fingerprint(question)
        folder = self.folder_of(question)
        if isinstance(result, ThinkSegError):
            delete(folder)
            return row | {"status": ERROR, "error": str(result), "folder": "", "warnings": []}
        with result_folder(folder, COMMAND, question.video) as files:
            return row | result.write(files)

    def _write_index(self, rows: Mapping[str, Row]) -> None:
        """Writes the table of all results in the folder, those of earlier questions last."""
        asked = [question.id for question in self._questions if question.id in rows]
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        for name in dict.fromkeys([*asked, *rows]):
            if _is_intact(rows[name]):
                table.writerow(rows[name] | {"warnings": "; ".join(rows[name]["warnings"])})
        with writing(self._out), replacing(self._out / INDEX) as partial:
            partial.write_text(text.getvalue(), "utf-8", "backslashreplace", newline="")


def _is_intact(row: Row) -> bool:
    """Whether a stored row has the fields that are used, with their types."""
    warnings = row.get("warnings")
    texts = [*(row.get(name) for name in TEXTS), *(warnings if isinstance(warnings, list) else [None])]
    return row.get("status") in STATUSES and all(isinstance(text, str) for text in texts)


def _facts(result: Segmentation) -> Row:
    """Returns what a row says about a result."""
    video, answer, masklets = result.sample.video, result.answer, result.masklets
    facts: Row = {
        "status": ANSWERED if answer else UNUSABLE,
        "error": explained(result.failure) if result.failure else "",
        "objects": masklets.num_objects,
        "frames": len(video),
        "seen": int(np.any([masklets.seen(obj) for obj in range(masklets.num_objects)], axis=0).sum()),
        "seconds": round(sum(result.seconds[step] for step in STEPS), 3),
    }
    if answer is None:
        return facts
    if answer.keyframe is None:
        return facts | {"status": NO_TARGET}
    return facts | {"keyframe": part_of(video).indices[answer.keyframe], "time": video.time_of(answer.keyframe)}


def video_fingerprint(video: Path) -> str:
    """Returns the fingerprint of a file, or of a folder of images with its rate. It never raises."""
    if not os.path.isdir(video):
        return file_fingerprint(video)
    try:
        files = frame_files(video)
    except ThinkSegError as error:
        return str(error)
    rates = [file_fingerprint(folder / RATE_FILE) for folder in (video, video.parent)]
    return text_fingerprint(*(file.name for file in files), sample_fingerprint(files, MAX_FRAME_FILES), *rates)
