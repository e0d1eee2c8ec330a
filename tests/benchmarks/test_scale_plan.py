"""The plan of large runs: stages with their sources, bottlenecks by scale, and predictions from rows."""

import json
import sys

import pytest

from guides import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

import scale_plan
from scale_queues import Cluster


@pytest.fixture
def rows(tmp_path):
    """Results of three videos with two, one and one questions: 3, 3 and 4 s."""
    seconds = {"a/0": ("a", 1, 1), "a/1": ("a", 0, 1), "b/0": ("b", 2, 1), "c/0": ("c", 3, 1)}
    lines = [
        {"id": key, "video": video, "seconds": {"frames": 0.0, "policy": policy, "latency": 9.0, "tracker": tracker}}
        for key, (video, policy, tracker) in seconds.items()
    ]
    path = tmp_path / "results.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in [*lines, {"id": "a/object 1", "video": "a"}]))
    return path


def test_jobs_of_rows_are_videos_joined_to_a_batch(rows):
    assert scale_plan.jobs_of(rows) == [3, 3, 4]
    assert scale_plan.jobs_of(rows, batch_size=3) == [6, 4]


def test_rows_print_seconds_per_number_of_workers(rows, monkeypatch, capsys):
    """On two workers: 3 and 3 + 4 s in order, 4 and 3 + 3 s with the longest first, and 1 s for the start."""
    arguments = ["scale_plan.py", "--rows", str(rows), "--workers", "1", "2", "--start", "1"]
    monkeypatch.setattr(sys, "argv", arguments)
    scale_plan.main()
    in_order = capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*arguments, "--longest-first"])
    scale_plan.main()
    assert " 11.0 " in in_order
    assert " 8.0 " in in_order
    assert " 7.0 " in capsys.readouterr().out


def test_stages_say_where_they_come_from():
    stages = scale_plan.stages()
    assert {stage.kind for stage in stages.values()} == {"measured", "computed", "published"}
    assert stages["encode"].seconds + stages["track"].seconds == pytest.approx(1 / 39.5)
    assert all(set(units) <= set(stages) for _, units in scale_plan.works(1.0))


def test_bottleneck_depends_on_scale():
    found = {}
    for given, units in scale_plan.works(1.0):
        work, stage = scale_plan.timed(given, units, scale_plan.stages())
        found[work.name] = [
            scale_plan.entry(work, stage, Cluster(workers, weights=scale_plan.WEIGHTS, start=40, row=0.002))[1]
            for workers in (1, 128, 512)
        ]
    assert found["ReVOS val"] == ["workers (track)", "slowest worker", "slowest worker"]
    assert found["ReVSeg, training"][::2] == ["workers (update)", "128 prompts per step"]
    assert found["a million videos"] == ["workers (encode)"] * 3
