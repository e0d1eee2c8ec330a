"""The scripts of runs/: their commands exist, and those for the shapes world run to the scores."""

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from commandline import parse
from thinkseg.cli.app import main
from thinkseg.models.policies.qwen.checkpoint import load_view
from thinkseg.storage.settings_file import assigned
from thinkseg.training.memory_plan import load

ROOT = Path(__file__).parent.parent
RECORD = '#!/bin/sh\nprintf "%s " "$@" >> "$COMMANDS"\necho >> "$COMMANDS"\n'
"""In place of thinkseg and torchrun."""


@pytest.fixture
def commands(tmp_path):
    """Runs a script without its commands; returns their arguments."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("thinkseg", "torchrun"):
        (programs / name).write_text(RECORD)
        (programs / name).chmod(0o755)
    log = tmp_path / "commands"

    def run(script, **settings):
        log.unlink(missing_ok=True)
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "COMMANDS": str(log), **settings}
        subprocess.run(
            [ROOT / "runs" / script], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return [shlex.split(line) for line in log.read_text().splitlines()]

    return run


@pytest.mark.parametrize("size", ["3b", "7b"])
def test_veason_commands_exist(commands, size):
    found = commands("veason.sh", SIZE=size, ANNOTATOR="openai:model@http://localhost:8000/v1")
    tables = 3 * [*3 * ["evaluate"], *2 * ["compare"]]
    assert [line[0] for line in found] == ["data", "annotate", "train", "train", *tables]
    assert all(callable(parse(line).command.callback) for line in found)


def test_veason_without_annotator_exits_with_its_name(commands):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        commands("veason.sh")
    assert "ANNOTATOR: must be openai:MODEL@BASE_URL" in caught.value.stderr


@pytest.mark.parametrize(("script", "trainings"), [("veason.sh", ["sft", "grpo"]), ("revseg.sh", ["grpo"])])
def test_script_with_gpus_trains_under_torchrun(commands, script, trainings):
    found = commands(script, GPUS="8", ANNOTATOR="openai:model@http://localhost:8000/v1")
    started = [line for line in found if line[:5] == ["--nproc-per-node", "8", "-m", "thinkseg", "train"]]
    assert [line[5] for line in started] == trainings
    assert all(callable(parse(line[4:]).command.callback) for line in started)
    assert not any(line[0] == "train" for line in found)
    recipe = load(ROOT / started[-1][7], None, *(assigned(field) for field in started[-1][11::2]))
    assert recipe.sharding == "full"


def test_revseg_commands_exist(commands):
    found = commands("revseg.sh")
    assert sum(line[0] == "evaluate" for line in found) == 2 * 5
    assert all(callable(parse(line).command.callback) for line in found)


@pytest.mark.parametrize(
    ("script", "policies"), [("veason.sh", ["base", "grpo", "sft"]), ("revseg.sh", ["base", "grpo"])]
)
def test_shapes_script_scores_all_policies(commands, tmp_path, script, policies, monkeypatch, capsys):
    """The commands run in this process, from the folder of the project."""
    monkeypatch.chdir(ROOT)
    small = {"CLIPS": "4", "LIMIT": "2", "STEPS": "1", "PROMPTS": "1"}
    for arguments in commands(script, SHAPES="1", OUT=str(tmp_path / "out"), **small):
        assert main(arguments) == 0, shlex.join(arguments)
    scores = sorted((tmp_path / "out" / "scores" / "shapes").glob("*/scores.json"))
    assert [path.parent.name for path in scores] == policies
    assert {json.loads(path.read_text())["expressions"] for path in scores} == {2}
    assert load_view(tmp_path / "out" / "grpo" / "model").label_unit == "seconds"
