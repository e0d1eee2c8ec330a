"""Results are resumed for the data, models and prompts that they were made with, and for no others."""

import json
import os
import shutil

import numpy as np
import pytest

import layouts
from thinkseg.data import open_benchmark
from thinkseg.errors import SettingsError
from thinkseg.evaluation.comparison import compare
from thinkseg.evaluation.evaluate import Method, evaluate
from thinkseg.evaluation.offline import score
from thinkseg.evaluation.predictions import open_predictions
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.prompts import Prompts, VeasonPrompts
from thinkseg.types import View

VIEW = View(num_frames=3, frame_wh=(10, 8))
NONE = '<think>none</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'
LEFT = '<think>there</think><answer>{"keyframe_timestamp": 0, "bbox_2d_list": [[0, 0, 4, 4]]}</answer>'

MAKERS = {
    "revos": layouts.revos,
    "mevis": layouts.mevis,
    "reasonvos": layouts.reasonvos,
    "vicas": layouts.vicas,
    "refytvos": layouts.refytvos,
    "refdavis": layouts.refdavis,
    "lvvis": layouts.lvvis,
    "folder": layouts.folder,
}
SPLITS = {"refytvos": "train"}


@pytest.fixture
def run(tmp_path, box_tracker):
    """Evaluates a data set; the default policy fails when it is prompted."""

    def run(name, root="root", out="out", replies=(), **attributes):
        benchmark = open_benchmark(name, tmp_path / root, SPLITS.get(name))
        policy = ScriptedPolicy(replies, view=VIEW)
        for key, value in attributes.items():
            setattr(policy, key, value)
        return evaluate(benchmark, Method("veason", policy, box_tracker), tmp_path / out)

    return run


def files_of(root, suffixes):
    return sorted(path for path in root.rglob("*") if path.suffix in suffixes)


