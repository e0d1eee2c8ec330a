"""The command line as a whole: statuses, the one line of an error, help, and completion by a shell."""

import os
import shlex
import signal
import subprocess
import sys

import pytest

import thinkseg
from commandline import all_commands
from thinkseg.cli import app
from thinkseg.data import BENCHMARKS
from thinkseg.errors import ModelError, SettingsError

ANNOTATE = ["annotate", "shapes", "--out", "x"]
EVALUATE = ["evaluate", "shapes", "--out", "x"]
SEGMENT = ["segment", "clip.mp4", "the cat", "--out", "x"]


@pytest.fixture
def failing(monkeypatch):
    """Makes `thinkseg train sft` raise an error."""

    def fail(error):
        def load_recipe(path):
            raise error

        monkeypatch.setattr("thinkseg.training.sft.recipe.load_recipe", load_recipe)
        return app.main(["train", "sft", "--config", "recipe.yaml", "--out", "nowhere"])

    return fail


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version_prints_name_and_number(capsys, option):
    assert app.main([option]) == 0
    assert capsys.readouterr().out == f"thinkseg {thinkseg.__version__}\n"


@pytest.mark.parametrize(
    ("words", "command"), list(all_commands()), ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_help_of_every_command_describes_every_option(words, command, capsys):
    assert app.main([*words, "--help"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"Usage: thinkseg {words[0]} ")
    assert printed.err == ""
    assert printed.out.isascii()
    assert "<str>" not in printed.out
    assert command.short_help
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert "\n" not in parameter.help


def test_help_short_option_equals_long_option(capsys):
    assert app.main(["evaluate", "revos", "-h"]) == 0
    short = capsys.readouterr().out
    app.main(["evaluate", "revos", "--help"])
    assert short == capsys.readouterr().out


@pytest.mark.parametrize("group", ["data", "evaluate", "score", "validate", "annotate", "export"])
def test_commands_for_data_sets_cover_all_benchmarks(group):
    found = {words[-1] for words, _ in all_commands() if words[0] == group and len(words) > 1}
    assert found - {"cot", "select"} == set(BENCHMARKS)


@pytest.mark.parametrize("kind", [SettingsError, ModelError])
def test_an_error_is_one_line_and_status_2(failing, capsys, kind):
    assert failing(kind("this went wrong\n in two lines")) == 2
    printed = capsys.readouterr()
    assert printed.err == "thinkseg: this went wrong in two lines\n"
    assert printed.out == ""


def test_a_bug_is_a_traceback_and_status_70(failing, capsys):
    assert failing(ZeroDivisionError("by a bug")) == 70
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert printed.endswith("ZeroDivisionError: by a bug\n")


def test_an_interruption_is_one_line_and_status_130(failing, capsys):
    assert failing(KeyboardInterrupt()) == 130
    assert capsys.readouterr() == ("", "thinkseg: stopped by SIGINT; run the command again to resume or repeat it\n")


SIGNALED = """
import os, signal, sys
from thinkseg.cli import app
from thinkseg.data.shapes import writer

signal.signal(signal.{name}, signal.SIG_DFL)  # nohup ignores SIGHUP

def write_dataset(folder, *args, **kwargs):
    (folder / "half").write_text("half")
    try:
        os.kill(os.getpid(), signal.{name})
        signal.pause()
    finally:
        os.kill(os.getpid(), signal.{name})  # the second one, as timeout(1) sends it

writer.write_dataset = write_dataset
sys.exit(app.main(["data", "shapes", "--out", "out"]))
"""


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_is_one_line_and_leaves_nothing(tmp_path, name, status):
    command = [sys.executable, "-c", SIGNALED.format(name=name)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr == f"thinkseg: stopped by {name}; run the command again to resume or repeat it\n"
    assert list(tmp_path.iterdir()) == []


def test_main_restores_the_handlers_of_signals(failing):
    before = [signal.getsignal(number) for number in app.STOPPING]
    failing(SettingsError("wrong"))
    assert [signal.getsignal(number) for number in app.STOPPING] == before


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["segmentate"], "no such command 'segmentate'; did you mean 'segment'; see thinkseg --help"),
        (["score", "vica"], "no such command 'vica'; did you mean 'vicas'; see thinkseg score --help"),
        (["segment"], "--out: is missing; see thinkseg segment --help"),
        (["segment", "clip.mp4", "the cat"], "--out: is missing; see thinkseg segment --help"),
        (
            ["segment", "clip.mp4", "the cat", "--keyfram", "1"],
            "no such option: --keyfram; did you mean --keyframe; see thinkseg segment --help",
        ),
        (["segment", "--hlp"], "no such option: --hlp; did you mean --help; see thinkseg segment --help"),
        (
            ["train", "sft", "-config", "x"],
            "no such option: -config; did you mean --config; see thinkseg train sft --help",
        ),
        (["demo", "-x"], "no such option: -x; see thinkseg demo --help"),
        (["export", "trl", "shapes", "--zz"], "no such option: --zz; see thinkseg export trl shapes --help"),
        (
            [*SEGMENT, "more", "words"],
            "unexpected 'more'; put a text of several words in quotes, and queries about many videos in --query",
        ),
        (["demo", "--out"], "option '--out' requires an argument; see thinkseg demo --help"),
        (["demo", "--out", ""], "--out: is empty; give a path, '.' for the current folder; see thinkseg demo --help"),
        (["demo", "--policy", " "], "--policy: ' ' is empty; give a value; see thinkseg demo --help"),
        (["segment", "", "x", "--out", "y"], "VIDEO: '' is empty; give a value; see thinkseg segment --help"),
        (
            [*EVALUATE, "--frames", "8", "--frames", "9"],
            "--frames: is given 2 times; give it once; see thinkseg evaluate shapes --help",
        ),
        (
            ["evaluate", "revos", "--png=yes"],
            "option '--png' does not take a value; see thinkseg evaluate revos --help",
        ),
    ],
)
def test_usage_error_is_one_line_that_names_the_help(arguments, line, capsys):
    assert app.main(arguments) == 2
    assert capsys.readouterr() == ("", f"thinkseg: {line}\n")


