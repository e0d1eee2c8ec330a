"""The app and the reward server: struck while they work, started again, and asked what has become of it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx2 as httpx
from programs import services
from reporting import HarmError
from resumed import STOPPED
from running import SIGNALS, Run, Strike, start

from footage import clip
from thinkseg.chains.frames import sample_indices, select_frames
from thinkseg.data import open_benchmark
from thinkseg.export.kit import thinkseg_client
from thinkseg.export.samples import ExportSettings, ground_truth
from thinkseg.models.trackers.flow.tracker import FlowTracker
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import frames_shown, score_group
from thinkseg.server.requests import ScoreRequest, outcome_of
from thinkseg.types import View

LOCAL = "127.0.0.1"
START_SECONDS = 120.0
"""Most time until a service says where it listens."""


class Service:
    """A command that serves until a signal ends it."""

    modules: Sequence[str] = ("programs.services",)

    def words(self, folder: Path) -> list[str]:
        """Returns the arguments of the command."""
        raise NotImplementedError

    @contextmanager
    def served(self, folder: Path, strike: Strike | None = None) -> Iterator[tuple[Run, str]]:
        """Serves it, and yields the process and the address; at the end, with SIGTERM."""
        run = start(services.run, self.words(folder), watched=folder, strike=strike)
        try:
            yield run, address_of(run)
        finally:
            run.signal(signal.SIGTERM)
            run.end()


def address_of(run: Run) -> str:
    """Waits until a service says where it listens. Returns "" if it was struck before."""
    ended = time.monotonic() + START_SECONDS
    while time.monotonic() < ended:
        if found := re.search(r"http://\S+?(?=/?\s)", run.output):
            return found[0]
        if run.has_ended(0.05):
            return ""
    raise HarmError("status", f"no address: {run.output[-1500:]}")


class App(Service):
    """Questions in the queue of the app. None is lost from its history, none is there twice, and results stay."""

    name, count = "app", 10

    QUERIES = ("it", "it moves", "it takes long", "nonsense", "it")

    def prepare(self, folder: Path) -> None:
        self.clip = clip(folder, count=20).read_bytes()
        started = time.monotonic()
        with self.served(folder / "undisturbed") as (_, url), httpx.Client(base_url=url, timeout=60) as client:
            asked: list[str] = []
            self._ask(client, asked)
            for identity in asked:
                self._wait(client, identity)
        self.seconds = time.monotonic() - started

    def words(self, folder: Path) -> list[str]:
        return ["app", "--data", str(folder), "--port", "0", "--policy", "shapes", "--tracker", "flow"]

    def run(self, rng: Random, folder: Path, struck: list[tuple[str, str]]) -> None:
        data = folder / "data"
        accepted: list[str] = []
        done: dict[str, Any] = {}
        for _ in range(2):
            self._strike(rng, data, accepted, done, struck)
        with self.served(data) as (_, url), httpx.Client(base_url=url, timeout=60) as client:
            self._check(client, accepted, done)
            for identity in accepted:
                client.delete(f"/api/questions/{identity}")
        check_folder(data)

    def _strike(
        self, rng: Random, data: Path, accepted: list[str], done: dict[str, Any], struck: list[tuple[str, str]]
    ) -> None:
        """Asks all questions, until a signal ends the app."""
        seconds, number = rng.uniform(0, self.seconds), rng.choice(SIGNALS)
        strike = Strike(number, operation=rng.randint(1, 60)) if rng.random() < 0.5 else None
        with self.served(data, strike) as (run, url), suppress(httpx.TransportError, json.JSONDecodeError):
            later = threading.Timer(seconds, run.signal, (number,))
            later.start()
            if url:
                with httpx.Client(base_url=url, timeout=60) as client:
                    self._check(client, accepted, done)
                    self._ask(client, accepted)
                    for identity in accepted:
                        self._wait(client, identity)
                        done[identity] = self._result(client, identity)
            later.join()
        struck.append((number.name, strike.when if strike else f"{seconds:.2f} s"))
        if (status := run.end()) not in STOPPED:
            raise HarmError("status", f"status {status}: {run.output[-1500:]}")

    def _ask(self, client: httpx.Client, accepted: list[str]) -> None:
        video = client.post("/api/videos?name=clip.mp4", content=self.clip).json()["id"]
        for query in self.QUERIES:
            answer = client.post("/api/questions", json={"video": video, "query": query})
            accepted.append(str(answer.json()["id"]))

    def _wait(self, client: httpx.Client, identity: str) -> None:
        client.get(f"/api/questions/{identity}/events")

    def _result(self, client: httpx.Client, identity: str) -> Any:
        question = client.get(f"/api/questions/{identity}").json()
        masks = client.get(f"/api/questions/{identity}/masks")
        return {"question": question, "masks": masks.content}

    def _check(self, client: httpx.Client, accepted: list[str], done: dict[str, Any]) -> None:
        """Raises HarmError if questions that were accepted are lost or doubled, or results differ."""
        listed = [question["id"] for question in client.get("/api/questions").json()]
        if lost := set(accepted) - set(listed):
            raise HarmError("lost", f"{len(lost)} of {len(accepted)} questions")
        if len(set(listed)) < len(listed):
            raise HarmError("doubled", f"{len(listed)} questions, {len(set(listed))} ids")
        for identity, result in done.items():
            if (found := self._result(client, identity)) != result:
                raise HarmError("corrupt", f"question {identity}: {found!r}, not {result!r}"[:1500])


def check_folder(data: Path) -> None:
    """Raises HarmError if the folder of an app that has ended has locks, or parts of entries."""
    for path in data.rglob("*"):
        if path.name.startswith(".") or (path.parent.parent == data and not (path / "entry.json").is_file()):
            raise HarmError("left over", str(path.relative_to(data)))


class RewardServer(Service):
    """Requests of a trainer, whose client repeats them until the server is back. Each gets its one right answer."""

    name, count = "reward server", 10

    VIEW = View(4, (112, 112))
    WEIGHTS = {"format": 1.0, "keyframe": 1.0, "boxes": 0.5, "consistency": 1.0}  # noqa: RUF012, read only
    ANSWER = '<think>t</think><answer>{{"keyframe_timestamp": {}, "bbox_2d_list": [[{}, 5, 60, 70]]}}</answer>'

    def prepare(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        os.environ["THINKSEG_REWARD_URL"] = f"http://{LOCAL}:{self.port}"
        benchmark = open_benchmark("shapes", split="train", limit=2)
        self.requests: list[Any] = []
        self.expected: list[Any] = []
        for sample in benchmark.samples():
            prompt = Prompt(sample, sample_indices(len(sample.video), self.VIEW.num_frames))
            self._add(benchmark.key, prompt)

    def _add(self, key: str, prompt: Prompt) -> None:
        """Adds the requests about a prompt, and what the server must answer."""
        settings = ExportSettings("veason", self.VIEW, None, for_sft=False, for_rl=True)
        shown = select_frames(prompt.sample.video, self.VIEW, prompt.frame_indices)
        truth = json.loads(json.dumps(ground_truth(key, prompt, shown, settings)))
        replies = [self.ANSWER.format(label, 9 * number) for number, label in enumerate(shown.labels)]
        asked = {**{name: truth[name] for name in thinkseg_client.QUESTION}, "weights": self.WEIGHTS}
        outcomes = [outcome_of(ScoreRequest(**asked, replies=[reply])) for reply in replies]
        scores = score_group(prompt, outcomes, self.WEIGHTS, FlowTracker(), frames_shown(prompt))
        self.requests += [([reply], truth, self.WEIGHTS) for reply in replies]
        self.expected += [(score.total, dict(score.terms)) for score in scores]

    def words(self, folder: Path) -> list[str]:
        return ["reward-server", "shapes:train", "--port", str(self.port), "--workers", "2"]

    def run(self, rng: Random, folder: Path, struck: list[tuple[str, str]]) -> None:
        with ThreadPoolExecutor(1) as trainer:
            asked = trainer.submit(thinkseg_client.score_all, self.requests)
            for _ in range(2):
                with self.served(folder) as (run, _):
                    number, seconds = rng.choice(SIGNALS), rng.uniform(0, 1.5)
                    run.has_ended(seconds)
                    run.signal(number)
                    struck.append((number.name, f"{seconds:.2f} s"))
                    if (status := run.end()) not in STOPPED:
                        raise HarmError("status", f"status {status}: {run.output[-1500:]}")
            with self.served(folder):
                found = self._scores(asked)
        if found != self.expected:
            raise HarmError("corrupt", "scores differ from those in process")

    def _scores(self, asked: Future[Any]) -> Any:
        """Returns what the trainer got. Raises HarmError for an error, which ends a training."""
        try:
            return asked.result()
        except thinkseg_client.RewardServerError as error:
            raise HarmError("lost", str(error)) from None


def free_port() -> int:
    """Returns a port that is free now."""
    with socket.socket() as free:
        free.bind((LOCAL, 0))
        return int(free.getsockname()[1])
