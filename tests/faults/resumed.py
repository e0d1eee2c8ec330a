"""Commands that resume: killed at random moments, rerun, and compared with a run that nobody disturbed."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any

import annotator
from contents import contents
from programs import commands
from reporting import HarmError, compare
from running import NO_LIMITS, SIGNALS, Limits, Run, Strike, draw_strike, start

from footage import clip
from scriptedserver import ScriptedServer
from thinkseg.cli import app
from thinkseg.data.shapes.writer import write_dataset

MAX_STRIKES = 4
"""Per case."""

STOPPED = (*(app.SIGNALED + one for one in (signal.SIGINT, signal.SIGTERM)), *(-one for one in SIGNALS))
"""Exit statuses of a run that was struck: those of the command line, or a signal that came before or after it."""


class Resumed:
    """A command, struck up to `MAX_STRIKES` times.

    ok: exit statuses of a run that ends by itself. strikes_alone: whether signals spare its child processes.
    stopped: exit statuses of a run that was struck.
    """

    name: str
    count: int
    modules: Sequence[str] = ("programs.warm",)
    program: Callable[..., int] = staticmethod(commands.run)
    ok: Sequence[int] = (0,)
    strikes_alone = True
    stopped: Sequence[int] = STOPPED

    def prepare(self, folder: Path) -> None:
        """Makes the input, and runs the command undisturbed."""
        self.input = folder / "input"
        self.input.mkdir()
        self.make_input()
        started = time.monotonic()
        run = self.start(folder / "undisturbed")
        self.check_end(run, run.end())
        self.seconds, self.operations = time.monotonic() - started, run.num_operations
        self.expected = self.contents(folder / "undisturbed")

    def make_input(self) -> None:
        """Makes the files in `input`."""

    def words(self, out: Path) -> list[str]:
        """Returns the arguments of the command."""
        raise NotImplementedError

    def start(self, out: Path, strike: Strike | None = None, limits: Limits = NO_LIMITS) -> Run:
        """Starts the command."""
        return start(self.program, self.words(out), watched=out, strike=strike, limits=limits)

    def begin_case(self) -> None:
        """Forgets what other cases did."""

    def run(self, rng: Random, folder: Path, struck: list[tuple[str, str]]) -> None:
        """Runs one case."""
        self.begin_case()
        out = folder / "out"
        strikes = rng.randint(2, MAX_STRIKES)
        for _ in range(strikes):
            # A run that resumes has less to do.
            strike = draw_strike(rng, self.seconds / strikes, self.operations // strikes, self.strikes_alone)
            run = self.start(out, strike)
            status = run.end()
            if status in self.ok:
                break
            struck.append((strike.signal.name, strike.when))
            if status not in self.stopped:
                raise HarmError("status", f"status {status} after {strike.signal.name}: {run.output[-1500:]}")
        self.finish(out)

    def finish(self, out: Path) -> None:
        """Runs the command to its end, and compares what it leaves."""
        run = self.start(out)
        self.check_end(run, run.end())
        compare(self.expected, self.contents(out))

    def contents(self, out: Path) -> dict[str, object]:
        """Returns what is compared."""
        return contents(out)

    def check_end(self, run: Run, status: int) -> None:
        """Raises HarmError if a run did not end well."""
        if status not in self.ok:
            raise HarmError("status", f"status {status}: {run.output[-1500:]}")


class Segment(Resumed):
    """Questions about several clips."""

    name, count = "segment", 30
    ok = (0, 1)  # 1: a reply that cannot be used

    def make_input(self) -> None:
        for number in range(3):
            clip(self.input, count=6).rename(self.input / f"clip{number}.mp4")

    def words(self, out: Path) -> list[str]:
        queries = [word for query in ("the ball", "it") for word in ("--query", query)]
        models = ["--policy", commands.POLICY, "--tracker", "flow"]
        return ["segment", str(self.input), *queries, *models, "--save", "masks,csv", "--out", str(out)]


class Evaluate(Resumed):
    """A data set in the layout of ReVOS."""

    name, count = "evaluate", 30

    def make_input(self) -> None:
        write_dataset(self.input, "val", range(4), (32, 24), num_questions=3)

    def words(self, out: Path) -> list[str]:
        models = ["--policy", commands.POLICY, "--tracker", "flow"]
        return ["evaluate", "revos", "--root", str(self.input), "--split", "valid", *models, "--png", "--out", str(out)]


class Annotate(Resumed):
    """A chain-of-thought set from a server that often fails. A stored answer is never requested again."""

    name, count = "annotate", 20

    def prepare(self, folder: Path) -> None:
        self.annotator = annotator.Annotator()
        self.server = ScriptedServer(self.annotator)
        self.server.__enter__()
        super().prepare(folder)

    def words(self, out: Path) -> list[str]:
        draw = ["--count", "16", "--pool", "24", "--include-no-target", "--balance", "balanced"]
        requests = ["--annotator", f"openai:scripted@{self.server.base_url}", "--timeout", str(annotator.TIMEOUT)]
        return ["annotate", "shapes", *draw, *requests, "--concurrency", "4", "--out", str(out)]

    def begin_case(self) -> None:
        self.annotator.clear()
        self.annotator.fault_rate = 0.1

    def start(self, out: Path, strike: Strike | None = None, limits: Limits = NO_LIMITS) -> Run:
        self.annotator.check_not_repeated()
        self.annotator.stored = set(annotator.receipts(out))
        return super().start(out, strike, limits)

    def finish(self, out: Path) -> None:
        super().finish(out)
        self.annotator.check_not_repeated()

    def contents(self, out: Path) -> dict[str, object]:
        """Returns what is compared: answers in the order of their ids, not of their arrival."""
        found: dict[str, Any] = super().contents(out)
        return {**found, annotator.ANSWERS: sorted(found[annotator.ANSWERS], key=itemgetter("id"))}
