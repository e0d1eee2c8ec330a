"""The columns of a table."""

from pathlib import Path

import pytest

import layouts
from thinkseg.data import open_benchmark
from thinkseg.evaluation.aggregation import Estimate
from thinkseg.evaluation.protocols import metric_names
from thinkseg.training.ablation.recipe import Ablation, ScoredData, Variant
from thinkseg.training.ablation.table import Result, format_table, headlines

ROWS = (Variant(name="a", title="first"), Variant(name="b", title="second", paper=(61.6, 54.9)))


def table_of(name: str, **fields: object) -> Ablation:
    data = ScoredData(name=name, root="x")
    return Ablation.model_validate({"title": "T", "columns": ("r", "s"), "rows": ROWS, "data": data, **fields})


@pytest.mark.parametrize("name", layouts.SPLITS)
def test_headlines_are_metrics_of_the_benchmark(tmp_path: Path, name: str) -> None:
    getattr(layouts, name)(tmp_path)
    assert set(headlines(table_of(name))) <= set(metric_names(open_benchmark(name, tmp_path, layouts.SPLITS[name])))


def test_format_table_has_paper_beside_measured_and_gain_above_first_row() -> None:
    scores = {"referring/J&F": Estimate(50.0, 40.0, 60.0), "overall/J&F": Estimate(45.25), "overall/R_k": Estimate(9.0)}
    results = [Result(row, scores, Estimate(1.5, 0.5, 2.5)) for row in ROWS]
    header, first, second = format_table(table_of("revos"), results).splitlines()
    measured = "referring J&F reasoning J&F J&F R_k R_s parse rate N-acc J&F above the first row, points [95 %]"
    assert " ".join(header.split()) == f"r (paper) s (paper) {measured}"
    assert first.split() == ["first", "-", "-", "50.0", "-", "45.2", "9.0", "-", "-", "-", "-"]
    assert second.split() == [
        "second",
        "61.6",
        "54.9",
        "50.0",
        "-",
        "45.2",
        "9.0",
        "-",
        "-",
        "-",
        "1.5",
        "[0.5,",
        "2.5]",
    ]


def test_format_table_metrics_of_the_file_come_first() -> None:
    table = table_of("revos", metrics=("overall/R_k", "overall/gIoU"))
    header = format_table(table, [Result(ROWS[0], {}, Estimate(None))]).splitlines()[0]
    measured = "R_k gIoU R_s parse rate N-acc gIoU above the first row, points [95 %]"
    assert " ".join(header.split()) == f"r (paper) s (paper) {measured}"
