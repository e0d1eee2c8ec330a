"""--workers, --ray and --gpus-per-worker: values, and what they need."""

import pytest

from commandline import parse
from thinkseg.cli import app, worker_options
from thinkseg.cli.worker_options import WorkerOptions
from thinkseg.errors import SettingsError
from thinkseg.scale.ray_cluster import LOCAL, Placement

EVALUATE = ("evaluate", "shapes", "--out", "out")


@pytest.fixture
def without_ray(monkeypatch):
    monkeypatch.setattr(worker_options, "find_spec", lambda name: None)


@pytest.fixture
def with_ray(monkeypatch):
    monkeypatch.setattr(worker_options, "find_spec", lambda name: object())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), None),
        (("--ray",), LOCAL),
        (("--ray", "--workers", "2"), LOCAL),
        (("--ray", "auto"), "auto"),
        (("--ray", "node0:6379", "--workers", "2"), "node0:6379"),
        (("--ray=[fd00::1]:6379",), "[fd00::1]:6379"),
    ],
)
def test_ray_address_can_be_left_out(arguments, expected):
    assert parse([*EVALUATE, *arguments]).params["ray"] == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ray", "ray://node0"), "--ray: 'ray://node0' is not an address"),
        (("--ray", "node0"), "--ray: 'node0' is not an address"),
        (("--ray", "node0:70000"), "--ray: 'node0:70000' is not an address"),
        (("--ray", "--gpus-per-worker", "1.5"), "--gpus-per-worker: '1.5' is not a number of GPUs"),
        (("--workers", "0"), "--workers: '0' is not an integer >= 1"),
        (("--gpus-per-worker", "1"), "--gpus-per-worker: needs workers"),
    ],
)
def test_invalid_values_are_errors_of_one_line(arguments, message, capsys):
    assert app.main([*EVALUATE, *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"thinkseg: {message}")


@pytest.mark.usefixtures("with_ray")
def test_placement_of_options():
    assert WorkerOptions().placement() is None
    assert WorkerOptions(workers=3).placement() == Placement(3)
    assert WorkerOptions(ray="auto", gpus_per_worker=0.5).placement("cuda") == Placement(1, "auto", 0.5)
    with pytest.raises(SettingsError, match="--device: 'cuda:1' is one device"):
        WorkerOptions(workers=2).placement("cuda:1")


@pytest.mark.usefixtures("without_ray")
def test_placement_without_ray_is_one_process_unless_ray_is_asked_for(capsys):
    assert WorkerOptions(workers=3).placement() is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("thinkseg: --workers 3: Ray is not installed: pip install")
    with pytest.raises(SettingsError, match=r"^--ray: Ray is not installed: pip install"):
        WorkerOptions(ray=LOCAL).placement()


def test_workers_of_one_question_or_a_plain_draw_are_errors(tmp_path, capsys):
    assert app.main(["segment", "a.mp4", "it", "--out", str(tmp_path / "out"), "--workers", "2"]) == 2
    assert "--workers, --ray: share many questions" in capsys.readouterr().err
    draw = ["data", "select", "revos", "--root", str(tmp_path), "--out", str(tmp_path / "select.json")]
    assert app.main([*draw, "--workers", "2"]) == 2
    assert "--workers, --ray: a draw needs no workers" in capsys.readouterr().err
