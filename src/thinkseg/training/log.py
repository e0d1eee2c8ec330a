"""The log of a training run: out/log.jsonl, and the same values with the time left on the terminal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from thinkseg.console import TimeLeft
from thinkseg.storage.atomic import replacing
from thinkseg.training.checkpoints import LOG_FILE


class JsonLines(TrainerCallback):
    """Appends one JSON object per logged step of a stage, and prints it on one line.

    A stage that resumes from a checkpoint repeats the steps after it, so their old lines are removed first. The log
    then equals that of an uninterrupted run, except for `elapsed_s`, which restarts at 0.
    """

    def __init__(self, out: Path, stage: str) -> None:
        self.path = out / LOG_FILE
        self.stage = stage
        self.started = time.monotonic()
        self._time_left = TimeLeft(0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.started = time.monotonic()
        self._time_left = TimeLeft(state.max_steps)
        self._time_left(
            state.global_step
        )  # steps before the first line in the log count, those of an earlier run do not
        lines = self.path.read_text(errors="replace").splitlines() if self.path.exists() else []
        with replacing(self.path) as partial:
            partial.write_text("".join(f"{line}\n" for line in lines if self._is_kept(line, state.global_step)))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        elapsed = round(time.monotonic() - self.started, 1)
        record = {"stage": self.stage, "step": state.global_step, "elapsed_s": elapsed}
        record |= {k: round(v, 6) if isinstance(v, float) else v for k, v in (logs or {}).items()}
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        text = " ".join(f"{k} {v}" for k, v in record.items())
        print(", ".join(filter(None, (text, self._time_left(state.global_step)))), flush=True)

    def _is_kept(self, line: str, step: int) -> bool:
        """Whether a line belongs to another stage, or to a step that will not be repeated."""
        try:
            record = json.loads(line)
            return record["stage"] != self.stage or record["step"] <= step
        except (ValueError, KeyError, TypeError, RecursionError):  # incomplete or damaged: the run was killed
            return False