@pytest.mark.parametrize("words", [[], ["evaluate"], ["train"], ["export", "trl"]])
def test_missing_command_prints_the_help_and_is_status_2(words, capsys):
    assert app.main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    *shown, blank, line = printed.err.splitlines()
    assert shown[0].startswith("Usage: thinkseg")
    assert "Commands:" in shown
    assert (blank, line) == ("", f"thinkseg: missing command; see {' '.join(['thinkseg', *words])} --help")


@pytest.mark.parametrize("words", [words for words, _ in all_commands()], ids=" ".join)
def test_unknown_option_of_every_command_has_a_suggestion(words, capsys):
    assert app.main([*words, "--hepl"]) == 2
    assert "no such option: --hepl; did you mean --help" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "option", "reason"),
    [
        ([*ANNOTATE, "--max-cost", "abc"], "--max-cost", "'abc' is not a number >= 0"),
        ([*ANNOTATE, "--max-cost", "-5"], "--max-cost", "'-5' is not a number >= 0"),
        ([*ANNOTATE, "--timeout", "abc"], "--timeout", "'abc' is not a number > 0"),
        ([*ANNOTATE, "--price-in", "inf"], "--price-in", "'inf' is not a number >= 0"),
        ([*EVALUATE, "--temperature", "nan"], "--temperature", "'nan' is not a temperature; give 0"),
        ([*EVALUATE, "--temperature", "1e-300"], "--temperature", "'1e-300' is not a temperature; give 0"),
        ([*EVALUATE, "--jpeg-quality", "101"], "--jpeg-quality", "'101' is not a JPEG quality; give an integer from 1"),
        ([*EVALUATE, "--seed", "9" * 5000], "--seed", f"'{'9' * 40}' is too large; give at most 4294967295"),
        ([*EVALUATE, "--limit", "-3"], "--limit", "'-3' is not an integer >= 1"),
        ([*EVALUATE, "--limit", "0"], "--limit", "'0' is not an integer >= 1"),
        ([*EVALUATE, "--start", "1.5"], "--start", "'1.5' is not an integer >= 0"),
        ([*EVALUATE, "--precision", "int8"], "--precision", "'int8' must be one of auto, fp32, bf16, fp16"),
        (["data", "shapes", "--out", "x", "--size", "big"], "--size", "'big' is not a size; give width x height"),
        ([*SEGMENT, "--device", "tpu"], "--device", "'tpu' is not a device; give cpu, cuda or cuda:1"),
        ([*SEGMENT, "--box", "1,2,3"], "--box", "'1,2,3' is not a box; give x1,y1,x2,y2"),
        (["train", "sft", "--config", "x", "--out", ""], "--out", "is empty; give a path"),
        (["data", "shapes", "--out", "~/x"], "--out", "'~/x' starts with ~, which the shell did not expand"),
        (["score", "revos", "--csv", "~"], "--csv", "'~' starts with ~, which the shell did not expand"),
        ([*SEGMENT, "--keyframe", "soon"], "--keyframe", "'soon' is not a moment; give a time like 2.4s"),
    ],
)
def test_invalid_value_names_option_and_requirement(arguments, option, reason, capsys):
    assert app.main(arguments) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith(f"thinkseg: {option}: {reason}")
    assert line.endswith(f"; see thinkseg {' '.join(arguments[: 1 if arguments[0] == 'segment' else 2])} --help")
    assert printed.out == ""


