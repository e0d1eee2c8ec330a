"""The content of scores.json and its text."""

import pytest

from thinkseg.data import open_benchmark
from thinkseg.evaluation.aggregation import Estimate
from thinkseg.evaluation.scores import MAX_COLUMNS, aggregate, format_scores, metrics_table


def row(category, score, **others):
    """An answer about a video of its own."""
    known = {"video": object(), "category": category, "has_target": True, "failure": None, "is_empty": False}
    known |= dict.fromkeys(("j", "f", "r_k", "r_s"), score) | {"intersection": 1, "union": 2, "replies": []}
    return known | others


FAILED = {"failure": "invalid_tags"}
WITHOUT_TARGET = {"has_target": False, "r_k": None, "r_s": None}


@pytest.fixture
def shapes():
    return open_benchmark("shapes", limit=5)


def values(scores, group):
    return {name: one["value"] for name, one in scores["metrics"][group].items()}


def test_aggregate_shapes_reports_each_category(shapes):
    rows = [
        row("cause", 0.75),
        row("cause", 0.0, **FAILED),
        row("cause", 0.25, is_empty=True),
        row("none", 1.0, is_empty=True, **WITHOUT_TARGET),
        row("none", 0.0, **WITHOUT_TARGET),
    ]
    scores = aggregate(shapes, rows)
    assert (scores["expressions"], scores["videos"], scores["skipped"], scores["failures"]) == (
        5,
        5,
        0,
        {"invalid_tags": 1},
    )
    expected = {"J": 100 / 3, "F": 100 / 3, "J&F": 100 / 3, "R_k": 100 / 3, "R_s": 100 / 3}
    expected |= {"gIoU": 100 / 3, "cIoU": 50, "T-acc": 100 / 3, "parse rate": 200 / 3}
    assert values(scores, "cause") == pytest.approx(expected)
    assert values(scores, "none") == {"N-acc": 50, "parse rate": 100}
    assert values(scores, "overall")["N-acc"] == 50


def test_aggregate_row_without_reward_is_skipped_in_its_mean(shapes):
    scores = aggregate(shapes, [row("cause", 0.5), row("cause", 0.25, r_k=None)])
    assert values(scores, "cause")["R_k"] == 50


def test_aggregate_n_acc_and_t_acc_count_failures_as_wrong(shapes):
    rows = [row("none", 0.0, **WITHOUT_TARGET, failure="invalid_tags", is_empty=True), row("cause", 0.0, **FAILED)]
    found = values(aggregate(shapes, rows), "overall")
    assert (found["N-acc"], found["T-acc"]) == (0, 0)


def test_aggregate_masks_of_files_have_no_parse_rate(shapes):
    one = row("cause", 0.5)
    del one["replies"]
    assert "parse rate" not in values(aggregate(shapes, [one]), "cause")


def test_describe_names_failures_and_protocol(shapes):
    text = format_scores(aggregate(shapes, [row("cause", 0.75), row("cause", 0.0, **FAILED)]))
    assert text.startswith("shapes, val: 2 expressions, 2 videos\n")
    assert "protocol: mean over all expressions with a target" in text
    assert (
        "expressions  without masks, score 0\n          1  the reply is not <think>...</think><answer>...</answer>"
        in text
    )
    assert text.endswith("skipped because of issues of the data set: 3")


def test_table_splits_wide_groups_and_drops_rows_without_values():
    metrics = {f"m{number}": Estimate(float(number)) for number in range(MAX_COLUMNS + 1)}
    first, second = metrics_table({"a": metrics, "b": {"m0": Estimate(1.0)}}).split("\n\n")
    assert [line.split() for line in second.splitlines()] == [[f"m{MAX_COLUMNS}"], ["a", f"{MAX_COLUMNS}.0"]]
    assert len(first.splitlines()) == 3
