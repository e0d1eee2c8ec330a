"""`thinkseg prompts`, and --prompts of other commands."""

from pathlib import Path

import pytest

from thinkseg.cli.app import main
from thinkseg.prompts import BUILT_IN, Prompts, VeasonPrompts
from thinkseg.storage.prompt_file import read_prompts, write_prompts

FILE = """veason:
  prompt: '{frames}Find "{query}": {"keyframe_timestamp": T}'
  frame: {seconds: "({time} s){image}", index: "({index}){image}"}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.yaml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("arguments", [[], ["--policy", "shapes"]])
def test_prompts_show_prints_a_file_of_the_built_in_wording(arguments, tmp_path, capsys):
    assert main(["prompts", "show", *arguments]) == 0
    (tmp_path / "p.yaml").write_text(capsys.readouterr().out)
    assert read_prompts(tmp_path / "p.yaml", "revseg") == BUILT_IN


def test_prompts_show_policy_prints_its_own_wording(tmp_path, capsys):
    write_prompts(Prompts(veason=VeasonPrompts(prompt="{frames}{query}!")), tmp_path / "thinkseg-prompts.yaml")
    assert main(["prompts", "show", "veason", "--policy", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("veason:\n  prompt: '{frames}{query}!'\n  frame:\n")


def test_prompts_check_prints_the_dialogue(file, capsys):
    assert main(["prompts", "check", str(file)]) == 0
    found = capsys.readouterr().out
    query = 'Find "the red car that turns left": {"keyframe_timestamp": T}\n'
    assert f"# veason, frames with times\n\nturn 1: (0.0 s)<image>(1.0 s)<image>{query}" in found
    assert f"# veason, frames without times\n\nturn 1: (0)<image>(1)<image>{query}" in found
    assert "revseg" not in found


def test_prompts_check_both_turns_of_revseg(tmp_path, capsys):
    write_prompts(BUILT_IN, tmp_path / "p.yaml")
    assert main(["prompts", "check", str(tmp_path / "p.yaml")]) == 0
    assert 'turn 2: <image>This is that frame, larger. Find "it" and' in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["prompts", "check", "FILE"],
        ["segment", "clip.mp4", "it", "--out", "out", "--prompts", "FILE"],
        ["evaluate", "shapes", "--out", "out", "--prompts", "FILE"],
        ["annotate", "shapes", "--out", "out", "--annotator", "openai:m@http://localhost:1/v1", "--prompts", "FILE"],
        ["export", "verl", "shapes", "--out", "out", "--prompts", "FILE"],
        ["check-policy", "shapes", "--prompts", "FILE"],
    ],
)
def test_prompts_without_query_exits_2_at_once(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text('veason: {prompt: "{frames}"}')
    assert main(arguments) == 2
    assert capsys.readouterr().err == "thinkseg: FILE: veason: prompt: has no {query}; add it\n"
    assert not Path("out").exists()


def test_prompts_of_another_chain_exits_2(file, tmp_path, capsys):
    arguments = ["segment", "clip.mp4", "it", "--out", str(tmp_path / "out"), "--chain", "revseg"]
    assert main([*arguments, "--prompts", str(file)]) == 2
    assert "words veason, not 'revseg'; add revseg, or drop it" in capsys.readouterr().err


def test_annotate_rules_with_prompts_exits_2(file, tmp_path, capsys):
    assert main(["annotate", "shapes", "--out", str(tmp_path / "out"), "--prompts", str(file)]) == 2
    assert "--prompts: the rules are not prompted; drop it" in capsys.readouterr().err


def test_export_uses_prompts(file, tmp_path, capsys):
    size = ["--frames", "2", "--frame-size", "56x56", "--limit", "1"]
    assert main(["export", "jsonl", "shapes", "--out", str(tmp_path / "out"), "--prompts", str(file), *size]) == 0
    text = "".join(path.read_text() for path in (tmp_path / "out").glob("*.jsonl"))
    assert "(0.0 s)<image>" in text
    assert "Look at these video frames" not in text
