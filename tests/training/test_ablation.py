import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from thinkseg.data.shapes import CATEGORIES
from thinkseg.errors import SettingsError
from thinkseg.storage.run_folder import read_settings
from thinkseg.training import ablation
from thinkseg.training.ablation import ablate, load_ablation
from thinkseg.training.grpo import train as grpo
from thinkseg.training.sft import train as sft
from tinymodels import save_qwen2_5, tiny_tokenizer

BUNDLED = sorted((Path(__file__).parents[2] / "recipes" / "ablations").glob("*.yaml"))

GRPO: dict[str, Any] = {
    "model": {"name": "nobody"},
    "data": [{"name": "shapes"}],
    "rewards": {"format": 1, "keyframe": 1},
    "steps": 1,
    "num_frames": 2,
    "frame_wh": [56, 56],
    "prompts_per_step": 1,
    "num_generations": 2,
    "max_new_tokens": 4,
    "log_rollouts_steps": 0,
    "precision": "fp32",
}
SFT: dict[str, Any] = {
    "model": {"create": {"vision": {}, "text": {}}},
    "num_frames": 2,
    "frame_wh": [56, 56],
    "precision": "fp32",
    "stages": [
        {
            "name": "a",
            "objective": "causal_lm",
            "steps": 1,
            "batch_size": 1,
            "learning_rate": 0.001,
            "data": {"answers": 1},
        }
    ],
}


def written(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> Path:
    (folder / "grpo.yaml").write_text(yaml.safe_dump(GRPO))
    (folder / "sft.yaml").write_text(yaml.safe_dump(SFT))
    path = folder / "ablation.yaml"
    path.write_text(yaml.safe_dump({"title": "T", "columns": ["x"], "limit": 2, "rows": rows, **settings}))
    return path


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    return str(save_qwen2_5(tmp_path / "tiny", tiny_tokenizer()))


def rows(start: str) -> list[dict[str, Any]]:
    tuned = {"method": "sft", "recipe": "sft.yaml", "overrides": {"model": {"create": None}}}
    weighed = {"method": "grpo", "recipe": "grpo.yaml", "overrides": {"rewards": {"keyframe": 0}}}
    return [
        {"name": "before", "title": "before", "init_policy": start},
        {"name": "tuned", "title": "tuned", "init_policy": start, "runs": [tuned], "paper": [38.3]},
        {"name": "both", "title": "tuned + GRPO", "init_policy": start, "runs": [tuned, weighed], "paper": [61]},
    ]


def test_ablate_trains_scores_and_tabulates(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[str, Any]] = []
    for module in (sft, grpo):

        def remembered(recipe: Any, out: Path, train: Any = module.train) -> Path:
            trained.append((out.name.partition("-")[0], recipe))
            return train(recipe, out)

        monkeypatch.setattr(module, "train", remembered)
    looks = dict.fromkeys(CATEGORIES, 0) | {"referring": 1}
    path = written(tmp_path, rows(tiny), category_weights=looks)
    text = ablate(path, tmp_path / "out")
    lines = text.splitlines()
    assert lines[0] == "T"
    columns = ["x", "(paper)", *["J&F", "R_k", "R_s", "parse", "rate", "N-acc"]]
    assert lines[1].split() == [*columns, *["J&F", "above", "the", "first", "row,", "points", "[95", "%]"]]
    assert [line.split()[0] for line in lines[2:]] == ["before", "tuned", "tuned"]
    assert [("38.3" in line, "61.0" in line) for line in lines[2:]] == [(False, False), (True, False), (False, True)]
    # The common beginning is one run, and each run starts from the model of the one before.
    assert [way for way, _ in trained] == ["sft", "sft", "grpo"]
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2
    assert trained[0][1] == trained[1][1]
    assert trained[0][1].model.name == tiny
    assert Path(trained[2][1].model.name).parent.name.startswith("sft-")
    assert trained[2][1].rewards == {"format": 1, "keyframe": 0}
    values = json.loads((tmp_path / "out" / "table.json").read_text())
    assert values["both"]["paper"] == [61]
    assert 0 <= values["before"]["metrics"]["J&F"]["value"] <= 100
    categories = [json.loads(line)["category"] for line in (tmp_path / "out/rows/both/results.jsonl").open()]
    assert categories == ["referring", "referring"]
    # Tiny models know nothing, and one is sure to know no less than itself.
    assert values["before"]["gain"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert lines[2].split()[-1] == "-"
    assert lines[4].split()[-3:] == ["0.0", "[0.0,", "0.0]"]
    assert (tmp_path / "out" / "table.txt").read_text() == text + "\n"
    before, better = (tmp_path / "out" / "rows" / "before", tmp_path / "better")
    shutil.copytree(before, better)
    answered = [json.loads(line) | {"j": 1.0, "f": 1.0} for line in (before / "results.jsonl").open()]
    (better / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answered))
    assert (ablation._gain(before, better).value, ablation._gain(better, before).value) == (100.0, -100.0)
    again = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "rows").rglob("results.jsonl")}
    assert ablate(path, tmp_path / "out") == text
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "rows").rglob("results.jsonl")} == again
    with pytest.raises(SettingsError, match="category_weights"):  # other samples under the same ids
        ablate(written(tmp_path, rows(tiny)), tmp_path / "out")


