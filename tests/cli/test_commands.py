"""`thinkseg demo`, `data`, `train` and `evaluate`, with a policy that follows a script."""

import json
from html import unescape

import pytest

from thinkseg.cli import app
from thinkseg.data import open_benchmark
from thinkseg.data.shapes import CATEGORIES, load
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.report import demo
from thinkseg.types import View

ABSENT = '<think>No such thing.</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'
FOUND = '<think>There.</think><answer>{"keyframe_timestamp": 0.0, "bbox_2d_list": [[10, 10, 60, 60]]}</answer>'


@pytest.fixture
def loads(monkeypatch, box_tracker):
    """A policy that finds the target in every other video; lists how it was asked for."""
    loads = []

    def load_policy(name, **settings):
        loads.append((name, settings))
        replies = [FOUND, ABSENT] * 10
        return ScriptedPolicy(replies, view=View(num_frames=3, frame_wh=(112, 112)))

    monkeypatch.setattr("thinkseg.models.load_policy", load_policy)
    monkeypatch.setattr("thinkseg.models.load_tracker", lambda name, **settings: box_tracker)
    return loads


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def one_line(capsys):
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert printed.out == ""
    return line


def test_the_demo_asks_about_the_first_clip_of_each_category_and_one_more():
    benchmark = open_benchmark("shapes", limit=demo.POOL)
    chosen = [benchmark.expressions.index(expression) for expression in demo.choose(benchmark)]
    assert len(chosen) == len(set(chosen)) == 8
    for index, category in zip(chosen, CATEGORIES, strict=False):
        earlier = [load("val", before).category for before in range(index)]
        assert load("val", index).category == category
        assert category not in earlier
    assert chosen[-1] == min(set(range(100)) - set(chosen[:-1]))


def test_evaluate_takes_models_from_options_alone(loads, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("thinkseg.models.clock_of", lambda name: "auto")
    monkeypatch.setenv("THINKSEG_PRESET", "small")
    arguments = ["evaluate", "shapes", "--limit", "1"]
    assert app.main([*arguments, "--out", str(tmp_path / "a")]) == 0
    assert capsys.readouterr().err.startswith(
        "thinkseg: THINKSEG_PRESET: the preset small is not used here; give it as --preset small\n"
    )
    assert app.main([*arguments, "--preset", "small", "--out", str(tmp_path / "b")]) == 0
    assert "not used" not in capsys.readouterr().err
    assert [name for name, _ in loads] == ["shapes", "Qwen/Qwen3-VL-2B-Instruct"]


def test_the_demo_in_two_turns(loads, tmp_path, monkeypatch):
    def load_policy(name, **settings):
        choice = '<think></think><answer>[{"frame_idx": 0, "object description": "what was described"}]</answer>'
        return ScriptedPolicy([choice, '[{"bbox_2d": [0, 0, 9, 9]}]'], view=View(num_frames=3, frame_wh=(112, 112)))

    monkeypatch.setattr("thinkseg.models.load_policy", load_policy)
    monkeypatch.setattr(demo, "choose", lambda benchmark: benchmark.expressions[2:3])
    out = tmp_path / "demo"
    assert app.main(["demo", "--chain", "revseg", "--out", str(out)]) == 0
    page = (out / "index.html").read_text("utf-8")
    assert '"object description": "what was described"' in unescape(page)
    assert "chain <b>revseg</b>" in page


def test_an_unknown_chain_loads_no_policy(loads, tmp_path, capsys):
    assert app.main(["demo", "--chain", "thinkhard", "--out", str(tmp_path / "demo")]) == 2
    assert "unknown chain 'thinkhard'" in one_line(capsys)
    assert loads == []


def test_demo(loads, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "choose", lambda benchmark: benchmark.expressions[:3])
    out = tmp_path / "demo"
    assert app.main(["demo", "--policy", "mine", "--out", str(out)]) == 0
    assert loads == [("mine", {})]
    clips = [load("val", index) for index in range(3)]
    assert names(out) == sorted([".thinkseg", "index.html", "pictures", "scores.json", *(clip.id for clip in clips)])
    page = (out / "index.html").read_text("utf-8")
    scores = json.loads((out / "scores.json").read_text("utf-8"))
    printed = capsys.readouterr().out
    for clip, row in zip(clips, scores["rows"], strict=True):
        assert (row["video"], row["query"]) == (clip.id, clip.query)
        assert clip.query in printed
        assert f'id="q-{clip.id}-0"' in page
        assert {"answer.json", "clip.mp4", "overlay.mp4"} <= set(names(out / clip.id))
    assert (scores["expressions"], scores["skipped"]) == (3, 0)
    assert f"open {out / 'index.html'}" in printed
    assert "mean" in printed


def test_data_shapes(tmp_path, capsys):
    out = tmp_path / "tree"
    arguments = ["--split", "zeroshot", "--count", "2", "--start", "7", "--size", "40x32", "--questions", "2"]
    assert app.main(["data", "shapes", *arguments, "--out", str(out)]) == 0
    assert names(out / "videos") == ["zeroshot-000007.mp4", "zeroshot-000008.mp4"]
    assert "2 clips" in capsys.readouterr().out


def test_data_shapes_of_no_split(tmp_path, capsys):
    assert app.main(["data", "shapes", "--split", "test", "--out", str(tmp_path / "tree")]) == 2
    assert "'test'" in one_line(capsys)
    assert names(tmp_path) == []


def test_evaluate_shapes(loads, tmp_path, capsys):
    out = tmp_path / "scores"
    run = ["evaluate", "shapes", "--limit", "4", "--batch-size", "2", "--start", "3", "--seed", "5", "--out", str(out)]
    assert app.main(run) == 0
    assert loads == [("shapes", {"device": None, "precision": "auto", "temperature": 0.0, "seed": 5})]
    assert names(out) == ["masks", "results.jsonl", "scores.json", "settings.json"]
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"val-{index:06d}/0" for index in range(3, 7)]
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["data"], settings["split"], settings["seed"]) == ("shapes", "val", 5)
    assert settings["device"] == "cpu"
    table = capsys.readouterr().out
    assert table.startswith("shapes, val: 4 expressions, 4 videos")
    assert "overall" in table


