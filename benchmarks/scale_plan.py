"""How long large runs take on 1 to 512 GPUs, and what limits them: `python benchmarks/scale_plan.py`.

Prints the seconds of each stage with their source, a table of hours and bottlenecks, and the GPUs that a service needs.
No stage was timed on a GPU: `measured` is of CPUs, in benchmarks/results; `computed` is floating-point operations or
bytes over the speed of a GPU; `published` is of others; `assumed` is none of these. With --simulate, each entry is
compared with a simulation.

    python benchmarks/scale_plan.py --rows RUN/results.jsonl --workers 1 2 [--start S] [--longest-first]

predicts how long an evaluation takes on several workers from the times of its rows, which one worker wrote.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, pstdev

from rich.console import Console
from rich.table import Table
from scale_queues import Cluster, Prediction, Work, makespan, mean_wait, predict, simulate

RESULTS = Path(__file__).parent / "results"
SCALES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

LANGUAGE, VISION = 7.07e9, 0.68e9
"""Parameters of Qwen2.5-VL-7B that each token of the language model and each patch of an image passes."""

WEIGHTS = 16.6e9
"""Bytes in bf16."""

PARTS = ("frames", "policy", "tracker")
"""Of the seconds of a row; `latency` is a part of `policy`."""


@dataclass(frozen=True)
class Gpu:
    """Peak operations and bytes per second of an H100 with 80 GB, and the shares of them that are reached."""

    flops: float = 989e12
    flops_share: float = 0.35
    bandwidth: float = 3.35e12
    bandwidth_share: float = 0.5

    def compute(self, operations: float) -> float:
        return operations / (self.flops * self.flops_share)

    def read(self, size: float) -> float:
        return size / (self.bandwidth * self.bandwidth_share)


@dataclass(frozen=True)
class Stage:
    """seconds: per unit. kind: measured, computed, published or assumed."""

    seconds: float
    unit: str
    kind: str
    source: str


H100 = Gpu()


def stages(gpu: Gpu = H100) -> dict[str, Stage]:
    """Returns what one unit of each stage takes, for a policy of 7B and SAM 2.1 Hiera-L."""
    sam2, score, long = _result("sam2-reward-hiera-large-8-of-8"), _result("metrics-amd-epyc"), _result("sam2-long")
    encoding = sam2["encoding_s_per_frame"]
    tracking = (sam2["ours_s"] - encoding * sam2["frames"]) / (sam2["frames"] * sam2["rollouts"])
    share, fps = encoding / (encoding + tracking), "39.5 frames per second on an A100, by its authors"
    return {
        "decode": Stage(1 / 260, "frame of 720p", "measured", "PyAV on one core: 260 frames per second"),
        "see": Stage(gpu.compute(2 * VISION), "patch of an image", "computed", "2 operations per parameter"),
        "prefill": Stage(gpu.compute(2 * LANGUAGE), "token", "computed", "2 operations per parameter"),
        "reply": Stage(gpu.read(WEIGHTS) / 8, "token", "computed", "all weights are read for 8 replies together"),
        "update": Stage(
            gpu.compute(10 * LANGUAGE), "token", "computed", "forward, twice for the KL term; backward; again"
        ),
        "encode": Stage(share / 39.5, "frame", "published", f"{fps}; {share:.0%} as measured on a CPU"),
        "track": Stage((1 - share) / 39.5, "object and frame", "published", "the rest of it"),
        "mask": Stage(long["lengths"][-1]["mask_ms"] / 1e3, "mask to RLE", "measured", "sam2-long.json"),
        "score": Stage(
            score["results"]["480x854 object"]["ours_rle_ms"] / 1e3,
            "J&F of a frame",
            "measured",
            "metrics-amd-epyc.json",
        ),
    }


def _result(name: str) -> dict:
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


ONE_QUESTION = {"see": 12 * 1600, "prefill": 12 * 400 + 500, "reply": 250}
"""Veason-R1's dialogue: 12 frames of 560x560, and a reply."""


