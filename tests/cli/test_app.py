"""The command line as a whole: statuses, the one line of an error, and what loads."""

import argparse
import os
import subprocess
import sys

import pytest

import thinkseg
from thinkseg.cli import app
from thinkseg.errors import ModelError, SettingsError

COMMANDS = (
    ["segment"],
    ["demo"],
    ["data"],
    ["data", "shapes"],
    ["train"],
    ["train", "sft"],
    ["evaluate"],
    ["evaluate", "shapes"],
    ["evaluate", "revos"],
    ["score"],
    ["score", "revos"],
    ["submit"],
    ["submit", "mevis"],
    ["validate"],
    ["validate", "revos"],
    ["compare"],
    ["check-policy"],
)


@pytest.fixture
def failing(monkeypatch):
    """Makes `thinkseg train sft` raise an error."""

    def fail(error):
        def sft(_):
            raise error

        monkeypatch.setattr("thinkseg.cli.train.sft", sft)
        return app.main(["train", "sft", "--config", "recipe.yaml", "--out", "nowhere"])

    return fail


def test_version(capsys):
    with pytest.raises(SystemExit) as leaving:
        app.main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"thinkseg {thinkseg.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_a_line_for_each_option(command, capsys):
    with pytest.raises(SystemExit) as leaving:
        app.main([*command, "--help"])
    assert leaving.value.code == 0
    assert "usage: thinkseg" in capsys.readouterr().out
    parser = app.build_parser()
    for name in command:
        (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        parser = commands.choices[name]
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, action.dest
            assert "\n" not in action.help


@pytest.mark.parametrize("kind", [SettingsError, ModelError])
def test_an_error_is_one_line_and_status_2(failing, capsys, kind):
    assert failing(kind("this went wrong\n in two lines")) == 2
    printed = capsys.readouterr()
    assert printed.err == "thinkseg: this went wrong in two lines\n"
    assert printed.out == ""


def test_a_bug_is_not_dressed_up_as_an_error(failing):
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())


def test_an_interruption_is_status_130_without_words(failing, capsys):
    assert failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "COMMAND"),
        (["segmentate"], "segmentate"),
        (["segment", "clip.mp4", "the cat"], "--out"),
        (["segment", "clip.mp4", "the cat", "--ou", "x"], "--out"),
        (["evaluate", "shapes", "--limit", "0", "--out", "x"], "--limit"),
        (["data", "shapes", "--size", "big", "--out", "x"], "--size"),
    ],
)
def test_wrong_arguments_are_one_line_that_names_them(arguments, named, capsys):
    assert app.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("thinkseg: ")
    assert named in line
    assert "--help" in line


def test_a_reader_that_has_seen_enough_causes_no_complaint(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "thinkseg", "data", "shapes", "--count", "1", "--size", "16x16", "--out", "out"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    os.close(writing)
    assert done.returncode == 0
    assert done.stderr == b""
    assert (tmp_path / "out" / "mask_dict.json").exists()
