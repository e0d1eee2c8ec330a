"""Every command in the README and the guides is one that exists, with the options it has; quick ones run."""

import ast
import json
import re
import tomllib
from contextlib import redirect_stdout
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from commandline import all_commands, parse
from guides import PAGES, ROOT, Command, blocks, commands, inline_code, text_of
from thinkseg.cli.app import main
from thinkseg.data.shapes import SHAPES_COMMENT
from thinkseg.evaluation import policy_check
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.video import write_video
from thinkseg.types import View

COMMANDS = [command for page in PAGES for command in commands(page)]
PRESENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
"""Pages about what is there now."""

OTHER_PROGRAMS = {"cd", "export", "git", "llamafactory-cli", "tensorboard", "vllm"}
"""Programs of others, whose options are not checked here."""

MADE_ELSEWHERE = ("exports/", ".venv/bin/", ".venv-engines/", "~/exports/")
"""Programs that another command makes or installs."""

QUICK = {
    "models",
    "models show",
    "config",
    "frame",
    "segment",
    "convert",
    "prompts show",
    "prompts check",
    "data shapes",
    "data revos",
    "validate revos",
    "train plan",
}
"""Commands that take seconds. They run if nothing that they name is `ABSENT`; all others are parsed only."""

ABSENT = re.compile(r"--ray |checkpoints/|Qwen/|facebook/|openai:|--split train|datasets/(?!ReVOS)")
"""Models, servers, clusters and data sets that a machine does not have by itself."""

SMALLER = {"50": "1"}
"""Values of options of commands that run, and those that take less time."""

ALL = {" ".join(words): command for words, command in all_commands()}
OPTIONS = {name for command in ALL.values() for option in command.params for name in option.opts}

REPLY = '<think>There.</think><answer>{"keyframe_timestamp": 0.0, "bbox_2d_list": [[10, 10, 30, 30]]}</answer>'


def name_of(command: Command) -> str:
    """The words that call a command of thinkseg: "segment", "data shapes"."""
    return max((name for n in (1, 2) if (name := " ".join(command.words[1 : 1 + n])) in ALL), key=len, default="")


def runs(command: Command) -> bool:
    return command.program == "thinkseg" and name_of(command) in QUICK and not ABSENT.search(" ".join(command.words))


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.program not in OTHER_PROGRAMS], ids=str)
def test_command_exists_with_its_options(command):
    program, *arguments = command.words
    if program == "torchrun":
        program, *arguments = arguments[arguments.index("-m") + 1 :]
    if program == "thinkseg":
        assert "..." in arguments or callable(parse(arguments).command.callback)
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "python":
        check_script(arguments)
    elif program == "pip":
        check_extras(" ".join(arguments))
    else:
        assert program.startswith(MADE_ELSEWHERE)


@pytest.mark.parametrize("page", PRESENT, ids=lambda page: page.name)
def test_commands_in_running_text_exist(page):
    for code in inline_code(page.read_text("utf-8")):
        program, *arguments = code.split()
        if program == "python":
            check_script(arguments)
        elif program == "make":
            assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), code
        elif program == "thinkseg" and arguments:
            assert arguments[0] in {*ALL, "COMMAND", "--help", "--install-completion"}, code


@pytest.mark.parametrize("page", PRESENT, ids=lambda page: page.name)
def test_options_in_running_text_exist(page):
    """They are options of a command, of a benchmark, or of vLLM on the page about serving."""
    scripts = "".join(path.read_text("utf-8") for path in (ROOT / "benchmarks").glob("*.py"))
    for code in inline_code(page.read_text("utf-8")):
        for option in re.findall(r"(?<!\S)--[a-z][\w-]*", code) if code.startswith("--") else ():
            assert option in OPTIONS or f'"{option}"' in scripts or page.name == "serving.md", code


def check_script(arguments):
    """A script of the project exists, and its source names all options of a command."""
    if not arguments[0].endswith(".py") or arguments[0] == "train.py":
        return
    source = (ROOT / arguments[0]).read_text("utf-8")
    strings = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    for option in (word for word in arguments[1:] if word.startswith("--")):
        assert option in strings, f"{arguments[0]} has no {option}"


