"""Which figures benchmarks report: by hand, and against VISA's way of going about it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkseg.evaluation.aggregation import Bootstrap, compute_metrics
from thinkseg.evaluation.protocols import protocol_of

FRACTION = st.floats(0, 1)
SUBSETS = ("referring", "reasoning", "no-target")


def row(category, j, f=None, has_target=True, is_empty=False, failure=None, **others):
    """A question about a video of its own; without a j its predictions are missing."""
    missing = {"j": 0.0, "f": 0.0, "failure": "missing"} if j is None else {"j": j, "f": f, "failure": failure}
    return {
        "video": object(),
        "category": category,
        "has_target": has_target,
        "is_empty": is_empty,
        **missing,
        **others,
    }


def figures(name, rows, corrected=False):
    """Values by name; those that cannot be measured are left out."""
    found = compute_metrics(rows, protocol_of(name, rows, corrected).metrics)
    return {name: figure.value for name, figure in found.items() if figure.value is not None}


ROWS = st.lists(
    st.builds(
        lambda category, j, f, r: row(category, j, f, robustness_visa255=r, robustness_area=r / 2),
        st.sampled_from(SUBSETS),
        FRACTION,
        FRACTION,
        FRACTION,
    ),
    max_size=30,
)


@settings(max_examples=25)
@given(ROWS)
def test_revos_metrics_match_rounded_rows(rows):
    """A table of rounded percentages, subset means by NumPy, overall halfway between them: to the last bit."""
    keys = {"J": "j", "F": "f", "robustness_visa255": "robustness_visa255", "robustness_area": "robustness_area"}
    expected = {}
    for subset in SUBSETS[:2]:
        of_subset = [row for row in rows if row["category"] == subset]
        if of_subset:
            columns = {head: np.array([round(100 * row[key], 2) for row in of_subset]) for head, key in keys.items()}
            means = {head: column.mean() for head, column in columns.items()}
            expected |= {f"{subset}/{head}": value for head, value in means.items()}
            expected[f"{subset}/J&F"] = (means["J"] + means["F"]) / 2
    for head in (*keys, "J&F"):
        halves = [expected.get(f"{subset}/{head}") for subset in SUBSETS[:2]]
        if None not in halves and head != "J&F":
            expected[f"overall/{head}"] = sum(halves) / 2
    if "overall/J" in expected:
        expected["overall/J&F"] = (expected["overall/J"] + expected["overall/F"]) / 2
    found = {name: value for name, value in figures("revos", rows).items() if not name.endswith("-acc")}
    assert found == expected


def test_revos_by_hand():
    rows = [
        row("referring", 0.123456, 0.5),
        row("referring", None),
        row("reasoning", 0.8, 1.0),
        row("reasoning", 0.8, 1.0),
        row("reasoning", 0.8, 1.0),
        row("no-target", 0.0, 0.0, has_target=False, is_empty=True),
    ]
    found = figures("revos", rows)
    assert found["referring/J"] == 12.35 / 2
    assert found["referring/F"] == 25
    assert found["overall/J"] == (12.35 / 2 + 80) / 2  # three reasoning expressions weigh no more than two
    assert (found["overall/N-acc"], found["overall/T-acc"], found["no-target/N-acc"]) == (100, 80, 100)
    assert not {"no-target/J", "referring/robustness_area", "overall/robustness_area"} & set(found)
    assert "VISA" in protocol_of("revos", rows).rules


def test_revos_categories_are_those_of_the_list():
    found = figures("revos", [row("referring", 1.0, 1.0, has_target=False, is_empty=True), row("no-target", 0.5, 0.5)])
    assert found["referring/J"] == 100
    assert "no-target/J" not in found
    assert "overall/J" not in found


def test_reasonvos_skips_missing_predictions():
    rows = [row("phrase", 0.5, 0.7), row("sentence", None), row("phrase", 0.0, 0.1), row("phrase", 0.0, 0.0)]
    rows[-1]["failure"] = "unreadable"
    found = figures("reasonvos", rows)
    assert [found[f"overall/{head}"] for head in ("J", "F", "J&F")] == pytest.approx([50 / 3, 80 / 3, 65 / 3])
    assert found["overall/T-acc"] == pytest.approx(200 / 3)
    assert "sentence/J" not in found


def test_protocol_missing_predictions_count_0():
    found = figures("mevis", [row("", 0.5, 0.7), row("", None)])
    assert [found[f"overall/{head}"] for head in ("J", "F", "J&F")] == pytest.approx([25, 35, 30])
    assert figures("mevis", []) == {}


def test_means_match_numpy():
    values = np.random.default_rng(3).random(1000)
    rows = [row("", value, value) for value in values.tolist()]
    assert figures("mevis", rows)["overall/J"] == 100 * np.mean(values)


def test_mevis_v2_by_hand():
    rows = [
        row("", 0.6, 0.8),
        row("", 0.0, 0.2, is_empty=True),
        row("", 0.0, 0.0, has_target=False),
        row("", 1.0, 1.0, has_target=False, is_empty=True),
        row("", 1.0, 1.0, has_target=False, is_empty=True),
        row("", None, has_target=False),
    ]
    found = figures("mevis-v2", rows)
    expected = {"J": 30, "F": 50, "J&F": 40, "N-acc": 50, "T-acc": 50, "final": 140 / 3}
    assert {head: found[f"overall/{head}"] for head in expected} == pytest.approx(expected)
    assert "overall/final" not in figures("mevis-v2", rows[:2])
    assert "overall/final" not in figures("mevis", rows)


def test_giou_and_ciou_by_hand():
    rows = [
        row("", 0.5, 0.5, intersection=1, union=2),
        row("", 0.9, 0.9, intersection=90, union=100),
        row("", 1.0, 1.0, intersection=0, union=0),
        row("", None, intersection=0, union=10),
        row("", None, intersection=0, union=0),
        row("", 1.0, 1.0, has_target=False, intersection=0, union=50),
        row("", 1.0, 1.0),
    ]
    found = figures("mevis", rows)
    # Nothing found where there is nothing is right, but no answer is no right one.
    assert found["overall/gIoU"] == pytest.approx(100 * (0.5 + 0.9 + 1 + 0 + 0) / 5)
    assert found["overall/cIoU"] == pytest.approx(100 * 91 / 112)
    assert "overall/cIoU" not in figures("mevis", rows[2:3])


def objects(run, *scores):
    """Rows of objects, each of a video of its own."""
    return [
        {"video": f"v{number}", "annotation_run": run, "object": 1, "j": j, "f": f}
        for number, (j, f) in enumerate(scores)
    ]


def test_refdavis_pools_objects_and_averages_runs():
    asked = [row("referring", 0.25, 0.75, annotation_run=run) for run in ("anno_0", "anno_1")]
    rows = [*asked, *objects("anno_0", (1.0, 1.0), (0.0, 0.5), (0.5, 0.0)), *objects("anno_1", (0.5, 0.0))]
    found = figures("refdavis", rows)
    expected = {"A, anno_0/J": 50, "A, anno_0/F": 50, "A, anno_0/J&F": 50, "A, anno_1/J&F": 25}
    expected |= {"A/J": 50, "A/F": 25, "A/J&F": 37.5, "B/J": 25, "B/F": 75, "B/J&F": 50}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert {name for name in figures("refdavis", asked) if name.startswith("A")} == set()


def test_vicas_rules_state_quirks():
    rows = [row("referring", 0.5, 0.5, ious=[[1.0]], tracks=1)]
    for corrected in (False, True):
        assert ("quirks" in protocol_of("vicas", rows, corrected).rules) != corrected
        assert figures("vicas", rows, corrected)["LG-VIS/mAP"] == 100


def test_every_metric_covers_every_resample():
    rows = [row(kind, 0.5, 0.5, annotation_run="anno_0", ious=[[1.0]], tracks=1) for kind in SUBSETS]
    draws = Bootstrap(rows)
    for name in ("revos", "reasonvos", "mevis", "mevis-v2", "refdavis", "vicas", "refytvos", "lvvis", "folder"):
        known = {}
        for figure, how in protocol_of(name, rows).metrics.items():
            known[figure] = how(rows, draws, known)
            assert known[figure].shape == (len(draws.weights),), figure
