"""How long a run takes on many workers, in closed form and by simulation.

In: `Work`, what is to be done, and `Cluster`, what does it. Out: seconds, and what limits them. A worker has a GPU and
takes the next job once it is free. All workers share one disk and one writer of rows.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy
from scipy.stats import gamma

MEDIAN_OF_LARGEST = math.exp(-np.euler_gamma)
"""The largest of k times is near the quantile of this number to the power of 1 / k: within 0.6 % for exponential ones
of k >= 128, and 8 % for k = 2."""


@dataclass(frozen=True)
class Work:
    """Jobs that workers take one after another: videos with their questions, or the prompts of a step.

    seconds: mean of a worker per job. cv: their coefficient of variation. read: bytes per job. rows: per job.
    step: jobs between two synchronizations, split evenly; None for a queue without. sync: seconds of each.
    """

    name: str
    jobs: int
    seconds: float
    cv: float = 0.0
    read: float = 0.0
    rows: float = 1.0
    step: int | None = None
    sync: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """Workers, and what they share.

    disk: bytes per second. weights: bytes that a machine of `per_node` workers reads once. start: seconds of a worker
    besides. row: seconds to write one. failures: per hour of a worker; its job starts again after `start`.
    slow: share of workers that take `slowness` times as long.
    """

    workers: int
    disk: float = 5e9
    weights: float = 0.0
    per_node: int = 8
    start: float = 0.0
    row: float = 0.0
    failures: float = 0.0
    slow: float = 0.0
    slowness: float = 1.0


@dataclass(frozen=True)
class Prediction:
    """seconds: of the run. limits: seconds by what takes them. busy: share of the time of all workers that is work."""

    seconds: float
    limits: dict[str, float]
    busy: float

    @property
    def bottleneck(self) -> str:
        """What takes most of the time."""
        return max(self.limits, key=lambda name: self.limits[name])


def predict(work: Work, cluster: Cluster) -> Prediction:
    """Returns the time of a run in closed form.

    Queues are work conserving, so the busiest resource takes its load divided by its servers, from when these start;
    the last jobs add the time by which the slowest worker outlasts the mean.
    """
    workers = min(cluster.workers, work.step or work.jobs)
    job = with_failures(work, cluster)
    starts = [cluster.start + machine * cluster.weights / cluster.disk for machine in _machines(workers, cluster)]
    loads = {
        "workers": work.jobs * job / (workers * (1 - cluster.slow + cluster.slow / cluster.slowness)),
        "shared disk": work.jobs * work.read / cluster.disk,
        "writer of rows": work.jobs * work.rows * cluster.row,
    }
    busiest = max(loads, key=lambda name: loads[name])
    wait, active = starts[-1], workers
    if work.step is None:
        wait, active = _wait_for_start(loads[busiest], starts, shared=busiest != "workers")
    waits = {
        "start of the workers": wait,
        "slowest worker": _outlasting(work, job, active),
        "synchronization": work.jobs / work.step * work.sync if work.step else 0.0,
    }
    seconds = loads[busiest] + sum(waits.values())
    return Prediction(
        seconds, {busiest: loads[busiest], **waits}, work.jobs * work.seconds / (cluster.workers * seconds)
    )


def _machines(workers: int, cluster: Cluster) -> list[int]:
    """The number of the machine of each worker, from 1 on: they read the weights in this order."""
    return [1 + number // cluster.per_node for number in range(workers)]


def _wait_for_start(load: float, starts: Sequence[float], shared: bool) -> tuple[float, int]:
    """Seconds that a load takes longer because workers start late, and how many start before its end.

    load: seconds if all start at once. starts: ascending. shared: one server does it, from the first start on.
    """
    total = load * len(starts)
    for active, start in enumerate(starts, start=1):
        total += start
        if active == len(starts) or total / active <= starts[active]:
            break
    return (starts[0] if shared else total / active - load), active


def with_failures(work: Work, cluster: Cluster) -> float:
    """Mean seconds of a job that starts again after each failure of its worker, (1/f + start) (E[exp(f S)] - 1)."""
    rate = cluster.failures / 3600
    seconds, variance = work.seconds + work.read / cluster.disk, work.cv**2
    if not rate:
        return seconds
    exponent = -math.log1p(-rate * seconds * variance) / variance if variance else rate * seconds
    return (1 / rate + cluster.start) * math.expm1(exponent)


def _outlasting(work: Work, job: float, workers: int) -> float:
    """Seconds by which the slowest worker outlasts the mean: at the end of a queue, or of all steps together."""
    if work.step:
        each = work.step / workers
        return work.jobs / work.step * (slowest(each * job, work.cv / math.sqrt(each), workers) - each * job)
    if not work.cv:
        return math.ceil(work.jobs / workers) * job - work.jobs / workers * job
    # What is left of a job at a random moment: moments of the residual of a gamma distribution.
    mean = job * (1 + work.cv**2) / 2
    square = job**2 * (1 + work.cv**2) * (1 + 2 * work.cv**2) / 3
    return slowest(mean, math.sqrt(square / mean**2 - 1), workers) - mean


def slowest(mean: float, cv: float, count: int) -> float:
    """The mean of the largest of `count` times of a gamma distribution."""
    if count == 1 or not cv:
        return mean
    return float(gamma.ppf(MEDIAN_OF_LARGEST ** (1 / count), 1 / cv**2, scale=mean * cv**2))


def mean_wait(rate: float, seconds: float, workers: int, cv: float = 1.0, cv_arrivals: float = 1.0) -> float:
    """Mean seconds that a job waits for a worker if jobs arrive at a rate per second (G/G/k, Allen and Cunneen).

    Exact for exponential times; infinite if the workers cannot keep up.
    """
    load = rate * seconds
    if load >= workers:
        return math.inf
    blocked = 1.0  # Erlang's B for 0 servers; the recursion avoids factorials
    for servers in range(1, workers + 1):
        blocked = load * blocked / (servers + load * blocked)
    waiting = blocked / (1 - load / workers * (1 - blocked))
    return waiting * seconds / (workers - load) * (cv_arrivals**2 + cv**2) / 2


def makespan(jobs: Sequence[float], workers: int, longest_first: bool = False) -> float:
    """Seconds until the last of some workers ends that take jobs from a queue."""
    free = [0.0] * workers
    for seconds in sorted(jobs, reverse=True) if longest_first else jobs:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def simulate(work: Work, cluster: Cluster, seed: int = 0) -> float:
    """Returns the seconds of one run with random times."""
    return _Simulation(work, cluster, seed).run()


def simulate_wait(rate: float, seconds: float, workers: int, jobs: int, seed: int = 0) -> float:
    """Returns the mean wait of jobs that arrive at random and take random times, both exponential."""
    rng, env, waits = np.random.default_rng(seed), simpy.Environment(), []
    pool = simpy.Resource(env, workers)

    def job() -> Generator[Any, Any, None]:
        arrived = env.now
        with pool.request() as place:
            yield place
            waits.append(env.now - arrived)
            yield env.timeout(rng.exponential(seconds))

    def arrivals() -> Generator[Any, Any, None]:
        for _ in range(jobs):
            yield env.timeout(rng.exponential(1 / rate))
            env.process(job())

    env.process(arrivals())
    env.run()
    return float(np.mean(waits))


class _Simulation:
    """One run of workers as processes of SimPy."""

    def __init__(self, work: Work, cluster: Cluster, seed: int) -> None:
        self.work, self.cluster = work, cluster
        self.rng, self.env = np.random.default_rng(seed), simpy.Environment()
        self.disk, self.writer, self.weights = (simpy.Resource(self.env) for _ in range(3))
        self.nodes: dict[int, Any] = {}
        self.ended = 0.0
        self.failing = [self._draw_failure() for _ in range(cluster.workers)]

    def run(self) -> float:
        self.env.process(self._all())
        self.env.run()
        return self.ended

    def _all(self) -> Generator[Any, Any, None]:
        work = self.work
        workers = range(min(self.cluster.workers, work.step or work.jobs))
        if work.step is None:
            queue = self._draw(work.jobs)
            yield self.env.all_of([self.env.process(self._worker(number, queue, load=True)) for number in workers])
            return
        yield self.env.all_of([self.env.process(self._load(number)) for number in workers])
        for _ in range(round(work.jobs / work.step)):
            jobs = list(self._draw(work.step))
            shares = [deque(jobs[number :: len(workers)]) for number in workers]
            steps = [self._worker(number, share, load=False) for number, share in enumerate(shares)]
            yield self.env.all_of([self.env.process(step) for step in steps])
            yield self.env.timeout(work.sync)
            self.ended = float(self.env.now)

    def _draw(self, count: int) -> deque[float]:
        """Seconds of some jobs."""
        cv = self.work.cv
        factors = self.rng.gamma(1 / cv**2, cv**2, count) if cv else np.ones(count)
        return deque(self.work.seconds * factors)

    def _worker(self, number: int, queue: deque[float], load: bool) -> Generator[Any, Any, None]:
        if load:
            yield from self._load(number)
        while queue:
            seconds = queue.popleft()
            yield from self._hold(self.disk, self.work.read / self.cluster.disk)
            yield from self._compute(number, seconds)
            self.env.process(self._write())

    def _compute(self, number: int, seconds: float) -> Generator[Any, Any, None]:
        """A job, which starts again if the worker fails before its end."""
        if number < self.cluster.slow * self.cluster.workers:
            seconds *= self.cluster.slowness
        while self.failing[number] < seconds:
            yield self.env.timeout(self.failing[number] + self.cluster.start)
            self.failing[number] = self._draw_failure()
        yield self.env.timeout(seconds)
        self.failing[number] -= seconds

    def _write(self) -> Generator[Any, Any, None]:
        yield from self._hold(self.writer, self.work.rows * self.cluster.row)
        self.ended = float(self.env.now)

    def _draw_failure(self) -> float:
        """Seconds of work until a worker fails."""
        return self.rng.exponential(3600 / self.cluster.failures) if self.cluster.failures else math.inf

    def _load(self, number: int) -> Generator[Any, Any, None]:
        """The start of a worker. Those of one machine read the weights together."""
        node = number // self.cluster.per_node
        if node not in self.nodes:
            reading = self._hold(self.weights, self.cluster.weights / self.cluster.disk)
            self.nodes[node] = self.env.process(reading)
        yield self.nodes[node]
        yield self.env.timeout(self.cluster.start)

    def _hold(self, resource: simpy.Resource, seconds: float) -> Generator[Any, Any, None]:
        if not seconds:
            return
        with resource.request() as place:
            yield place
            yield self.env.timeout(seconds)
