"""Closed forms of queues are those computed by hand, and the simulation agrees with them within 10 %."""

import math
import sys
from dataclasses import replace

import pytest

from guides import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from scale_queues import Cluster, Work, makespan, mean_wait, predict, simulate, simulate_wait, slowest, with_failures

VIDEOS = Work("videos", 200, 10.0, cv=1.0)


def test_predict_equal_jobs_take_their_sum_over_workers():
    """8 jobs of 10 s on 2 workers: 4 each, 40 s, and the workers end together."""
    work = Work("equal", 8, 10.0)
    assert simulate(work, Cluster(2)) == 40
    assert predict(work, Cluster(2)).limits["workers"] == 40
    assert predict(work, Cluster(2)).seconds == pytest.approx(40, rel=0.1)


def test_predict_start_counts_machines_that_read_one_after_another():
    """3 machines read 100 bytes each at 10 bytes per second: they start after 15, 25 and 35 s, 25 s on average."""
    cluster = Cluster(24, disk=10, weights=100, start=5)
    assert predict(VIDEOS, cluster).limits["start of the workers"] == pytest.approx(25)
    assert simulate(Work("equal", 48, 20.0), cluster) == 75


def test_predict_machine_that_starts_after_the_end_does_nothing():
    """8 jobs of 1 s on 2 machines of 2 workers, which start after 10 and 20 s: the first one ends after 14 s."""
    cluster = Cluster(4, disk=1, weights=10, per_node=2)
    assert simulate(Work("short", 8, 1.0), cluster) == 14
    assert predict(Work("short", 8, 1.0), cluster).seconds == 14


@pytest.mark.parametrize(
    ("work", "cluster", "bottleneck"),
    [
        (VIDEOS, Cluster(4, start=30.0), "workers"),
        (replace(VIDEOS, cv=0.5), Cluster(32, start=5.0), "workers"),
        (replace(VIDEOS, cv=0.0), Cluster(64, start=5.0), "workers"),
        (replace(VIDEOS, read=1e9), Cluster(16, disk=1e9), "shared disk"),
        (VIDEOS, Cluster(16, row=1.5), "writer of rows"),
        (replace(VIDEOS, jobs=64), Cluster(64, weights=1e9, disk=1e7), "start of the workers"),
        (replace(VIDEOS, cv=0.3), Cluster(8, slow=0.25, slowness=2.0), "workers"),
        (replace(VIDEOS, jobs=400, cv=0.3), Cluster(4, failures=36.0, start=20.0), "workers"),
        (Work("steps", 320, 10.0, cv=0.5, step=64, sync=5.0), Cluster(8), "workers"),
        (Work("steps", 640, 10.0, cv=0.8, step=64, sync=5.0), Cluster(64), "slowest worker"),
        (Work("steps", 640, 10.0, step=64, sync=50.0), Cluster(32), "synchronization"),
    ],
)
def test_simulation_agrees_with_closed_form(work, cluster, bottleneck):
    predicted = predict(work, cluster)
    simulated = sum(simulate(work, cluster, seed) for seed in range(3)) / 3
    assert predicted.bottleneck == bottleneck
    assert predicted.seconds == pytest.approx(simulated, rel=0.1)


def test_mean_wait_of_two_servers_is_that_of_erlang():
    """One job per second that takes one second, two servers: C = 1/3, so a wait of 1/3 s."""
    assert mean_wait(1, 1, 2) == pytest.approx(1 / 3)
    assert mean_wait(1, 1, 2, cv=0) == pytest.approx(1 / 6)
    assert mean_wait(2, 1, 2) == math.inf
    assert simulate_wait(1, 1, 2, jobs=8_000) == pytest.approx(1 / 3, rel=0.1)


def test_with_failures_of_a_long_job_grows_exponentially():
    """One failure per hour, a job of one hour, no start: (e - 1) hours."""
    assert with_failures(Work("long", 1, 3600.0), Cluster(1, failures=1)) == pytest.approx(3600 * (math.e - 1))


def test_slowest_of_exponential_times_is_the_harmonic_number():
    assert slowest(2.0, 1.0, 128) == pytest.approx(2 * sum(1 / n for n in range(1, 129)), rel=0.01)
    assert slowest(2.0, 0.0, 128) == slowest(2.0, 1.0, 1) == 2


def test_makespan_takes_jobs_in_order_or_longest_first():
    """[1, 1, 4] on two workers: 5 s in order, 4 s with the longest first."""
    assert makespan([1, 1, 4], 2) == 5
    assert makespan([1, 1, 4], 2, longest_first=True) == 4
    assert makespan([1, 1, 4], 1) == 6