def test_ablate_row_has_chain_of_its_own(tiny: str, tmp_path: Path) -> None:
    one = {"name": "one", "title": "one turn", "init_policy": tiny}
    ablate(written(tmp_path, [one, one | {"name": "two", "chain": "revseg"}]), tmp_path / "out")
    chains = {name: read_settings(tmp_path / "out" / "rows" / name)["chain"] for name in ("one", "two")}
    assert chains == {"one": "veason", "two": "revseg"}


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.name)
def test_load_ablation_bundled_files(path: Path) -> None:
    assert f"thinkseg ablate recipes/ablations/{path.name}" in path.read_text()
    # The paper's table of joint training has three rows.
    assert len(load_ablation(path).rows) >= (3 if path.stem == "shapes-joint" else 4)


def test_training_table_rows_end_with_named_method() -> None:
    path = next(path for path in BUNDLED if path.name == "shapes-training.yaml")
    ends = {row.name: row.runs[-1].method for row in load_ablation(path).rows}
    assert {name for name, way in ends.items() if way == "grpo"} == {"grpo", "sft-grpo", "cot-sft-grpo"}


def run(**settings: Any) -> dict[str, Any]:
    """An ablation of one row with one run."""
    return {"rows": [{"name": "a", "title": "a", "runs": [settings]}]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": []}, "rows: must have at least one item"),
        ({"rows": [{"name": "a", "title": "a"}] * 2}, "rows: names must differ; got a, a"),
        ({"rows": [{"name": "../a", "title": "a"}]}, "rows.../a.name: must be one word"),
        ({"chain": "veson"}, "chain: unknown chain 'veson'; must be one of revseg, veason"),
        (
            {"rows": [{"name": "a", "title": "a", "chain": "two"}]},
            "rows.a.chain: unknown chain 'two'",
        ),
        ({"limit": 0}, "limit: must be greater than 0; got 0"),
        ({"category_weights": {"moton": 1}}, "category_weights.moton: must be one of"),
        ({"rows": [{"name": "a", "title": "a", "paper": [1, 2]}]}, "rows.a.paper: must have one value per column"),
        (run(method="dpo", recipe="grpo.yaml"), "rows.a.runs.0.method: must be 'sft' or 'grpo'; got 'dpo'"),
        (run(method="sft", recipe="none.yaml"), "none.yaml: cannot be read"),
        (run(method="grpo", recipe="grpo.yaml", overrides={"b": 1}), "grpo.yaml: b: unknown field"),
        (run(method="grpo", recipe="grpo.yaml", overrides={"prompts": 1}), "prompts: renamed to prompts_per_step"),
        (
            run(method="sft", recipe="sft.yaml", overrides={"stages": {"see": {"steps": 2}}}),
            "sft.yaml: overrides: unknown name 'see': must be one of a",
        ),
    ],
)
def test_ablate_invalid_file_raises_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(ablation, "_trained", None)
    with pytest.raises(SettingsError, match=message):
        ablate(written(tmp_path, **{"rows": rows("shapes"), **changes}), tmp_path / "out")


def shrunk(path: Path, folder: Path, start: str) -> Path:
    """A table that ships, with runs of two steps at most and a model to match."""
    content = yaml.safe_load(path.read_text())
    small: dict[str, Any] = {"frame_wh": [56, 56], "closeup_wh": [56, 56], "precision": "fp32"}
    kinds = {
        "sft": {"stages": [SFT["stages"][0] | {"steps": 2, "data": {"two_turns": 1.0}, "dataloader_num_workers": 0}]},
        "grpo": {"steps": 2, "prompts_per_step": 1, "num_generations": 2, "max_new_tokens": 4, "log_rollouts_steps": 0},
    }
    for row in content["rows"]:
        row["init_policy"] = start
        row["runs"] = [
            {
                "method": run["method"],
                "recipe": str(path.parent / run["recipe"]),
                "overrides": run.get("overrides", {}) | small | kinds[run["method"]],
            }
            for run in row["runs"]
        ]
    file = folder / path.name
    file.write_text(yaml.safe_dump(content | {"limit": 1}))
    return file


def test_ablate_compares_numbers_of_frames(tiny: str, tmp_path: Path) -> None:
    path = next(path for path in BUNDLED if path.name == "shapes-revseg-frames.yaml")
    text = ablate(shrunk(path, tmp_path, tiny), tmp_path / "out")
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["4", "3", "4", "5"]
    recipes = [json.loads(file.read_text()) for file in (tmp_path / "out" / "runs").glob("*/recipe.json")]
    shown = sorted((("steps" in recipe), recipe["num_frames"]) for recipe in recipes)
    # What all begin with, in two trainings, is shown four.
    assert shown == [(False, 4), (False, 4), (True, 3), (True, 4), (True, 5)]


def test_ablate_tables_share_runs(tiny: str, tmp_path: Path) -> None:
    path = written(tmp_path, rows(tiny))
    texts = [ablate(path, tmp_path / name, tmp_path / "runs") for name in ("one", "other")]
    assert texts[0] == texts[1]
    trained = {file: file.stat().st_mtime_ns for file in (tmp_path / "runs").glob("*/log.jsonl")}
    assert len(trained) == 2
    assert not (tmp_path / "one" / "runs").exists()
    ablate(path, tmp_path / "third", tmp_path / "runs")
    assert {file: file.stat().st_mtime_ns for file in trained} == trained


def test_report_to_does_not_change_run(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders: list[Path] = []

    def train(recipe: Any, out: Path) -> Path:
        folders.append(out)
        return out

    monkeypatch.setattr(grpo, "train", train)
    path = written(tmp_path, rows(tiny))
    for changes in ({}, {"report_to": ["tensorboard"]}, {"steps": 2}):
        training = ablation.Training(method="grpo", recipe="grpo.yaml", overrides=changes)
        ablation._trained(training, path, tiny, tmp_path)
    assert folders[0] == folders[1] != folders[2]
