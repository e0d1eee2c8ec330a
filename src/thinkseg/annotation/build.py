"""A set from questions and an annotator, in a folder that can be cut off at any moment (see
`thinkseg.storage.run_folder`).

    settings.json      what it is made from and how
    answers.jsonl      every question that was looked at, with what the annotator replied, written as it arrives
    frames/            the frames of every question that was asked
    samples.jsonl      the set: what can be taught (see `thinkseg.data.cot`)
    rejected.jsonl     the rest of the answers, each with the reasons against it
    counts.json        how many questions were drawn, kept and rejected, and the tokens they took

A reply is paid for, so it is kept before anything else happens to it, and its question is not asked again. The set and
what was rejected are made from answers.jsonl alone, each time: a run that was cut off comes to the same set in the end,
and a change of the rules in `annotation.verify` takes no new replies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import thinkseg
from thinkseg.annotation.annotators import Annotator
from thinkseg.annotation.candidates import Candidate, Source
from thinkseg.annotation.costs import CostTracker
from thinkseg.annotation.prompts import TEMPLATES
from thinkseg.annotation.sampling import chance
from thinkseg.annotation.tasks import SkippedQuestion, Task, prepare
from thinkseg.annotation.verdicts import (
    ANSWERS,
    Verification,
    answer_row,
    reply_of,
    unusable_row,
    verdict,
    write_verdicts,
)
from thinkseg.data.cot import write_frames
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.errors import ModelError, ThinkSegError
from thinkseg.storage.atomic import writing
from thinkseg.storage.run_folder import ResultFolder, Row
from thinkseg.types import Reply, View

MOST_FAILURES = 5
"""Questions in a row that may go without an answer before no more are asked: then it is not about one of them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a set is made. view: how many frames are shown, and at what size. seed: of all that is drawn by chance.

    settings: whatever else decides the set, plain JSON values.
    """

    view: View
    seed: int
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationResult:
    """Verified answers and the questions that have none.

    verdicts: in the order drawn. failures: an error per question whose request failed. num_unreadable: questions
    skipped because of an invalid frame or mask. num_unasked: questions that the budget, or `MOST_FAILURES` errors in a
    row, left over.
    """

    verdicts: Sequence[Verification]
    failures: Sequence[ModelError]
    num_unreadable: int
    num_unasked: int


def make(
    source: Source,
    drawn: Sequence[Candidate],
    annotator: Annotator,
    plan: Plan,
    purse: CostTracker,
    out: Path,
    *,
    issues: DatasetIssues | None = None,
    on_answer: Callable[[int], None] | None = None,
) -> AnnotationResult:
    """Asks what was not asked before, as far as the purse goes, and writes the set.

    purse: new; what earlier runs in `out` have spent is added. problems: what to do about frames or masks that are
    broken; the first is raised unless given. on_answer: called with how many questions are done.
    Raises SettingsError if `out` cannot be written, holds another set or is in use; DatasetError or VideoError for what
    is broken; ModelError for a budget that cannot be kept.
    """
    with ResultFolder(out, _settings(source, annotator, plan), ANSWERS) as folder:
        for reply in filter(None, map(reply_of, folder.rows.values())):
            purse.pay(reply)
        todo = [candidate for candidate in drawn if candidate.id not in folder.rows]
        before = len(folder.rows) - (len(drawn) - len(todo))

        def keep(row: Row) -> None:
            folder.add(row)
            if on_answer:
                on_answer(len(folder.rows) - before)

        unreadable: list[str] = []
        tasks = _tasks(source, todo, plan, out, issues or DatasetIssues(), unreadable)
        failures = _ask(tasks, _OnTheirWay(annotator, plan.seed, purse, keep))
        verdicts = [verdict(one, folder.rows[one.id], plan.view) for one in drawn if one.id in folder.rows]
        with writing(out):
            write_verdicts(verdicts, drawn, out)
    num_unasked = len(drawn) - len(verdicts) - len(failures) - len(unreadable)
    return AnnotationResult(verdicts, failures, len(unreadable), num_unasked)


def _settings(source: Source, annotator: Annotator, plan: Plan) -> dict[str, Any]:
    """What decides the set, but for how many samples it has, so that more can be added."""
    view = plan.view
    return {
        **source.settings,
        **plan.settings,
        "annotator": annotator.name,
        "seed": plan.seed,
        "version": thinkseg.__version__,
        "tells_boxes": annotator.tells_boxes,
        "view": {
            "num_frames": view.num_frames,
            "frame_wh": list(view.frame_wh),
            "coordinates": view.coordinates,
        },
    }


def _tasks(
    source: Source, todo: Iterable[Candidate], plan: Plan, out: Path, issues: DatasetIssues, unreadable: list[str]
) -> Iterator[Task | SkippedQuestion]:
    """Prepares questions one at a time and writes their frames.

    unreadable: gets the ids of questions whose frames or masks are invalid.
    """
    for candidate in todo:
        task: Task | SkippedQuestion | None = None
        with issues.skipping():
            task = prepare(candidate, *source.sample(candidate.id), plan.view, plan.seed)
            if isinstance(task, Task):
                with writing(out):
                    write_frames(out, task.draft.frames, task.images)
        if task is None:
            unreadable.append(candidate.id)
        else:
            yield task


def _ask(tasks: Iterator[Task | SkippedQuestion], way: _OnTheirWay) -> list[ModelError]:
    """Asks as many at once as may be. Returns why some have no answer.

    The next task is made on another thread, so that no answer waits to be kept.
    """
    with ThreadPoolExecutor(1) as hand, way:
        coming: Future[Task | SkippedQuestion | None] | None = hand.submit(next, tasks, None)
        while True:
            awaited: set[Future[Any]] = {coming} if coming and way.has_room() else set()
            if not awaited and not way.replies:
                return way.failures
            done = wait({*way.replies, *awaited}, return_when=FIRST_COMPLETED).done
            way.settle(done)
            if coming and coming in done:
                task = coming.result()
                coming = hand.submit(next, tasks, None) if task else None
                if task:
                    way.send(task)


class _OnTheirWay:
    """Questions that were asked and not answered yet. At the end of its block no answer that will come is lost."""

    def __init__(self, annotator: Annotator, seed: int, purse: CostTracker, keep: Callable[[Row], None]) -> None:
        self.replies: dict[Future[Reply], tuple[Task, int]] = {}
        self.failures: list[ModelError] = []
        self._annotator = annotator
        self._seed = seed
        self._purse = purse
        self._keep = keep
        self._failed_in_a_row = 0

    def has_room(self) -> bool:
        """Whether another question may be asked now."""
        ways = len(self.replies)
        trusted = self._failed_in_a_row < MOST_FAILURES
        return trusted and ways < self._annotator.at_once and self._purse.allows(ways)

    def send(self, task: Task | SkippedQuestion) -> None:
        """Asks a question, or notes why it cannot be asked."""
        if isinstance(task, SkippedQuestion):
            self._keep(unusable_row(task))
            return
        template = chance(self._seed, "template", task.draft.id) % len(TEMPLATES)
        self.replies[self._annotator.ask(task, template)] = task, template

    def settle(self, done: Iterable[Future[Any]]) -> None:
        """Keeps those of the answers that have come."""
        for reply in self.replies.keys() & set(done):
            task, template = self.replies.pop(reply)
            try:
                answer = reply.result()
            except ModelError as error:
                self.failures.append(error)
                self._failed_in_a_row += 1
                continue
            self._failed_in_a_row = 0
            self._keep(answer_row(task, template, answer))
            self._purse.pay(answer)

    def __enter__(self) -> _OnTheirWay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, ThinkSegError):
            # Something else went wrong; what is asked already will be paid for.
            self.settle(wait(self.replies).done)
        for reply in self.replies:
            reply.cancel()
