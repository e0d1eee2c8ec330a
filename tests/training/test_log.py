import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from thinkseg.training.log import JsonLines


def step(number: int) -> Any:
    return SimpleNamespace(global_step=number, max_steps=100)


def steps_of(path: Path) -> list[tuple[str, int]]:
    return [(record["stage"], record["step"]) for record in map(json.loads, path.read_text().splitlines())]


def test_json_lines_logged_step_writes_and_prints_record(tmp_path: Path, capsys: Any) -> None:
    log = JsonLines(tmp_path, "see")
    log.on_train_begin(None, step(0), None)
    log.on_log(None, step(20), None, logs={"loss": 0.123456789, "epoch": 1})
    record = json.loads((tmp_path / "log.jsonl").read_text())
    assert record.pop("elapsed_s") < 5
    assert record == {"stage": "see", "step": 20, "loss": 0.123457, "epoch": 1}
    assert "stage see step 20" in capsys.readouterr().out


def test_json_lines_printed_line_ends_with_the_time_left(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    log = JsonLines(tmp_path, "see")
    log.on_train_begin(None, step(0), None)
    monkeypatch.setattr("time.monotonic", lambda: log.started + 60)
    log.on_log(None, step(20), None, logs={"loss": 1.0})
    assert capsys.readouterr().out.endswith("loss 1.0, 4 min left\n")


def test_json_lines_resumed_stage_replaces_repeated_steps(tmp_path: Path) -> None:
    """The run was killed at step 50 while it wrote a line; its checkpoint is of step 20."""
    first = JsonLines(tmp_path, "see")
    first.on_train_begin(None, step(0), None)
    first.on_log(None, step(60), None, logs={})
    second = JsonLines(tmp_path, "name")
    second.on_train_begin(None, step(0), None)
    for number in (20, 40):
        second.on_log(None, step(number), None, logs={"loss": 1.0})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"stage": "name", "st')

    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(b'\n[]\n{"stage": "name", "step": null}\n\xff\n' + b"[" * 100_000)

    again = JsonLines(tmp_path, "name")
    again.on_train_begin(None, step(20), None)
    again.on_log(None, step(40), None, logs={})
    assert steps_of(tmp_path / "log.jsonl") == [("see", 60), ("name", 20), ("name", 40)]
