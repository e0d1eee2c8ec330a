"""What the README and the guides say is true: commands parse, files exist, examples run."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commandline import parse
from thinkseg import segment
from thinkseg.cli.app import main
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.video import ArrayFrames, write_video
from thinkseg.report.formats import FORMATS
from thinkseg.rewards import Prompt, Rollout
from thinkseg.storage.prompt_file import read_prompts
from thinkseg.types import Outcome, View

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text("utf-8")
REPLY = '<think>There.</think><answer>{"keyframe_timestamp": 0.0, "bbox_2d_list": [[2, 2, 20, 20]]}</answer>'


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    return [line[2:] for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")]


COMMANDS = commands(README)
REPRODUCE, SCALING, FORMATS_PAGE = (
    (ROOT / "docs" / f"{page}.md").read_text("utf-8") for page in ("reproduce", "scaling", "formats")
)


@pytest.fixture
def policy():
    return ScriptedPolicy([REPLY], view=View(num_frames=4, frame_wh=(32, 32)))


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("command", [*COMMANDS, *commands(REPRODUCE), *commands(SCALING), *commands(FORMATS_PAGE)])
def test_commands_of_readme_and_guides_exist(command):
    program, *arguments = shlex.split(command)
    if program == "torchrun":
        program, *arguments = arguments[arguments.index("-m") + 1 :]
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert program == "thinkseg"
        assert callable(parse(arguments).command.callback)


def test_every_command_is_in_the_readme():
    named = {tuple(word for word in shlex.split(command)[:3]) for command in COMMANDS}
    for words in (("segment",), ("demo",), ("data", "shapes"), ("evaluate", "shapes"), ("train", "sft")):
        assert any(name[1 : 1 + len(words)] == words for name in named), words


@pytest.mark.parametrize("page", [README, REPRODUCE, SCALING], ids=["README.md", "reproduce.md", "scaling.md"])
def test_recipes_in_a_page_exist(page):
    recipes = set(re.findall(r"recipes/[\w./-]+\w", page))
    assert recipes
    for recipe in recipes:
        assert (ROOT / recipe).is_file(), recipe


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = [link for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")) if not link.startswith("http")]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in {head.lower().replace(" ", "-") for head in heads}, link


def test_the_python_example_runs(policy, frames, box_tracker, tmp_path, monkeypatch, capsys):
    (example,) = blocks(README, "python")
    assert len(example.splitlines()) == 6
    write_video(tmp_path / "clip.mp4", frames, 6.0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("thinkseg.models.load_policy", lambda name: policy)
    monkeypatch.setattr("thinkseg.models.load_tracker", lambda name, **settings: box_tracker)
    names = {}
    exec(example, names)
    assert names["mask"].shape == (32, 32)
    assert names["mask"].sum() == 18 * 18
    assert capsys.readouterr().out == "There.\n0 [[ 2.  2. 20. 20.]]\n"


def test_page_of_formats_names_all_of_them_and_its_example_runs(policy, frames, box_tracker, tmp_path, monkeypatch):
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", FORMATS_PAGE, re.MULTILINE))
    assert {name: files.partition("/")[0] for name, files in rows.items()} == {
        name: one.file for name, one in FORMATS.items()
    }
    write_video(tmp_path / "clip.mp4", frames, 6.0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("thinkseg.models.load_policy", lambda name: policy)
    monkeypatch.setattr("thinkseg.models.load_tracker", lambda name, **settings: box_tracker)
    names: dict = {}
    exec(*blocks(FORMATS_PAGE, "python"), names)
    assert (names["masks"].sum(), names["picture"].shape) == (18 * 18, (32, 32, 3))
    assert (tmp_path / "runs" / "clip" / "objects.csv").is_file()


def test_the_guide_to_adding_parts_works(policy, frames, tmp_path):
    names: dict = {}
    for block in blocks((ROOT / "docs" / "add-your-own.md").read_text("utf-8"), "python"):
        exec(block, names)
    video = ArrayFrames(frames, fps=6.0)
    result = segment(video, "it", policy=policy, tracker=names["Frozen"](), chain=names["terse"])
    assert result.failure is None
    assert result.masklets.union(5).sum() == 18 * 18
    assert policy.dialogues[0][0].content[-1] == "Box this: it"
    outcome = Outcome(result.answer, result.failure, result.dialogue)
    assert names["SHORT_THINKING"].function(Rollout(Prompt(result.sample, (0,)), outcome)) == 1.0
    names["write_areas"](result, tmp_path)
    assert (tmp_path / "areas.txt").read_text() == " ".join(["324"] * 6) + "\n"


def test_guide_chain_of_an_installed_package_runs_by_name(policy, frames, box_tracker, tmp_path, monkeypatch, capsys):
    guide = (ROOT / "docs" / "add-your-own.md").read_text("utf-8")
    (declared,) = tomllib.loads(blocks(guide, "toml")[0])["project"]["entry-points"].items()
    (tmp_path / "my_chains.py").write_text(next(block for block in blocks(guide, "python") if "def terse" in block))
    info = tmp_path / "my_chains-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-chains\nVersion: 1.0\n")
    entries = "".join(f"{name} = {value}\n" for name, value in declared[1].items())
    (info / "entry_points.txt").write_text(f"[{declared[0]}]\n{entries}")
    write_video(tmp_path / "clip.mp4", frames, 6.0)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("thinkseg.models.load_policy", lambda name, **settings: policy)
    monkeypatch.setattr("thinkseg.models.load_tracker", lambda name, **settings: box_tracker)
    assert main(["segment", str(tmp_path / "clip.mp4"), "it", "--chain", "terse", "--out", str(tmp_path / "out")]) == 0
    assert policy.dialogues[0][0].content[-1] == "Box this: it"


def test_guide_to_prompts_has_a_valid_file(tmp_path):
    (file,) = blocks((ROOT / "docs" / "prompts.md").read_text("utf-8"), "yaml")
    (tmp_path / "prompts.yaml").write_text(file)
    assert read_prompts(tmp_path / "prompts.yaml", "veason").veason.frame.seconds == "({time} s){image}"


def test_guide_loader_reads_frames_and_ground_truth(frames, tmp_path):
    names: dict = {}
    exec(blocks((ROOT / "docs" / "add-your-own.md").read_text("utf-8"), "python")[0], names)
    labels = np.zeros((32, 32), np.uint8)
    labels[:4] = 7
    for folder, image, suffix in (("frames", frames[0], "jpg"), ("masks", labels, "png")):
        (tmp_path / folder / "clip").mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / folder / "clip" / f"00000.{suffix}")
    lists = {"videos": {"clip": ["00000"]}, "queries": [["clip", "the bar", [7]], ["clip", "the dog", []]]}
    (tmp_path / "val.json").write_text(json.dumps(lists))
    target, no_target = names["load"](tmp_path, "val", DatasetIssues()).samples()
    assert (target.id, target.query, target.truth.area(0), no_target.truth.num_objects) == ("clip/0", "the bar", 128, 0)
