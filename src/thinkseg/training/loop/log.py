"""The log of a training run: out/log.jsonl, the same values for reporters, and with the time left on the terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinkseg.console import TimeLeft
from thinkseg.storage.atomic import replacing
from thinkseg.storage.run_folder import LOG
from thinkseg.training import distributed


class RunLog:
    """Appends one JSON object to the log every `every` steps of a stage, and prints its main values on one line.

    Values of a part, such as "rewards/boxes/mean", are in the log alone.

    A stage that resumes from a checkpoint repeats the steps after it, so their old lines are removed first. The log
    then equals that of an uninterrupted run, except for `elapsed_s`, which restarts at 0.

    losses: of the steps since the last line. tensorboard: folder for its files.
    report_to: as in `training.recipes.RunRecipe`.
    Only the main process writes.
    """

    def __init__(
        self,
        out: Path,
        stage: str,
        tensorboard: Path,
        report_to: Sequence[str] | None = (),
        every: int = 1,
    ) -> None:
        self.path = out / LOG
        self.stage = stage
        self.every = every
        self.started = time.monotonic()
        self._time_left = TimeLeft(0)
        self.losses: list[float] = []
        self._tensorboard = tensorboard
        self._reporters: list[Any] = []
        self._report_to = ["tensorboard"] if report_to is None else list(report_to)
        self._is_main = distributed.rank() == 0

    def begin(self, step: int, num_steps: int, losses: Sequence[float] = ()) -> None:
        """Starts or resumes the stage after `step` of `num_steps` steps. losses: see the class."""
        self.losses = list(losses)
        if not self._is_main:
            return
        self.started = time.monotonic()
        self._time_left = TimeLeft(num_steps)
        self._time_left(step)  # steps before the first line in the log count, those of an earlier run do not
        lines = self.path.read_text(errors="replace").splitlines() if self.path.exists() else []
        with replacing(self.path) as partial:
            partial.write_text("".join(f"{line}\n" for line in lines if self._is_kept(line, step)))
        self._reporters = [_reporter(name, self._tensorboard) for name in self._report_to]

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Adds the values of a finished step. A line has the mean loss since the last one, and the other values."""
        self.losses.append(values["loss"])
        if step % self.every:
            return
        values = {**values, "loss": sum(self.losses) / len(self.losses)}
        self.losses.clear()
        if self._is_main:
            self._write(step, values)

    def end(self) -> None:
        """Closes the reporters."""
        for reporter in self._reporters:
            reporter.finish()

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        elapsed = round(time.monotonic() - self.started, 1)
        record: dict[str, Any] = {"stage": self.stage, "step": step, "elapsed_s": elapsed}
        record |= {k: round(v, 6) if isinstance(v, float) and k != "learning_rate" else v for k, v in values.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        for reporter in self._reporters:
            reporter.log(dict(values), step=step)
        text = " ".join(f"{k} {v}" for k, v in record.items() if "/" not in k)
        print(", ".join(filter(None, (text, self._time_left(step)))), flush=True)

    def _is_kept(self, line: str, step: int) -> bool:
        """Whether a line belongs to another stage, or to a step that will not be repeated."""
        try:
            record = json.loads(line)
            return record["stage"] != self.stage or record["step"] <= step
        except (ValueError, KeyError, TypeError, RecursionError):  # incomplete or damaged: the run was killed
            return False


def _reporter(name: str, tensorboard: Path) -> Any:
    """A started tracker of `accelerate`."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind = LOGGER_TYPE_TO_CLASS[name]
    folders = {"run_name": tensorboard.name, "logging_dir": tensorboard.parent}
    reporter = kind(**folders) if name == "tensorboard" else kind("thinkseg")
    reporter.start()
    return reporter
