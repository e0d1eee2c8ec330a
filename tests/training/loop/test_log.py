import json
from pathlib import Path
from typing import Any

from thinkseg.training.loop.log import RunLog


def steps_of(path: Path) -> list[tuple[str, int]]:
    return [(record["stage"], record["step"]) for record in map(json.loads, path.read_text().splitlines())]


def test_json_lines_logged_step_writes_and_prints_record(tmp_path: Path, capsys: Any) -> None:
    log = RunLog(tmp_path, "see", tmp_path / "tensorboard")
    log.begin(0, 100)
    log.add(20, {"loss": 0.123456789, "epoch": 1})
    record = json.loads((tmp_path / "log.jsonl").read_text())
    assert record.pop("elapsed_s") < 5
    assert record == {"stage": "see", "step": 20, "loss": 0.123457, "epoch": 1}
    assert "stage see step 20" in capsys.readouterr().out


def test_json_lines_printed_line_ends_with_the_time_left(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    log = RunLog(tmp_path, "see", tmp_path / "tensorboard")
    log.begin(0, 100)
    monkeypatch.setattr("time.monotonic", lambda: log.started + 60)
    log.add(20, {"loss": 1.0})
    assert capsys.readouterr().out.endswith("loss 1.0, 4 min left\n")


def test_json_lines_resumed_stage_replaces_repeated_steps(tmp_path: Path) -> None:
    """The run was killed at step 50 while it wrote a line; its checkpoint is of step 20."""
    first = RunLog(tmp_path, "see", tmp_path / "tensorboard")
    first.begin(0, 100)
    first.add(60, {"loss": 1.0})
    second = RunLog(tmp_path, "name", tmp_path / "tensorboard")
    second.begin(0, 100)
    for number in (20, 40):
        second.add(number, {"loss": 1.0})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"stage": "name", "st')

    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(b'\n[]\n{"stage": "name", "step": null}\n\xff\n' + b"[" * 100_000)

    again = RunLog(tmp_path, "name", tmp_path / "tensorboard")
    again.begin(20, 100)
    again.add(40, {"loss": 1.0})
    assert steps_of(tmp_path / "log.jsonl") == [("see", 60), ("name", 20), ("name", 40)]


def test_json_lines_resumed_between_two_lines_has_mean_of_all_steps(tmp_path: Path) -> None:
    first = RunLog(tmp_path, "see", tmp_path / "tensorboard", every=4)
    first.begin(0, 8)
    for number, loss in enumerate((1.0, 2.0, 3.0), start=1):
        first.add(number, {"loss": loss})
    again = RunLog(tmp_path, "see", tmp_path / "tensorboard", every=4)
    again.begin(2, 8, first.losses[:2])
    for number, loss in ((3, 3.0), (4, 6.0)):
        again.add(number, {"loss": loss})
    assert json.loads((tmp_path / "log.jsonl").read_text())["loss"] == 3.0