def works(cv: float) -> list[tuple[Work, dict[str, float]]]:
    """Returns runs, and the units of each stage in one of their jobs. cv: coefficient of variation of a video.

    Assumed are the lengths of videos (ReVOS: 100 frames and 1.3 objects per question; users: 10 seconds of 30 frames)
    and of replies, bytes per video, and, for training, the variation of prompts and the seconds of synchronization.
    """
    revos = 13_500 / 416  # questions per video, of about 13,500 in all
    questions = {name: count * revos for name, count in ONE_QUESTION.items()}
    found = {"decode": 100, "encode": 100, "track": 130 * revos, "mask": 130 * revos, "score": 100 * revos}
    user = {"decode": 300, "encode": 300, "track": 390, "mask": 390}
    rollouts = {"see": 16 * 1024 + 8 * 3600, "prefill": 16 * 256 + 500 + 8 * 1000, "reply": 8 * 300}
    learned = {"update": 16 * 256 + 500 + 8 * 1300}
    return [
        (Work("ReVOS val", 416, 0.0, cv=cv, read=15e6, rows=revos), {**questions, **found}),
        (Work("ReVSeg, training", 67_000, 0.0, cv=0.5, read=3e6, step=128, sync=20.0), {**rollouts, **learned}),
        (Work("ReVSeg, filter", 9_000, 0.0, cv=cv, read=15e6, rows=7), {"decode": 100, "encode": 100, "track": 750}),
        (Work("a million videos", 1_000_000, 0.0, cv=cv, read=5e6), {**ONE_QUESTION, **user}),
    ]


def timed(work: Work, units: dict[str, float], costs: dict[str, Stage]) -> tuple[Work, str]:
    """Returns a run with the seconds of its jobs, and the stage that takes most of them."""
    seconds = {name: count * costs[name].seconds for name, count in units.items()}
    return replace(work, seconds=sum(seconds.values())), max(seconds, key=lambda name: seconds[name])


def entry(work: Work, stage: str, cluster: Cluster) -> tuple[Prediction, str]:
    """Returns the time of a run, and what limits it: a stage if the workers do."""
    predicted = predict(work, cluster)
    if work.step and cluster.workers > work.step:
        return predicted, f"{work.step} prompts per step"
    return predicted, f"workers ({stage})" if predicted.bottleneck == "workers" else predicted.bottleneck