def check_extras(arguments):
    """The extras of this project that a command installs exist."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for named in re.findall(r"(?:thinkseg|\.)\[([\w,-]+)\]", arguments):
        assert set(named.split(",")) <= set(extras)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_project_that_a_page_names_exist(page):
    text = page.read_text("utf-8")
    for path in set(
        re.findall(r"(?<![\w/.-])(?:recipes|benchmarks|tests|src|docs)/[\w./-]+\.(?:py|ya?ml|json|sh|md)\b", text)
    ):
        assert (ROOT / path).is_file() or path == "recipes/my-recipe.yaml" or path == "recipes/mine.yaml", path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what the guides take for granted: clips, a mask, questions, a data set, the recipes."""
    monkeypatch.chdir(tmp_path)
    frames = np.full((12, 240, 320, 3), 90, np.uint8)
    for number, frame in enumerate(frames):
        frame[90:170, 100 + number : 180 + number] = (220, 40, 40)
    for path in ("clip.mp4", "moved/clip.mp4", "clips/a.mp4", "clips/b.mp4"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        write_video(tmp_path / path, frames, 4.0, comment=SHAPES_COMMENT)
    (questions,) = blocks(text_of("segment.md"), "csv")
    (tmp_path / "questions.csv").write_text(questions, "utf-8")
    Image.fromarray(frames[0, ..., 0] > 200).save(tmp_path / "mask.png")
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    assert main(["data", "shapes", "--count", "1", "--size", "64x64", "--out", "datasets/ReVOS"]) == 0
    policy = ScriptedPolicy(lambda dialogue: REPLY, view=View(num_frames=4, frame_wh=(112, 112)))
    monkeypatch.setattr("thinkseg.models.load_policy", lambda name, **settings: policy)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(runs, commands(page)))], ids=lambda page: page.name)
def test_quick_commands_of_a_page_run_in_order(page, place):
    for command in filter(runs, commands(page)):
        with open(place / (command.target or "output.txt"), "w", encoding="utf-8") as output, redirect_stdout(output):
            status = main([SMALLER.get(word, word) for word in command.words[1:]])
        assert status == 0, str(command)


def test_every_quick_command_is_in_a_page():
    assert {name_of(command) for command in COMMANDS if runs(command)} == QUICK


def test_output_of_check_policy_is_as_shown(monkeypatch, capsys):
    (block,) = (block for block in blocks(text_of("serving.md"), "console") if "check-policy" in block)
    view = View(num_frames=4, frame_wh=(112, 112))
    policy = SimpleNamespace(name="shapes", view=view, coordinates="pixels", size_multiple=28)
    found = policy_check.PolicyCheck(
        policy="shapes",
        view=view,
        clips=4,
        iou=dict(zip(product(policy_check.CONVENTIONS, repeat=2), (0.94, 0.0, 0.81, 0.0), strict=True)),
        parse_rate=dict.fromkeys(policy_check.CONVENTIONS, 1.0),
        failures={},
    )
    monkeypatch.setattr("thinkseg.models.load_policy", lambda name, **settings: policy)
    monkeypatch.setattr(policy_check, "check", lambda *arguments: found)
    assert main(["check-policy", "shapes"]) == 0
    assert capsys.readouterr().out == block.partition("\n")[2]


def test_issues_of_a_data_set_are_printed_as_shown(place, capfd):
    """One frame is missing, and an RLE has one pixel. Numbers and names of files differ from those of the guide."""
    root = place / "datasets" / "ReVOS"
    next((root / "JPEGImages").rglob("00002.jpg")).unlink()
    masks = json.loads((root / "mask_dict.json").read_text("utf-8"))
    for track in masks.values():
        next(rle for rle in track if rle)["counts"] = "1"
    (root / "mask_dict.json").write_text(json.dumps(masks), "utf-8")
    capfd.readouterr()
    assert main(["data", "revos", "--root", "datasets/ReVOS", "--split", "valid"]) == 2
    printed = "".join(capfd.readouterr())
    (shown,) = (block for block in blocks(text_of("benchmarks.md"), "console") if "missing_frame" in block)

    def lines(text):
        plain = re.sub(r"\d+", "0", re.sub(r"JPEGImages/\S+.jpg", "FRAME", text))
        return [" ".join(line.split()) for line in plain.splitlines()]

    assert lines(shown)[0] == "$ thinkseg data revos --root datasets/ReVOS --split valid"
    assert set(lines(shown)[1:]) - set(lines(printed)) == {"..."}


def test_every_command_is_in_a_page():
    groups = {name for name in ALL if any(other.startswith(f"{name} ") for other in ALL)}
    datasets = {"revos", "reasonvos", "mevis", "mevis-v2", "vicas", "refytvos", "refdavis", "lvvis", "folder", "shapes"}
    without_data_set = {" ".join(word for word in name.split() if word not in datasets) for name in set(ALL) - groups}
    shown = [" ".join(command.words) for command in COMMANDS]
    assert [name for name in without_data_set if not any(f"thinkseg {name}" in line for line in shown)] == [
        "export trl cot"
    ]