def test_a_reader_that_has_seen_enough_causes_no_complaint(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "thinkseg", "data", "shapes", "--count", "1", "--size", "16x16", "--out", "out"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == b""
    assert (tmp_path / "out" / "mask_dict.json").exists()


def test_a_reader_that_leaves_before_the_end_is_status_141(failing, capfd):
    assert failing(BrokenPipeError()) == 141
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("redirection", "status", "printed"),
    [
        (
            "> /dev/full",
            2,
            "thinkseg: standard output or a temporary file: No space left on device; free some space",
        ),
        (">&-", 0, ""),
        ("2>&-", 0, f"thinkseg {thinkseg.__version__}"),
    ],
)
def test_standard_streams_that_cannot_be_written(redirection, status, printed):
    command = f"{shlex.quote(sys.executable)} -m thinkseg --version {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, (done.stdout + done.stderr).strip()) == (status, printed)


def test_an_error_that_nobody_reads_keeps_its_status():
    command = f"{shlex.quote(sys.executable)} -m thinkseg segmentate 2>"
    for target in ("&-", " /dev/full"):
        assert subprocess.run(["sh", "-c", command + target], capture_output=True, check=False).returncode == 2


@pytest.fixture
def completed(monkeypatch, capsys):
    """The suggestions of bash for the last word of a command."""

    def completed(line):
        words = line.split(" ")
        monkeypatch.setenv("_THINKSEG_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        with pytest.raises(SystemExit) as leaving:
            app.main([])
        assert leaving.value.code == 0
        return capsys.readouterr().out.split()

    return completed


@pytest.mark.parametrize(
    ("line", "suggestions"),
    [
        ("thinkseg se", ["segment"]),
        ("thinkseg evaluate re", ["revos", "reasonvos", "refytvos", "refdavis"]),
        ("thinkseg evaluate revos --prec", ["--precision"]),
        ("thinkseg evaluate revos --split tr", ["train", "train_sub"]),
        ("thinkseg segment clip.mp4 it --precision ", ["auto", "fp32", "bf16", "fp16"]),
        ("thinkseg demo --chain r", ["revseg"]),
        ("thinkseg export l", ["llamafactory"]),
        ("thinkseg export trl mev", ["mevis", "mevis-v2"]),
    ],
)
def test_shell_completion_suggests_commands_options_and_values(completed, line, suggestions):
    assert completed(line) == suggestions


def test_shell_completion_script_of_bash_is_shown():
    # The shell is detected from the processes above, so that one has to be there.
    command = f"{sys.executable} -m thinkseg --show-completion bash; exit $?"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert "_THINKSEG_COMPLETE=complete_bash" in done.stdout
    assert "complete -o default -F _thinkseg_completion thinkseg" in done.stdout