def test_masks_of_shapes_are_scored_and_compared(loads, tmp_path, capsys):
    out = tmp_path / "scores"
    assert app.main(["evaluate", "shapes", "--limit", "2", "--png", "--out", str(out)]) == 0
    for place in (out, out / "pictures"):
        command = ["score", "shapes", "--limit", "2", "--predictions", str(place), "--workers", "1"]
        assert app.main([*command, "--out", str(tmp_path / "scored")]) == 0
        assert app.main(["compare", str(out), str(tmp_path / "scored")]) == 0
        assert "J&F differs in 0" in capsys.readouterr().out


def test_validate_shapes(tmp_path, capsys):
    assert app.main(["validate", "shapes", "--limit", "2", "--workers", "1"]) == 0
    assert "J and F are 100 for 2 of 2 expressions" in capsys.readouterr().out


def test_evaluate_goes_on_where_it_was(loads, tmp_path, capsys):
    run = ["evaluate", "shapes", "--out", str(tmp_path / "scores"), "--limit"]
    assert app.main([*run, "2"]) == 0
    before = (tmp_path / "scores" / "results.jsonl").read_text()
    assert app.main([*run, "3"]) == 0
    after = (tmp_path / "scores" / "results.jsonl").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == 3
    capsys.readouterr()
    assert app.main([*run, "3", "--temperature", "1"]) == 2
    assert "other settings" in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--split", "test"], "'test'"),
        (["--chain", "daisy"], "'daisy'"),
        (["--out", __file__], "is a file"),
        (["--out", f"{__file__}/below"], "is a file"),
    ],
)
def test_evaluate_refuses_before_it_loads_a_policy(loads, tmp_path, capsys, arguments, named):
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "scores")]
    assert app.main(["evaluate", "shapes", *out, *arguments]) == 2
    assert named in one_line(capsys)
    assert loads == []
    assert names(tmp_path) == []


@pytest.mark.parametrize(("method", "loader"), [("sft", "load_recipe"), ("grpo", "load_grpo_recipe")])
def test_train_passes_recipe_and_folder_on(monkeypatch, tmp_path, capsys, method, loader):
    calls = []
    monkeypatch.setattr(f"thinkseg.training.{method}.recipe.{loader}", lambda path, changes: f"{path} with {changes}")
    monkeypatch.setattr(
        f"thinkseg.training.{method}.train.train", lambda recipe, out: calls.append((recipe, out)) or out / "model"
    )
    out = tmp_path / "run"
    assert app.main(["train", method, "--config", "mine.yaml", "--out", str(out), "--set", "a.b=1"]) == 0
    assert calls == [("mine.yaml with {'a': {'b': 1}}", out)]
    assert capsys.readouterr().out == f"the model is in {out / 'model'}\n"


@pytest.mark.parametrize("words", [["train", "grpo", "--config"], ["ablate"]])
def test_training_without_its_file(tmp_path, capsys, words):
    assert app.main([*words, str(tmp_path / "nowhere.yaml"), "--out", str(tmp_path / "run")]) == 2
    assert "nowhere.yaml: cannot be read" in one_line(capsys)
    assert names(tmp_path) == []


def test_train_sft_without_a_recipe(tmp_path, capsys):
    assert app.main(["train", "sft", "--config", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "run")]) == 2
    assert "none.yaml" in one_line(capsys)
    assert names(tmp_path) == []
