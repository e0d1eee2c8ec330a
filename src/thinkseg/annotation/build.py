"""Builds a chain-of-thought set in a folder; a run that is interrupted at any moment can be resumed.

    settings.json      source, annotator and settings
    answers.jsonl      every question that was processed and its reply, appended as it arrives
    frames/            the frames of every question that was prompted
    samples.jsonl      the set: verified samples (see `thinkseg.data.cot`)
    rejected.jsonl     the other answers, each with the reasons against it
    counts.json        questions drawn, kept and rejected, and token usage

A reply costs money, so it is stored at once and never requested again. The other files are made from answers.jsonl at
the end of each run: a resumed run gives the same set, and a change of `annotation.verify` needs no new replies.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import thinkseg
from thinkseg.annotation.annotators import Annotator
from thinkseg.annotation.answers import (
    ANSWERS,
    Verification,
    answer_row,
    reply_of,
    skipped_row,
    upgraded,
    verify_row,
    write_set,
)
from thinkseg.annotation.costs import CostTracker
from thinkseg.annotation.prompts import TEMPLATES
from thinkseg.annotation.source import AnnotationSource
from thinkseg.annotation.tasks import Preparer, SkippedQuestion, Task
from thinkseg.data.cot import write_frames
from thinkseg.data.readers.issues import DatasetIssues, Issue
from thinkseg.errors import ModelError, ThinkSegError
from thinkseg.models.fingerprint import fingerprint_of
from thinkseg.prompts import VeasonPrompts
from thinkseg.scale.workers import Worker
from thinkseg.selection.draw import seeded_hash
from thinkseg.selection.strata import Candidate
from thinkseg.storage.fingerprint import text_fingerprint
from thinkseg.storage.outputs import writing
from thinkseg.storage.run_folder import ResultFolder, Row
from thinkseg.types import Reply, View

MAX_FAILURES_IN_A_ROW = 5
"""Stops requests: this many failures in a row are a fault of the server, not of the questions."""


@dataclass(frozen=True, slots=True)
class AnnotationSettings:
    """How a set is made.

    view: number and size of the frames. seed: of all random choices. extra: further settings that define the set,
    plain JSON values.
    """

    view: View
    seed: int
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationResult:
    """Verified answers and the questions that have none.

    verifications: in the order drawn. failures: an error per question whose request failed. num_unreadable: questions
    skipped because of an invalid frame or mask. num_unasked: questions left over by the budget or by
    `MAX_FAILURES_IN_A_ROW`.
    """

    verifications: Sequence[Verification]
    failures: Sequence[ModelError]
    num_unreadable: int
    num_unasked: int


def annotate(
    source: AnnotationSource,
    drawn: Sequence[Candidate],
    annotator: Annotator,
    settings: AnnotationSettings,
    costs: CostTracker,
    out: Path,
    *,
    issues: DatasetIssues | None = None,
    preparer: Worker[str, Task | SkippedQuestion | Issue] | None = None,
    on_answer: Callable[[int], None] | None = None,
) -> AnnotationResult:
    """Prompts the annotator with the questions that have no answer yet, within the budget, and writes the set.

    costs: new; the usage of earlier runs in `out` is added. issues: collects invalid frames and masks (default: raise
    the first). preparer: of the questions (default: a `Preparer` in this process). on_answer: called with the number of
    questions done.
    Raises SettingsError if `out` is not writable, holds another set or is in use; DatasetError or VideoError for
    invalid files; ModelError if the budget cannot be tracked.
    """
    with ResultFolder(out, _stored_settings(source, annotator, settings), ANSWERS) as folder:
        folder.rows = {name: upgraded(row) for name, row in folder.rows.items()}
        folder.check_rows(source.fingerprint)
        rows = dict(folder.rows)
        for reply in filter(None, map(reply_of, rows.values())):
            costs.record(reply)
        todo = [candidate.id for candidate in drawn if candidate.id not in rows]
        num_other_rows = len(rows) - (len(drawn) - len(todo))

        def keep(row: Row) -> None:
            row["fingerprint"] = source.fingerprint(row["id"])
            folder.add(row)
            rows[row["id"]] = row
            if on_answer:
                on_answer(len(rows) - num_other_rows)

        issues = issues or DatasetIssues()
        num_earlier_issues = issues.total
        preparer = preparer or Preparer(source, settings.view, settings.seed)
        tasks = _prepared(preparer.answer(todo), issues, out)
        failures = _request_all(tasks, _InFlight(annotator, settings.seed, costs, keep))
        verifications = [verify_row(one, rows[one.id], settings.view) for one in drawn if one.id in rows]
        with writing(out):
            write_set(verifications, drawn, out)
    num_unreadable = issues.total - num_earlier_issues
    num_unasked = len(drawn) - len(verifications) - len(failures) - num_unreadable
    return AnnotationResult(verifications, failures, num_unreadable, num_unasked)


def _stored_settings(source: AnnotationSource, annotator: Annotator, settings: AnnotationSettings) -> dict[str, Any]:
    """Returns all settings but the number of samples, which a later run may raise."""
    view = settings.view
    return {
        **source.settings,
        **settings.extra,
        # Sets of earlier versions, which lack it, have seconds.
        **({} if view.label_unit == "seconds" else {"label_unit": view.label_unit}),
        "annotator": annotator.name,
        "seed": settings.seed,
        "version": thinkseg.__version__,
        "boxes_in_thinking": annotator.boxes_in_thinking,
        "view": {
            "num_frames": view.num_frames,
            "frame_wh": list(view.frame_wh),
            "coordinates": view.coordinates,
        },
        "fingerprints": {
            "annotator": dict(fingerprint_of(annotator)),
            "prompts": {"annotation": text_fingerprint(repr(TEMPLATES), *_labels(view.wording.veason))},
        },
    }


def _labels(wording: VeasonPrompts) -> tuple[str, ...]:
    """Returns what identifies the labels of frames; for the built-in ones, what earlier versions stored."""
    labels = {
        "seconds": wording.frame.seconds.replace("{time}", "{}").removesuffix("{image}"),
        "index": wording.frame.index.replace("{index}", "{}").removesuffix("{image}"),
    }
    return (repr(labels), *([] if wording.unit == VeasonPrompts().unit else [repr(wording.unit)]))


def _prepared(
    found: Generator[tuple[str, Task | SkippedQuestion | Issue], None, None], issues: DatasetIssues, out: Path
) -> Iterator[Task | SkippedQuestion]:
    """Yields prepared questions, and writes the frames of each. Issues go to `issues`."""
    with closing(found):
        tasks: Iterator[tuple[str, Task | SkippedQuestion]] = issues.filtered(found)
        for _, task in tasks:
            if isinstance(task, Task):
                with writing(out):
                    write_frames(out, task.draft.frames, task.images)
            yield task


def _request_all(tasks: Iterator[Task | SkippedQuestion], in_flight: _InFlight) -> list[ModelError]:
    """Submits tasks as `in_flight` has room for them and returns the errors of failed requests.

    Another thread prepares the next task, so that an answer is stored as soon as it arrives.
    """
    with ThreadPoolExecutor(1) as preparer, in_flight:
        upcoming: Future[Task | SkippedQuestion | None] | None = preparer.submit(next, tasks, None)
        while True:
            awaited: set[Future[Any]] = {upcoming} if upcoming and in_flight.has_room() else set()
            if not awaited and not in_flight.replies:
                return in_flight.failures
            done = wait({*in_flight.replies, *awaited}, return_when=FIRST_COMPLETED).done
            in_flight.settle(done)
            if upcoming and upcoming in done:
                task = upcoming.result()
                upcoming = preparer.submit(next, tasks, None) if task else None
                if task:
                    in_flight.submit(task)


class _InFlight:
    """Requests without a reply yet. A context manager: if another step fails, it waits for them and stores replies."""

    def __init__(self, annotator: Annotator, seed: int, costs: CostTracker, keep: Callable[[Row], None]) -> None:
        self.replies: dict[Future[Reply], tuple[Task, int]] = {}
        self.failures: list[ModelError] = []
        self._annotator = annotator
        self._seed = seed
        self._costs = costs
        self._keep = keep
        self._failures_in_a_row = 0

    def has_room(self) -> bool:
        """Returns whether another request is allowed now."""
        count = len(self.replies)
        if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW or count >= self._annotator.concurrency:
            return False
        return self._costs.allows(count)

    def submit(self, task: Task | SkippedQuestion) -> None:
        """Requests a reply, or stores the row of a skipped question."""
        if isinstance(task, SkippedQuestion):
            self._keep(skipped_row(task))
            return
        template = seeded_hash(self._seed, "template", task.draft.id) % len(TEMPLATES)
        self.replies[self._annotator.submit(task, template)] = task, template

    def settle(self, done: Iterable[Future[Any]]) -> None:
        """Stores the replies and errors of futures that are done."""
        for future in self.replies.keys() & set(done):
            task, template = self.replies.pop(future)
            try:
                reply = future.result()
            except ModelError as error:
                self.failures.append(error)
                self._failures_in_a_row += 1
                continue
            self._failures_in_a_row = 0
            self._keep(answer_row(task, template, reply))
            self._costs.record(reply)

    def __enter__(self) -> _InFlight:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # Requests in flight are paid for anyway. After a signal there is no time to wait for them.
        self.settle(wait(self.replies, timeout=None if isinstance(error, ThinkSegError) else 0).done)
        for reply in self.replies:
            reply.cancel()
