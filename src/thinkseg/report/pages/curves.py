"""Curves of training runs: from log.jsonl to the points and axes of a chart.

{"stage": "grpo", "step": 1, "elapsed_s": 43.5, "loss": 0.0, "reward": 2.8, "rewards/boxes/mean": 0.54, ...}
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.rewards import REWARDS

TITLES = {
    **{f"rewards/{name}/mean": f"{one.symbol} ({name})" for name, one in REWARDS.items()},
    "kl": "KL to the initial policy",
    "entropy": "entropy, nats per token",
    "keyframe_position/none": "share of no-target answers",
    "parse_rate": "share of replies that could be read",
    "frac_reward_zero_std": "share of groups without a gradient",
}
"""Titles of metrics whose key is not a good title."""

NOT_METRICS = re.compile(r"(stage|step|epoch|elapsed_s|total_flos)$|train_")
"""Keys of bookkeeping values, and of means over a whole stage, which do not belong to its last step."""

FIRST = re.compile(r"(reward|rewards/.*/mean|parse_rate|kl|entropy|loss)$")
"""Keys whose charts come first; the loss, which says little about GRPO, is the last of them."""

SMOOTHED = 10
"""The running mean covers about 1/SMOOTHED of a run."""

MAX_POINTS = 2000
"""Points of a curve on a page; of a longer log, evenly spaced ones are drawn."""

TICKS = 4
"""About so many lines of a grid."""

WIDTH, HEIGHT = 300, 150
"""Size of the area of a chart in SVG units."""


@dataclass(frozen=True, slots=True, eq=False)
class Log:
    """The log of a run.

    metrics: float64 (N, 2) per key, step and value; steps continue across stages. stages: name and first step of each.
    """

    metrics: Mapping[str, np.ndarray]
    stages: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one run. points, smoothed: in SVG units. steps, values: as in the log."""

    run: str
    points: str
    smoothed: str
    steps: Sequence[int]
    values: Sequence[float]

    @property
    def data(self) -> dict[str, Sequence[float]]:
        """Steps and values for the script of the page."""
        return {"steps": self.steps, "values": self.values}


@dataclass(frozen=True, slots=True)
class Chart:
    """One metric of all runs. steps, values: ticks of the axes, as a position in SVG units and a text."""

    name: str
    title: str
    curves: Sequence[Curve]
    steps: Sequence[tuple[float, str]]
    values: Sequence[tuple[float, str]]
    stages: Sequence[tuple[float, str]]
    range: tuple[float, float]


def read_log(path: Path) -> Log:
    """Reads a log. Raises OSError.

    Lines that are no records, as an interrupted run leaves, are skipped. Of a step that was repeated, the last record
    counts.
    """
    points: dict[str, dict[float, float]] = {}
    starts: dict[str, int] = {}
    last = 0
    for record in _records(path):
        last = starts.setdefault(record["stage"], last) + record["step"]
        for name, value in record.items():
            if not NOT_METRICS.match(name) and _is_finite(value):
                points.setdefault(name, {})[last] = value
    return Log({name: np.array(sorted(found.items()), float) for name, found in points.items()}, starts)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        stage, step = (record.get(key) for key in ("stage", "step")) if isinstance(record, dict) else (None, None)
        if isinstance(stage, str) and isinstance(step, int) and 0 <= step < 2**53:
            yield record


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def smooth(values: np.ndarray) -> np.ndarray:
    """Returns the exponential running mean of (N,) values, corrected for the short history at the start."""
    keep = 1 - 1 / max(1.0, len(values) / SMOOTHED)
    total, weight, means = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        means.append(total / weight)
    return np.array(means)


def charts(logs: Mapping[str, Log]) -> list[Chart]:
    """Returns a chart per metric, those of `FIRST` first. logs: by the name of the run."""
    names = dict.fromkeys(name for log in logs.values() for name in log.metrics)
    order = sorted(names, key=lambda name: (not FIRST.match(name), name == "loss"))
    return [_chart(name, {run: log for run, log in logs.items() if name in log.metrics}) for name in order]


def _chart(name: str, logs: Mapping[str, Log]) -> Chart:
    points = np.concatenate([log.metrics[name] for log in logs.values()])
    (first, low), (last, high) = points.min(axis=0), points.max(axis=0)
    spread = high - low or abs(high) or 1.0
    low, high = low - 0.04 * spread, high + 0.04 * spread
    span = max(last - first, 1)

    def place(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.stack([(steps - first) / span * WIDTH, (high - values) / (high - low) * HEIGHT], axis=1)

    stages = next(iter(logs.values())).stages if len(logs) == 1 else {}
    return Chart(
        name,
        TITLES.get(name, name),
        [_curve(run, log.metrics[name], place) for run, log in logs.items()],
        [((tick - first) / span * WIDTH, f"{tick:.0f}") for tick in _step_ticks(first, last)],
        [((high - tick) / (high - low) * HEIGHT, f"{tick:.4g}") for tick in ticks(low, high)],
        [
            ((start - first) / span * WIDTH, stage)
            for stage, start in stages.items()
            if len(stages) > 1 and start >= first
        ],
        (float(first), float(last)),
    )


def _curve(run: str, points: np.ndarray, place: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Curve:
    kept = slice(None, None, max(1, -(-len(points) // MAX_POINTS)))
    (steps, values), means = points[kept].T, smooth(points[:, 1])[kept]
    raw, smoothed = (" ".join(f"{x:.1f},{y:.1f}" for x, y in place(steps, line)) for line in (values, means))
    return Curve(run, raw, smoothed, steps.astype(int).tolist(), values.tolist())


def _step_ticks(first: float, last: float) -> list[float]:
    """Returns the first step, and round ones that are not too near to it."""
    return [first, *(tick for tick in ticks(first, last) if tick - first >= (last - first) / 8 and tick.is_integer())]


def ticks(low: float, high: float) -> list[float]:
    """Returns about `TICKS` round numbers from `low` to `high`."""
    rough = (high - low) / TICKS or 1.0
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= rough * 0.999)
    return [float(round(number * step, 12)) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
