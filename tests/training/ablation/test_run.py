"""Trains, scores and tabulates with models of a few layers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import layouts
from ablations import bundled, three_rows, written
from thinkseg.data.shapes import CATEGORIES
from thinkseg.errors import SettingsError
from thinkseg.storage.locks import LOCK, locked
from thinkseg.storage.run_folder import read_settings
from thinkseg.training.ablation import run
from thinkseg.training.ablation.recipe import load_ablation
from thinkseg.training.ablation.run import ablate
from thinkseg.training.ablation.table import gain
from thinkseg.training.grpo import train as grpo
from thinkseg.training.grpo.recipe import load_grpo_recipe
from thinkseg.training.sft import train as sft
from tinymodels import save_qwen2_5, tiny_tokenizer

FRAME_WH = [56, 56]

ONE_CATEGORY = {"name": "shapes", "limit": 2, "category_weights": dict.fromkeys(CATEGORIES, 0) | {"referring": 1}}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_qwen2_5(tmp_path_factory.mktemp("models") / "tiny", tiny_tokenizer()))


def test_ablate_trains_scores_and_tabulates(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[str, Any]] = []
    for module in (sft, grpo):

        def remembered(recipe: Any, out: Path, train: Any = module.train) -> Path:
            trained.append((out.name.partition("-")[0], recipe))
            return train(recipe, out)

        monkeypatch.setattr(module, "train", remembered)
    path = written(tmp_path, three_rows(tiny), data=ONE_CATEGORY)
    text = ablate(path, tmp_path / "out")
    lines = text.splitlines()
    assert lines[0] == "T"
    columns = ["x", "(paper)", *["J&F", "R_k", "R_s", "parse", "rate", "N-acc"]]
    assert lines[1].split() == [*columns, *["J&F", "above", "the", "first", "row,", "points", "[95", "%]"]]
    assert [line.split()[0] for line in lines[2:]] == ["before", "tuned", "tuned"]
    assert [("38.3" in line, "61.0" in line) for line in lines[2:]] == [(False, False), (True, False), (False, True)]
    # The common beginning is one run, and each run starts from the model of the one before.
    assert [method for method, _ in trained] == ["sft", "sft", "grpo"]
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2
    assert trained[0][1] == trained[1][1]
    assert trained[0][1].model.name == tiny
    assert Path(trained[2][1].model.name).parent.name.startswith("sft-")
    assert trained[2][1].rewards == {"format": 1, "keyframe": 0}
    values = json.loads((tmp_path / "out" / "table.json").read_text())
    assert values["both"]["paper"] == [61]
    assert 0 <= values["before"]["metrics"]["overall/J&F"]["value"] <= 100
    categories = [json.loads(line)["category"] for line in (tmp_path / "out/rows/both/results.jsonl").open()]
    assert categories == ["referring", "referring"]
    # Tiny models know nothing, and one is sure to know no less than itself.
    assert values["before"]["gain"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert lines[2].split()[-1] == "-"
    assert lines[4].split()[-3:] == ["0.0", "[0.0,", "0.0]"]
    assert (tmp_path / "out" / "table.txt").read_text() == text + "\n"
    # A rerun changes nothing, another table shares the runs, and a folder has the rows of one setting.
    again = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.jsonl")}
    assert ablate(path, tmp_path / "out") == text
    assert ablate(path, tmp_path / "other", tmp_path / "out" / "runs") == text
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.jsonl")} == again
    assert not (tmp_path / "other" / "runs").exists()
    with pytest.raises(SettingsError, match="category_weights"):  # other samples under the same ids
        ablate(path, tmp_path / "out", overrides=[{"data": {"category_weights": None}}])


def test_gain_is_last_headline_above_first_row(tiny: str, tmp_path: Path) -> None:
    path = written(tmp_path, three_rows(tiny)[:1], data=ONE_CATEGORY)
    ablate(path, tmp_path / "out")
    before, better = (tmp_path / "out" / "rows" / "before", tmp_path / "better")
    shutil.copytree(before, better)
    answered = [json.loads(line) | {"j": 1.0, "f": 1.0} for line in (before / "results.jsonl").open()]
    (better / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answered))
    table = load_ablation(path)
    assert [gain(table, *pair).value for pair in ((before, better), (better, before))] == [100.0, -100.0]


def test_ablate_row_has_chain_and_number_of_frames_of_its_own(tiny: str, tmp_path: Path) -> None:
    one = {"name": "one", "title": "one turn", "init_policy": tiny}
    path = written(tmp_path, [one, one | {"name": "two", "chain": "revseg", "num_frames": 1}], num_frames=2)
    ablate(path, tmp_path / "out")
    settings = [read_settings(tmp_path / "out" / "rows" / name) for name in ("one", "two")]
    assert [(one["chain"], one["view"]["num_frames"]) for one in settings] == [("veason", 2), ("revseg", 1)]


def test_ablate_folder_in_use_raises(tmp_path: Path) -> None:
    path, out = written(tmp_path, three_rows("shapes")), tmp_path / "out"
    out.mkdir()
    with locked(out / LOCK, out), pytest.raises(SettingsError, match="out is in use by another run"):
        ablate(path, out)


def test_paper_table_5_runs_on_revos_layout(tiny: str, tmp_path: Path) -> None:
    layouts.revos(tmp_path)
    shutil.copy(tmp_path / "meta_expressions_valid_.json", tmp_path / "meta_expressions_train_.json")
    layouts.cot_set(tmp_path / "cot", FRAME_WH)
    text = ablate(bundled("veason-training"), tmp_path / "out", overrides=[shrunk(tiny, tmp_path)])
    titles = ["Qwen2.5-VL", "SFT", "CoT-SFT", "GRPO", "SFT", "CoT-SFT"]
    assert [line.split()[0] for line in text.splitlines()[2:]] == titles
    assert "referring (paper)  reasoning (paper)  referring J&F  reasoning J&F" in text
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 5
    assert len((tmp_path / "out/rows/cot-sft-grpo/results.jsonl").read_text().splitlines()) == 4


def shrunk(start: str, root: Path) -> dict[str, Any]:
    """Overrides of a table of Veason-R1: one step per run, and a model to match."""
    view = {"num_frames": 2, "frame_wh": FRAME_WH}
    small = {**view, "precision": "fp32"}
    step: dict[str, Any] = {"steps": 1, "gradient_checkpointing": False}
    stage = {**step, "epochs": None, "gradient_accumulation_steps": 1, "dataloader_num_workers": 0}
    rollouts = {"prompts_per_step": 1, "num_generations": 2, "max_new_tokens": 4, "log_rollouts_steps": 0}
    source = {"data": {"revos": {"root": str(root)}}, "tracker": "flow"}
    return {
        **view,
        "init_policy": start,
        "tracker": "flow",
        "max_new_tokens": 4,
        "data": {"root": str(root)},
        "overrides": {
            "sft": {**small, "cot_set": str(root / "cot"), "stages": {"sft": stage}},
            "grpo": {**small, **step, **rollouts, **source},
        },
    }


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("revos", "x (paper) referring J&F reasoning J&F J&F R_k"),
        ("refdavis", "x (paper) A J&F R_k"),
    ],
)
def test_ablate_on_benchmark_has_its_own_metrics(tiny: str, tmp_path: Path, name: str, columns: str) -> None:
    getattr(layouts, name)(tmp_path / "data")
    data = {"name": name, "root": str(tmp_path / "data"), "fps": 6.0}
    path = written(tmp_path, three_rows(tiny)[:1], data=data, num_frames=2)
    assert " ".join(ablate(path, tmp_path / "out").splitlines()[1].split()).startswith(columns)


def test_report_to_does_not_change_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def train(recipe: Any, out: Path) -> Path:
        folders.append(out)
        return out

    monkeypatch.setattr(grpo, "train", train)
    path = written(tmp_path, three_rows("shapes"))
    for changes in ({}, {"report_to": ["tensorboard"]}, {"steps": 2}):
        run._trained(load_grpo_recipe(path.parent / "grpo.yaml", changes), "grpo", tmp_path)
    assert folders[0] == folders[1] != folders[2]