def print_plan(console: Console, cluster: Cluster, cv: float, limit: int | None) -> None:
    """Prints the stages and the runs. cv: see `works`. limit: jobs at most of a simulation; None for none."""
    costs = stages()
    table = Table("stage", "seconds", "per", "is", "from", title="Stages")
    for name, cost in costs.items():
        table.add_row(name, f"{cost.seconds:.2e}", cost.unit, cost.kind, cost.source)
    console.print(table)
    for given, units in works(cv):
        work, stage = timed(given, units, costs)
        if limit is not None:
            work = replace(work, jobs=min(work.jobs, limit // (work.step or 1) * (work.step or 1)))
        table = Table(
            "GPUs",
            "hours",
            "busy",
            "bottleneck",
            "simulated / predicted",
            title=f"{work.name}: {work.seconds:.1f} s per job",
        )
        for workers in SCALES:
            predicted, limited = entry(work, stage, replace(cluster, workers=workers))
            ratio = (
                ""
                if limit is None
                else f"{_simulated(work, replace(cluster, workers=workers)) / predicted.seconds:.2f}"
            )
            table.add_row(f"{workers}", f"{predicted.seconds / 3600:.2f}", f"{predicted.busy:.0%}", limited, ratio)
        console.print(table)
    console.print(_service(work, 1e6 / 86_400))


def _simulated(work: Work, cluster: Cluster) -> float:
    return fmean(simulate(work, cluster, seed) for seed in range(5))


def _service(work: Work, rate: float) -> str:
    """The GPUs that answer videos as they arrive, so that the mean wait is below 10 seconds."""
    workers = next(count for count in range(1, 10_000) if mean_wait(rate, work.seconds, count, work.cv) < 10)
    wait, load = mean_wait(rate, work.seconds, workers, work.cv), rate * work.seconds / workers
    return f"A million videos per day as they arrive: {workers} GPUs, {load:.0%} busy, mean wait {wait:.1f} s"


def jobs_of(rows: Path, batch_size: int = 1) -> list[float]:
    """Returns the seconds of the jobs of an evaluation: videos, which are joined until they have `batch_size` rows.

    rows: results.jsonl, whose rows are in the order of the questions.
    """
    videos: dict[str, list[float]] = defaultdict(list)
    for line in rows.read_text("utf-8").splitlines():
        row = json.loads(line)
        if "seconds" in row:
            videos[row["video"]].append(sum(row["seconds"].get(part, 0.0) for part in PARTS))
    return list(_joined(list(videos.values()), batch_size))


def _joined(videos: Sequence[list[float]], batch_size: int) -> Iterator[float]:
    job: list[float] = []
    for seconds in videos:
        job += seconds
        if len(job) >= batch_size:
            yield sum(job)
            job = []
    if job:
        yield sum(job)


def print_prediction(console: Console, jobs: list[float], arguments: argparse.Namespace) -> None:
    """Prints how long the jobs of an evaluation take on several workers: these jobs in order, and jobs like them."""
    work = Work("rows", len(jobs), fmean(jobs), cv=pstdev(jobs) / fmean(jobs))
    console.print(f"{work.jobs} jobs, {work.seconds:.3f} s each, coefficient of variation {work.cv:.2f}")
    table = Table("workers", "seconds", "speed-up", "closed form", "simulated")
    alone = arguments.start + makespan(jobs, 1)
    for workers in arguments.workers:
        seconds = arguments.start + makespan(jobs, workers, arguments.longest_first)
        cluster = Cluster(workers, start=arguments.start)
        closed, simulated = predict(work, cluster).seconds, _simulated(work, cluster)
        table.add_row(f"{workers}", f"{seconds:.1f}", f"{alone / seconds:.2f}", f"{closed:.1f}", f"{simulated:.1f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, metavar="FILE", help="results.jsonl of an evaluation by one worker")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="with --rows (default: 1 2)"
    )
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="of the evaluation (default: 1)")
    parser.add_argument("--longest-first", action="store_true", help="with --rows: the longest jobs are taken first")
    parser.add_argument(
        "--start", type=float, default=40.0, metavar="S", help="seconds until a worker is ready (default: 40)"
    )
    parser.add_argument("--cv", type=float, default=1.0, help="coefficient of variation of a video (default: 1)")
    parser.add_argument("--failures", type=float, default=0.0, metavar="R", help="per worker and hour (default: 0)")
    parser.add_argument(
        "--slow", type=float, default=0.0, metavar="SHARE", help="share of workers that are slow (default: 0)"
    )
    parser.add_argument("--slowness", type=float, default=2.0, metavar="X", help="how many times slower (default: 2)")
    parser.add_argument("--disk", type=float, default=5.0, metavar="GB", help="read per second, shared (default: 5)")
    parser.add_argument("--simulate", type=int, metavar="JOBS", help="simulate each run, with at most so many jobs")
    arguments = parser.parse_args()
    console = Console()
    if arguments.rows:
        print_prediction(console, jobs_of(arguments.rows, arguments.batch_size), arguments)
        return
    shared = {"disk": arguments.disk * 1e9, "weights": WEIGHTS, "start": arguments.start, "row": 0.002}
    faults = {"failures": arguments.failures, "slow": arguments.slow, "slowness": arguments.slowness}
    print_plan(console, Cluster(1, **shared, **faults), arguments.cv, arguments.simulate)


if __name__ == "__main__":
    main()
