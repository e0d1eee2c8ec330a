"""Scores replies as GRPO does in process, though they arrive one by one and in any order.

Replies to a prompt that wait at the same time are scored together: equal answers are tracked once. The prompt stays in
memory, with its frames, so a tracker reuses their features for the replies that follow.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.rewards.groups import RolloutScore, score_group
from thinkseg.server.questions import LoadedPrompt, Questions, load_prompt
from thinkseg.server.requests import ScoreRequest, outcome_of
from thinkseg.types import Outcome, Tracker
from thinkseg.web.errors import RequestError

MAX_WAITING = 2_048
"""Requests in the service at a time: two steps of 128 prompts with 8 rollouts."""


_Waiting = tuple[Outcome, "asyncio.Future[RolloutScore]"]


class RewardService:
    """The rewards of requests.

    tracker: for the reward "consistency". workers: threads that score, each one prompt at a time.
    max_prompts: prompts in memory, those used last.
    """

    def __init__(self, questions: Questions, tracker: Tracker, workers: int, max_prompts: int) -> None:
        self.questions = questions
        self.tracker = tracker
        self._pool = ThreadPoolExecutor(workers, "score")
        self._free = asyncio.Semaphore(workers)
        self._max_prompts = max_prompts
        self._groups: dict[Hashable, _Group] = {}
        self._loading = threading.Lock()
        self._num_waiting = 0

    async def score(self, asked: ScoreRequest) -> tuple[Outcome, RolloutScore]:
        """Returns what the replies of a request say, and their rewards.

        Raises RequestError for a request that cannot be answered, or if too many wait. All other errors, e.g. of the
        tracker, propagate; the service remains usable.
        """
        if self._num_waiting >= MAX_WAITING:
            raise RequestError(503, f"{MAX_WAITING} requests are waiting; repeat the request later")
        self._num_waiting += 1
        try:
            load, outcome = await asyncio.to_thread(self._read, asked)
            return outcome, await self._group(asked, load).score(outcome)
        finally:
            self._num_waiting -= 1

    def close(self) -> None:
        """Ends the threads, after what they are scoring."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, asked: ScoreRequest) -> tuple[Callable[[], LoadedPrompt], Outcome]:
        question = self.questions.find(asked)
        return partial(self._load, *question, asked), outcome_of(asked)

    def _load(self, benchmark: Benchmark, expression: Expression, asked: ScoreRequest) -> LoadedPrompt:
        with self._loading:  # two questions can share a video file, which one thread at a time may read
            return load_prompt(benchmark, expression, asked)

    def _group(self, asked: ScoreRequest, load: Callable[[], LoadedPrompt]) -> _Group:
        """Returns the group of a request's prompt; a new one takes the place of the one unused for longest."""
        key = asked.dataset, asked.id, tuple(asked.indices), tuple(asked.source_wh), tuple(asked.weights.items())
        group = self._groups.pop(key, None) or _Group(load, asked.weights, self.tracker, self._pool, self._free)
        for oldest in list(self._groups)[: len(self._groups) + 1 - self._max_prompts]:
            del self._groups[oldest]
        self._groups[key] = group
        return group


class _Group:
    """The replies to one prompt: those that wait when a thread is free are scored together.

    load: reads the prompt, on the first use. pool: scores, for one call of the group at a time. free: its free threads.
    """

    def __init__(
        self,
        load: Callable[[], LoadedPrompt],
        weights: Mapping[str, float],
        tracker: Tracker,
        pool: Executor,
        free: asyncio.Semaphore,
    ) -> None:
        self._load = load
        self._weights = weights
        self._tracker = tracker
        self._pool = pool
        self._free = free
        self._loaded: LoadedPrompt | None = None
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def score(self, outcome: Outcome) -> RolloutScore:
        """Returns the rewards of an outcome. An error of the work raises in all its outcomes, and in no later ones."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((outcome, future))
        if self._task is None:
            self._task = asyncio.create_task(self._score_waiting())
        return await future

    async def _score_waiting(self) -> None:
        while self._waiting:
            async with self._free:
                waiting, self._waiting = self._waiting, []
                await self._score_together(waiting)
        self._task = None

    async def _score_together(self, waiting: Sequence[_Waiting]) -> None:
        outcomes, futures = zip(*waiting, strict=True)
        try:
            scores = await asyncio.get_running_loop().run_in_executor(self._pool, self._scores, outcomes)
        except Exception as error:
            for future in futures:
                future.set_exception(error)
        else:
            for future, score in zip(futures, scores, strict=True):
                future.set_result(score)

    def _scores(self, outcomes: Sequence[Outcome]) -> list[RolloutScore]:
        self._loaded = loaded = self._loaded or self._load()
        return score_group(loaded.prompt, outcomes, self._weights, self._tracker, loaded.frames)
