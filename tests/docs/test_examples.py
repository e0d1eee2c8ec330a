"""The examples of the README and the guides in Python, YAML and TOML run, or compile if they need what is not here."""

import json
import re
import tomllib

import numpy as np
import pytest
from PIL import Image

from guides import PAGES, blocks, text_of
from thinkseg import segment
from thinkseg.cli.app import main
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.video import ArrayFrames, write_video
from thinkseg.report.formats import FORMATS
from thinkseg.rewards import Prompt, Rollout
from thinkseg.storage.prompt_file import read_prompts
from thinkseg.types import Outcome, View

REPLY = '<think>There.</think><answer>{"keyframe_timestamp": 0.0, "bbox_2d_list": [[2, 2, 20, 20]]}</answer>'


@pytest.fixture
def policy():
    return ScriptedPolicy([REPLY] * 2, view=View(num_frames=4, frame_wh=(32, 32)))


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), np.uint8)


def test_the_python_example_runs(policy, frames, box_tracker, tmp_path, monkeypatch, capsys):
    (example,) = blocks(text_of("README.md"), "python")
    assert len(example.splitlines()) == 6
    write_video(tmp_path / "clip.mp4", frames, 6.0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("thinkseg.models.load_policy", lambda name, **_: policy)
    monkeypatch.setattr("thinkseg.models.load_tracker", lambda name, **settings: box_tracker)
    names = {}
    exec(example, names)
    assert names["mask"].shape == (32, 32)
    assert names["mask"].sum() == 18 * 18
    assert capsys.readouterr().out == "There.\n0 [[ 2.  2. 20. 20.]]\n"


def test_page_of_formats_names_all_of_them_and_its_examples_run(
    policy, frames, box_tracker, tmp_path, monkeypatch, capsys
):
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)`", text_of("formats.md"), re.MULTILINE))
    assert {name: files.partition("/")[0] for name, files in rows.items()} == {
        name: one.file for name, one in FORMATS.items()
    }
    write_video(tmp_path / "clip.mp4", frames, 6.0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("thinkseg.models.load_policy", lambda name, **_: policy)
    monkeypatch.setattr("thinkseg.models.load_tracker", lambda name, **settings: box_tracker)
    names: dict = {}
    example, listening = blocks(text_of("formats.md"), "python")
    exec(example, names)
    assert (names["masks"].sum(), names["picture"].shape) == (18 * 18, (32, 32, 3))
    assert (tmp_path / "runs" / "clip" / "objects.csv").is_file()
    capsys.readouterr()
    exec(listening, names)
    assert capsys.readouterr().out == f"{REPLY}\r6 of 6 frames"


def test_the_guide_to_adding_parts_works(policy, frames, tmp_path):
    names: dict = {}
    for block in blocks(text_of("add-your-own.md"), "python"):
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
    guide = text_of("add-your-own.md")
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
    (file,) = blocks(text_of("prompts.md"), "yaml")
    (tmp_path / "prompts.yaml").write_text(file)
    assert read_prompts(tmp_path / "prompts.yaml", "veason").veason.frame.seconds == "({time} s){image}"


def test_guide_loader_reads_frames_and_ground_truth(frames, tmp_path):
    names: dict = {}
    exec(blocks(text_of("add-your-own.md"), "python")[0], names)
    labels = np.zeros((32, 32), np.uint8)
    labels[:4] = 7
    for folder, image, suffix in (("frames", frames[0], "jpg"), ("masks", labels, "png")):
        (tmp_path / folder / "clip").mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / folder / "clip" / f"00000.{suffix}")
    lists = {"videos": {"clip": ["00000"]}, "queries": [["clip", "the bar", [7]], ["clip", "the dog", []]]}
    (tmp_path / "val.json").write_text(json.dumps(lists))
    target, no_target = names["load"](tmp_path, "val", DatasetIssues()).samples()
    assert (target.id, target.query, target.truth.area(0), no_target.truth.num_objects) == ("clip/0", "the bar", 128, 0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_of_a_page_compile(page):
    for block in blocks(page.read_text("utf-8"), "python"):
        compile(block, page.name, "exec")


def test_example_of_benchmarks_reads_a_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "shapes", "--count", "1", "--size", "64x64", "--out", "datasets/ReVOS"]) == 0
    names: dict = {}
    exec(*blocks(text_of("benchmarks.md"), "python"), names)
    assert names["sample"].truth.union(names["expression"].scored[0]).shape == (64, 64)
