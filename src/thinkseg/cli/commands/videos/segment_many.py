"""`thinkseg segment` of many questions: a folder each, and a table of all."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.cli import model_options
from thinkseg.cli.output_options import OutputOptions
from thinkseg.cli.worker_options import open_workers
from thinkseg.console import Progress, say, table, warn
from thinkseg.errors import ThinkSegError, one_line

if TYPE_CHECKING:
    from thinkseg.data.readers.frame_rates import FrameTimes
    from thinkseg.data.readers.video_window import Window
    from thinkseg.scale.ray_cluster import Placement
    from thinkseg.segmenter.batch import Batch, Writable
    from thinkseg.segmenter.questions import Question
    from thinkseg.storage.run_folder import Row
    from thinkseg.types import Frames, LabelUnit, Segmentation, VideoSample

FAILED = 1
"""Exit status if a reply could not be used, or one of many videos could not be read."""


@dataclass(frozen=True, slots=True)
class Job:
    """Many questions, and how they are answered.

    formats: of the masks. window: the part of each video that is used. fps: of frames without times. placement: of
    workers; None for this process alone.
    """

    questions: Sequence[Question]
    out: Path
    models: model_options.ChosenModels
    asking: model_options.PolicyOptions
    output: OutputOptions
    formats: Sequence[str]
    window: Window
    fps: float | None
    placement: Placement | None


def segment_many(job: Job, dry_run: bool) -> int:
    """Answers questions in a folder that resumes. Returns the exit status."""
    from thinkseg.segmenter.batch import Batch
    from thinkseg.segmenter.questions import INDEX

    job.asking.chain_function()
    batch = Batch(job.questions, job.out)
    if dry_run:
        print(_plan(job, batch))
        return 0
    with Progress() as progress:
        rows = _run(job, batch, progress)
    if job.output.text:
        print(_table(rows))
        if job.output.verbose:
            print(*(_details(row, batch) for row in rows), format_seconds(progress.seconds), sep="\n")
        say(f"wrote {job.out / INDEX}")
    return _report_failures(rows)


def format_seconds(*parts: Mapping[str, float]) -> str:
    """Returns where the time went, as text. parts: seconds by the name of a step."""
    return f"time: {'; '.join(', '.join(f'{step} {time:.2f} s' for step, time in part.items()) for part in parts)}"


def _run(job: Job, batch: Batch, progress: Progress) -> list[Row]:
    """Answers what is to be done. Returns the rows of all questions."""
    from thinkseg.segmenter.many import BATCH_SIZE

    total, done = len(job.questions), len(batch.done)
    if job.output.json:
        for question in batch.done:
            _print_json(batch.row_of(question), batch)

    def show() -> None:
        progress.show("answering", f"{min(done + 1, total)} of {total}:")

    def on_row(row: Row) -> None:
        nonlocal done
        done += 1
        show()
        if job.output.json:
            _print_json(row, batch)

    # With one query per video, nothing computed from its frames is used again.
    repeated = len({one.video for one in batch.todo}) < len(batch.todo)
    make = partial(Answering, replace(job, questions=()), repeated, progress)
    with open_workers(make, job.placement, progress, _path_of_video, BATCH_SIZE) as worker:
        show()
        return batch.run(worker, on_row)


def _path_of_video(question: Question) -> str:
    return str(question.video)


class Answering:
    """The models of a job, loaded. A `thinkseg.scale.workers.Worker`.

    repeated: some videos have several questions. settings: what decides the results of the whole folder.
    """

    def __init__(self, job: Job, repeated: bool, progress: Progress) -> None:
        from thinkseg.data.readers.frame_rates import Rates
        from thinkseg.evaluation.evaluate import Method
        from thinkseg.segmenter.many import BATCH_SIZE

        models, asking = job.models, job.asking
        self._job, self._progress, self._rates = job, progress, Rates(job.fps)
        features = {} if repeated else {"feature_cache_bytes": 0}
        tracker = models.load_tracker(progress, **asking.placement(), **features)
        policy = models.load_policy(progress, **asking.settings())
        self._method = Method(asking.chain_name, policy, tracker, asking.view(policy), BATCH_SIZE, asking.reading)
        self.settings = self._settings()

    def answer(self, items: Sequence[Question]) -> Generator[tuple[Question, Writable | ThinkSegError], None, None]:
        """Yields the result of each question, or why its video cannot be used."""
        from thinkseg.segmenter.batch import NewResult

        with closing(self._answers(items)) as answers:
            for question, answer in zip(items, answers, strict=True):
                if isinstance(answer, ThinkSegError):
                    yield question, answer
                    continue
                new = NewResult(answer, self._job.formats, self._record(answer))
                yield question, new.packed() if self._job.placement else new

    def _settings(self) -> dict[str, Any]:
        from thinkseg.models.devices import device_of

        job, method = self._job, self._method
        used = {"device": device_of(method.policy, method.tracker), "fps": job.fps, "save": list(job.formats)}
        return {**job.asking.settings(), **method.settings(), **used, "window": asdict(job.window)}

    def _record(self, result: Segmentation) -> dict[str, Any]:
        """The settings in answer.json, with the labels of frames that were shown."""
        from thinkseg.data.readers.frame_rates import has_times

        view = self._method.resolved_view
        timed: LabelUnit = "seconds" if has_times(result.sample.video) else "index"
        shown = replace(view, label_unit=timed if view.label_unit == "auto" else view.label_unit)
        return self._job.asking.record(self._method.policy, self._method.tracker, shown)

    def _answers(self, questions: Sequence[Question]) -> Generator[Segmentation | ThinkSegError, None, None]:
        from thinkseg.segmenter.many import Clip, answer_clips

        groups = [(video, list(group)) for video, group in groupby(questions, attrgetter("video"))]
        clips = [Clip(partial(self._open, video), [one.query for one in group], video.name) for video, group in groups]
        return answer_clips(clips, self._ask)

    def _open(self, video: Path) -> Frames:
        from thinkseg.ops.video import open_video

        opened = open_video(video)
        self._job.models.check_times(self._job.asking, self._rates.times_of(opened))
        return self._job.window.of(self._rates.timed(opened))

    def _ask(self, samples: Sequence[VideoSample], times: FrameTimes) -> Iterator[Segmentation]:
        from thinkseg.chains import get_chain
        from thinkseg.pipeline import segment_samples

        method = self._method
        chain, view = get_chain(method.chain), times.decide(method.resolved_view)
        models = method.policy, method.tracker
        return segment_samples(samples, chain, *models, view, method.batch_size, self._progress, method.reading)


def _plan(job: Job, batch: Batch) -> str:
    """Returns what would be done, a line per question."""
    held = set(batch.done)
    rows = [("done" if one in held else "to do", one.id, str(one.video), one.query) for one in job.questions]
    count = f"{len(batch.todo)} of {len(rows)} questions to do, into {job.out}"
    return f"{table(('', 'id', 'video', 'query'), rows)}\n{one_line(count)}"


def _table(rows: Sequence[Row]) -> str:
    columns = ("id", "status", "keyframe", "objects", "seen", "frames", "seconds", "query")
    cells = [[str(row.get(name, "")) for name in columns] for row in rows]
    return table(columns, cells, numbers=range(2, 7))


def _details(row: Row, batch: Batch) -> str:
    """Returns the thinking and the time of one question."""
    record = batch.read_answer(row)
    if record is None:
        return f"{row['id']}: {row['error']}"
    seconds = {str(step.key): step.number() for step in record["seconds"].values()}
    return f"{row['id']}: {record['thinking'].value or '-'}\n  {format_seconds(seconds)}"


def _print_json(row: Row, batch: Batch) -> None:
    """Prints a line of JSON: the id and status of a question, and answer.json or the error."""
    record = batch.read_answer(row)
    content = {str(field.key): field.value for field in record.values()} if record else {"error": row["error"]}
    print(json.dumps({"id": row["id"], "status": row["status"], **content}, ensure_ascii=False), flush=True)


def _report_failures(rows: Sequence[Row]) -> int:
    """Prints the warnings, once each, and the questions that have no answer. Returns the exit status."""
    from thinkseg.segmenter.batch import ERROR, UNUSABLE

    for warning, count in Counter(warning for row in rows for warning in row["warnings"]).items():
        print(one_line(f"warning: {warning} ({count} of {len(rows)} questions)"), file=sys.stderr)
    failed = [row for row in rows if row["status"] in (ERROR, UNUSABLE)]
    for row in failed:
        warn(one_line(f"{row['id']}: {row['error']}"))
    if failed:
        warn(f"{len(failed)} of {len(rows)} questions have no answer")
    return FAILED if failed else 0
