"""Errors that would end a later run are raised before the first one."""

from pathlib import Path
from typing import Any

import pytest

import layouts
from ablations import SFT, one_run, three_rows, written
from thinkseg.data import open_benchmark
from thinkseg.errors import ThinkSegError
from thinkseg.selection.files import write_selection
from thinkseg.training.ablation import run
from thinkseg.training.ablation.run import ablate

ONE = [{"name": "a", "title": "a"}]


@pytest.fixture(autouse=True)
def never_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_trained", "_scored"):
        monkeypatch.setattr(run, name, None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    layouts.revos(tmp_path / "revos")
    return tmp_path / "revos"


def raises(message: str, path: Path, out: Path) -> None:
    with pytest.raises(ThinkSegError, match=message) as caught:
        ablate(path, out)
    assert "\n" not in str(caught.value)
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tracker": "sam2"}, "unknown tracker 'sam2'"),
        ({"init_policy": "shape"}, "unknown policy 'shape'"),
        ({"metrics": ["overall/R_k", "overal/J&F"]}, r"shapes has no metric 'overal/J&F'; .* such as overall/J&F"),
        ({"data": {"name": "revos", "root": "nowhere"}}, "nowhere"),
        ({"data": {"name": "shapes", "split": "valid"}}, "unknown split 'valid'; must be one of val, train"),
    ],
)
def test_ablate_invalid_names_raise(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    raises(message, written(tmp_path, ONE, **changes), tmp_path / "out")


def test_ablate_split_without_expressions_raises(root: Path, tmp_path: Path) -> None:
    data = {"name": "revos", "root": str(root), "split": "train"}
    raises("ReVOS, train: no expressions", written(tmp_path, ONE, data=data), tmp_path / "out")


def test_ablate_hidden_truth_raises(tmp_path: Path) -> None:
    layouts.mevis(tmp_path / "mevis")
    data = {"name": "mevis", "root": str(tmp_path / "mevis"), "split": "valid"}
    raises("data: mevis valid has no ground truth", written(tmp_path, ONE, data=data), tmp_path / "out")


def test_ablate_unknown_times_raise(root: Path, tmp_path: Path) -> None:
    data = {"name": "revos", "root": str(root)}
    raises("its frames have no times", written(tmp_path, ONE, data=data), tmp_path / "out")


@pytest.mark.parametrize("kind", ["data", "prompts"])
def test_ablate_selection_of_other_split_raises(root: Path, tmp_path: Path, kind: str) -> None:
    benchmark = open_benchmark("revos", root)
    write_selection(benchmark, [benchmark.expressions[0].key], {}, tmp_path / "select.json")
    data = {"name": "revos", "root": str(root), "split": "train", "select": str(tmp_path / "select.json"), "fps": 6.0}
    changes = (
        {"data": data} if kind == "data" else one_run(method="grpo", recipe="grpo.yaml", overrides={"data": [data]})
    )
    raises(
        "select.json: selects from 'revos', split 'valid', not from revos, split 'train'",
        written(tmp_path, **{"rows": ONE, **changes}),
        tmp_path / "out",
    )


def test_ablate_missing_cot_set_of_last_row_raises(tmp_path: Path) -> None:
    stage = SFT["stages"][0] | {"data": {"cot_answers": 1.0}}
    overrides = {"model": {"create": None}, "stages": [stage], "cot_set": str(tmp_path / "cot")}
    last = {"name": "last", "title": "last", "runs": [{"method": "sft", "recipe": "sft.yaml", "overrides": overrides}]}
    raises(
        "cot: no such folder; make a set with thinkseg annotate",
        written(tmp_path, [*three_rows("shapes"), last]),
        tmp_path / "out",
    )


def test_ablate_sources_without_truth_raise(root: Path, tmp_path: Path) -> None:
    empty = [{"name": "revos", "root": str(root), "split": "train", "fps": 6.0}]
    rows = one_run(method="grpo", recipe="grpo.yaml", overrides={"data": empty})
    raises("revos train: no expression has ground truth", written(tmp_path, **rows), tmp_path / "out")
