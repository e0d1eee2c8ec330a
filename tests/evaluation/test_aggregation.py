"""Metrics and their intervals, by hand and against a plain bootstrap."""

import numpy as np
import pytest

from thinkseg.evaluation.aggregation import Estimate, Mean, MeanOfMetrics, compute_metrics, count_failures, difference
from thinkseg.evaluation.scores import metrics_table

J = Mean(lambda row: row["j"])
METRICS = {
    "a": Mean(lambda row: row["j"], lambda row: row["kind"] == "a"),
    "b": Mean(lambda row: row["j"], lambda row: row["kind"] == "b"),
    "both": MeanOfMetrics(("a", "b")),
}


def row(video, j, kind="a", failure=None):
    return {"video": video, "j": j, "kind": kind, "failure": failure}


def test_mean_is_in_percent():
    figures = compute_metrics([row("x", 0.5), row("x", 1.0), row("y", 0.0, "b"), row("y", None)], METRICS)
    assert (figures["a"].value, figures["b"].value, figures["both"].value) == (75, 0, 37.5)


def test_compute_metrics_without_rows_returns_none():
    figures = compute_metrics([row("x", 0.5)], METRICS)
    assert figures["a"] == Estimate(50, 50, 50)
    assert figures["b"] == figures["both"] == Estimate(None)
    assert compute_metrics([], METRICS)["a"] == Estimate(None)


def test_interval_matches_plain_bootstrap_over_videos():
    random = np.random.default_rng(1)
    videos = {f"v{n}": list(np.clip(random.normal(0.6, 0.2, 4) + random.normal(0, 0.2), 0, 1)) for n in range(30)}
    rows = [row(video, j) for video, js in videos.items() for j in js]
    figure = compute_metrics(rows, {"j": J})["j"]
    names = list(videos)
    drawn = [100 * np.mean(np.concatenate([videos[names[n]] for n in random.integers(0, 30, 30)])) for _ in range(2000)]
    assert figure.value == pytest.approx(100 * np.mean([r["j"] for r in rows]))
    assert (figure.low, figure.high) == pytest.approx(tuple(np.percentile(drawn, (2.5, 97.5))), abs=1.0)
    # Rows of a video go together: as if they were alone, the interval would be half as wide.
    alone = compute_metrics([{**r, "video": n} for n, r in enumerate(rows)], {"j": J})["j"]
    assert figure.high - figure.low > 1.3 * (alone.high - alone.low)


def test_intervals_are_deterministic():
    rows = [row(f"v{n}", n / 10) for n in range(10)]
    assert compute_metrics(rows, METRICS) == compute_metrics(rows, METRICS)


def test_difference_is_paired():
    random = np.random.default_rng(2)
    before = [row(f"v{n}", j) for n, j in enumerate(random.random(20) * 0.9)]
    after = [row(r["video"], r["j"] + 0.1) for r in before]
    figure = difference(before, after, {"j": J})["j"]
    assert (figure.value, figure.low, figure.high) == pytest.approx((10, 10, 10))


def test_count_failures():
    assert count_failures([row("x", 0, failure="tags"), row("x", 0), row("y", 0, failure="tags")]) == {"tags": 2}


def test_table_has_one_column_per_metric():
    lines = metrics_table(
        {"a": {"J": Estimate(50, 40, 60)}, "none": {"N-acc": Estimate(100.0, 100.0, 100.0), "J": Estimate(None)}}
    )
    assert lines.splitlines() == [
        "      J                  N-acc",
        "a     50.0 [40.0, 60.0]  -",
        "none  -                  100.0 [100.0, 100.0]",
    ]
