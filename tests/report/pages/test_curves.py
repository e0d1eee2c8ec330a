import json

import numpy as np
import pytest

from thinkseg.report.pages.curves import Log, charts, read_log, smooth, ticks


def test_read_log_steps_continue_across_stages(tmp_path):
    records = [("a", 1, 2.0), ("a", 2, 1.5), ("b", 1, 1.0)]
    lines = [json.dumps({"stage": stage, "step": step, "loss": loss, "epoch": 1.0}) for stage, step, loss in records]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, '{"stage": "b", "step"', "[]", '{"step": 1}']))
    log = read_log(tmp_path / "log.jsonl")
    assert log.metrics["loss"].tolist() == [[1, 2.0], [2, 1.5], [3, 1.0]]
    assert log.metrics.keys() == {"loss"}
    assert log.stages == {"a": 0, "b": 2}


def test_read_log_repeated_steps_count_once(tmp_path):
    records = [{"stage": "a", "step": step, "loss": loss} for step, loss in ((1, 3.0), (2, 2.0), (1, 4.0), (3, 1.0))]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert read_log(tmp_path / "log.jsonl").metrics["loss"].tolist() == [[1, 4.0], [2, 2.0], [3, 1.0]]


def test_read_log_values_that_are_no_numbers_are_skipped(tmp_path):
    record = {"stage": "a", "step": 1, "loss": float("nan"), "kl": True, "name": "x", "reward": 1}
    (tmp_path / "log.jsonl").write_text(json.dumps(record))
    assert read_log(tmp_path / "log.jsonl").metrics.keys() == {"reward"}


def test_smooth_short_history_is_the_mean_of_all():
    assert smooth(np.array([4.0, 4.0, 4.0])) == pytest.approx([4, 4, 4])
    assert smooth(np.array([0.0, 1.0])).tolist() == [0.0, 1.0]
    assert smooth(np.arange(40.0))[-1] == pytest.approx(36, abs=0.1)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.5, 1]), (0.8, 3.1, [1, 2, 3]), (-0.02, 0.06, [-0.02, 0, 0.02, 0.04, 0.06]), (2, 2, [2])],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_charts_have_exact_values_and_rewards_first():
    log = Log(
        {"timing_s/reward": np.array([[1, 0.1], [2, 0.2]]), "reward": np.array([[1, 2.0], [2, 3.0]])}, {"grpo": 0}
    )
    first, second = charts({"run": log})
    assert (first.title, second.title) == ("reward", "timing_s/reward")
    assert first.curves[0].data == {"steps": [1, 2], "values": [2.0, 3.0]}
    assert first.curves[0].points.split()[0].startswith("0.0,")
    assert [text for _, text in first.steps] == ["1", "2"]


def test_charts_one_constant_value_is_drawn():
    (chart,) = charts({"run": Log({"reward": np.array([[1, 0.0]])}, {"grpo": 0})})
    assert chart.curves[0].points == "0.0,75.0"