def set_in(value, key, new):
    """Replaces the value of a key, wherever it is; returns whether there is one."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in list(items):
        if name == key:
            value[name] = new
            return True
        if set_in(one, key, new):
            return True
    return False


def edit_json(path, key, new):
    text = path.read_text()
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in text.splitlines() if line]
        found = set_in(rows, key, new)
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        value = json.loads(text)
        found = set_in(value, key, new)
        path.write_text(json.dumps(value))
    return found


def edit_query(root):
    changed = [
        edit_json(path, key, "another one")
        for path in files_of(root, (".json", ".jsonl"))
        for key in ("exp", "exp_text", "prompt", "query", "name")
    ]
    assert any(changed)


def edit_frame(root):
    for folder in {path.parent for path in files_of(root, (".jpg",))}:
        first, *_, last = sorted(folder.glob("*.jpg"))
        shutil.copy(last, first)


def edit_mask(root):
    pictures = files_of(root, (".png",))
    if not pictures:
        counts = layouts.rle(~layouts.LEFT)["counts"]
        changed = [edit_json(path, "counts", counts) for path in files_of(root, (".json",))]
        assert any(changed)
        return
    image = np.zeros((4, 5), np.uint8)
    image[0, 0] = 1
    layouts.write_mask(pictures[0], image)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(
    ("edit", "part"),
    [(edit_query, "query"), (edit_frame, "frames"), (edit_mask, "masks")],
    ids=["query", "frame", "mask"],
)
def test_evaluate_edited_data_raises(run, tmp_path, name, edit, part):
    MAKERS[name](tmp_path / "root")
    run(name, replies=[NONE] * 8)
    edit(tmp_path / "root")
    with pytest.raises(SettingsError, match=rf"data set is another one, or was changed since \(.*{part}.* of .+/"):
        run(name)


@pytest.mark.parametrize("name", MAKERS)
def test_evaluate_copied_data_resumes(run, tmp_path, name):
    MAKERS[name](tmp_path / "root")
    scores = run(name, replies=[NONE] * 8)
    shutil.copytree(tmp_path / "root", tmp_path / "copy")
    shutil.rmtree(tmp_path / "root")
    for path in files_of(tmp_path / "copy", (".json", ".jsonl", ".png", ".jpg")):
        os.utime(path, (1, 1))
    assert run(name, "copy") == scores


def test_evaluate_frame_edited_after_reading_holds_once_restored(tmp_path, run, box_tracker):
    """The fingerprint of a row is that of the data that it was computed from."""
    layouts.mevis(tmp_path / "root")
    frames = {path: path.read_bytes() for path in files_of(tmp_path / "root", (".jpg",))}

    def reply(dialogue):
        edit_frame(tmp_path / "root")
        return NONE

    policy = ScriptedPolicy(reply, view=VIEW)
    evaluate(open_benchmark("mevis", tmp_path / "root"), Method("veason", policy, box_tracker), tmp_path / "out")
    for path, data in frames.items():
        path.write_bytes(data)
    run("mevis")


def test_evaluate_edited_rles_of_queries_raises(run, tmp_path):
    layouts.folder(tmp_path / "root")
    run("folder", replies=[NONE] * 8)
    assert edit_json(tmp_path / "root" / "queries.jsonl", "counts", layouts.rle(layouts.LOW)["counts"])
    with pytest.raises(SettingsError, match=r"\(masks of clips/yard/bird\)"):
        run("folder")


def test_evaluate_added_query_is_answered(run, tmp_path):
    layouts.folder(tmp_path / "root")
    scores = run("folder", replies=[NONE] * 5)
    with (tmp_path / "root" / "queries.jsonl").open("a") as file:
        file.write(json.dumps({"video": "clips/yard", "query": "the horse"}) + "\n")
    assert run("folder", replies=[NONE])["expressions"] == scores["expressions"] + 1


def test_evaluate_row_of_removed_query_is_ignored(run, tmp_path):
    layouts.folder(tmp_path / "root")
    run("folder", replies=[NONE] * 5)
    path = tmp_path / "root" / "queries.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    assert run("folder")["expressions"] == 3


WEIGHTS = {"config.json": "1", "model.safetensors": "2"}


def test_evaluate_other_policy_weights_raises(run, tmp_path):
    layouts.folder(tmp_path / "root")
    run("folder", replies=[NONE] * 5, fingerprint=WEIGHTS)
    run("folder", fingerprint=WEIGHTS)
    with pytest.raises(SettingsError, match=r"policy 'scripted' changed since its first run \(model.safetensors\)"):
        run("folder", fingerprint={**WEIGHTS, "model.safetensors": "3"})


def test_evaluate_other_tracker_weights_raises(run, tmp_path, box_tracker, monkeypatch):
    layouts.folder(tmp_path / "root")
    run("folder", replies=[NONE] * 5)
    monkeypatch.setattr(box_tracker, "fingerprint", WEIGHTS, raising=False)
    with pytest.raises(SettingsError, match=r"tracker 'boxes' changed since its first run \(config.json, model"):
        run("folder")


def test_evaluate_other_prompt_raises(run, tmp_path, monkeypatch):
    layouts.folder(tmp_path / "root")
    run("folder", replies=[NONE] * 5)
    monkeypatch.setattr("thinkseg.types.BUILT_IN", Prompts(VeasonPrompts(prompt="{frames}{query}")))
    with pytest.raises(SettingsError, match=r"the prompts changed since its first run \(veason\)"):
        run("folder")


def test_evaluate_folder_of_earlier_version_gets_fingerprints(run, tmp_path, capsys):
    layouts.folder(tmp_path / "root")
    scores = run("folder", replies=[NONE] * 5)
    with layouts.editing(tmp_path / "out" / "settings.json") as settings:
        expected = settings.pop("fingerprints")
    path = tmp_path / "out" / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "fingerprint"}) + "\n" for row in rows))
    assert run("folder") == scores
    assert "did not record the models, prompts and data" in capsys.readouterr().err
    assert run("folder") == scores
    assert "did not record" not in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["fingerprints"] == expected
    edit_query(tmp_path / "root")
    with pytest.raises(SettingsError, match="query of"):
        run("folder")


@pytest.mark.parametrize("stored", [[], {"policy": 3}, "x"])
def test_evaluate_damaged_fingerprints_raises(run, tmp_path, stored):
    layouts.folder(tmp_path / "root")
    run("folder", replies=[NONE] * 5, fingerprint=WEIGHTS)
    with layouts.editing(tmp_path / "out" / "settings.json") as settings:
        settings["fingerprints"] = stored
    with pytest.raises(SettingsError, match="changed since"):
        run("folder", fingerprint=WEIGHTS)


def test_evaluate_failure_leaves_no_masks_of_lost_row(run, tmp_path):
    layouts.folder(tmp_path / "root")
    run("folder", replies=[LEFT] * 5)
    path = tmp_path / "out" / "results.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    run("folder", replies=["junk"])
    names = {file.stem for file in (tmp_path / "out" / "masks").rglob("*.json")}
    assert names == {"1", "2", "bird", "4"}


def test_evaluate_results_cut_anywhere_are_those_of_fresh_run(run, tmp_path):
    layouts.folder(tmp_path / "root")
    scores = run("folder", replies=[LEFT] * 5)
    complete = (tmp_path / "out" / "results.jsonl").read_bytes()
    ends = [i for i, byte in enumerate(complete) if byte == ord("\n")]
    for size in {0, 1, *(end + step for end in ends for step in (0, 1)), len(complete) // 2}:
        (tmp_path / "out" / "results.jsonl").write_bytes(complete[:size])
        assert run("folder", replies=[LEFT] * 5) == scores


def test_compare_other_data_raises(run, tmp_path):
    layouts.folder(tmp_path / "root")
    layouts.folder(tmp_path / "other")
    edit_mask(tmp_path / "other")
    run("folder", replies=[NONE] * 5)
    run("folder", "other", "second", replies=[NONE] * 5)
    compare(tmp_path / "out", tmp_path / "out")
    with pytest.raises(SettingsError, match=r"masks of clips/yard/\d differs; compare runs on the same data"):
        compare(tmp_path / "out", tmp_path / "second")


def test_score_rows_have_fingerprints_of_evaluate(run, tmp_path):
    layouts.folder(tmp_path / "root")
    run("folder", replies=[NONE] * 5)
    rows = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    scored = score(open_benchmark("folder", tmp_path / "root"), open_predictions(tmp_path / "out", "folder"))
    assert [row["fingerprint"] for row in scored] == [row["fingerprint"] for row in rows]
