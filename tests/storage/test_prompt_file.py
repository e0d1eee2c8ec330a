from pathlib import Path

import pytest
import yaml

from thinkseg.errors import SettingsError
from thinkseg.prompts import BUILT_IN, LabelTexts, Prompts, VeasonPrompts
from thinkseg.storage.prompt_file import prompts_yaml, read_prompts, write_prompts

FRAMES_FIRST = {
    "prompt": "{frames}Find it:\n{query} ",
    "frame": {"seconds": "({time} s){image}", "index": "({index} s){image}"},
}


def written(folder: Path, content: object) -> Path:
    path = folder / "prompts.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


def test_read_prompts_omitted_fields_are_built_in(tmp_path):
    found = read_prompts(written(tmp_path, {"veason": FRAMES_FIRST}), "veason")
    frame = LabelTexts("({time} s){image}", "({index} s){image}")
    assert found == Prompts(veason=VeasonPrompts(prompt="{frames}Find it:\n{query} ", frame=frame))


ODD_TEXT = VeasonPrompts(prompt=" {frames}\n\n{query}: \u00e9\u201c")


@pytest.mark.parametrize("prompts", [BUILT_IN, Prompts(veason=ODD_TEXT)])
def test_write_prompts_reads_back(tmp_path, prompts):
    write_prompts(prompts, tmp_path / "p.yaml")
    assert read_prompts(tmp_path / "p.yaml", "revseg") == prompts


def test_prompts_yaml_of_one_chain_has_blocks():
    text = prompts_yaml(BUILT_IN, ["veason"])
    assert text.startswith("veason:\n  prompt: |-\n    Look at these")
    assert "revseg" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"veason": {"prompt": "{frames}"}}, "veason: prompt: has no {query}; add it"),
        ({"veason": {"prompt": 3}}, "veason.prompt: must be a string; got 3"),
        (
            {"veason": {"promt": ""}},
            "veason.promt: unknown field; did you mean prompt?",
        ),
        ({"veason": {"frame": {"seconds": ""}}}, "veason.frame.index: missing; add it"),
        ({"veson": {}}, "veson: unknown field; did you mean veason? Known fields are veason, revseg"),
        ({"veason": None}, "veason: must be a mapping of fields; got None"),
        ({"revseg": {}}, "words revseg, not 'veason'; add veason, or drop it"),
        ({}, "words no chain, not 'veason'"),
        ([], "must be a mapping of fields; got []"),
    ],
)
def test_read_prompts_invalid_file_raises_one_line(tmp_path, content, message):
    path = written(tmp_path, content)
    with pytest.raises(SettingsError) as caught:
        read_prompts(path, "veason")
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)
