"""Means over expressions, by hand and against VISA's way of going about it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.protocols import means
from thinkseg.protocols.means import Mark

FRACTION = st.floats(0, 1)
MARKS = st.lists(
    st.builds(
        Mark,
        category=st.sampled_from(["referring", "reasoning", "no-target"]),
        target=st.booleans(),
        j=FRACTION,
        f=FRACTION,
        r=FRACTION,
    ),
    max_size=30,
)


@given(MARKS)
def test_revos_figures_are_those_of_rounded_rows(marks):
    """A table of rounded percentages, subset means by NumPy, overall halfway between them."""
    table = [(m.category, round(100 * m.j, 2), round(100 * m.f, 2), round(100 * m.r, 2)) for m in marks]
    figures = means.revos(marks).figures
    columns = {}
    for subset in ("referring", "reasoning", "no-target"):
        rows = [row[1:] for row in table if row[0] == subset]
        if not rows:
            assert figures[f"{subset}/J"] is None
            assert figures[f"{subset}/J&F"] is None
            continue
        j, f, r = (np.array(column).mean() for column in zip(*rows, strict=True))
        columns[subset] = {"J": j, "F": f, "R": r, "J&F": (j + f) / 2}
        for name, value in columns[subset].items():
            assert figures[f"{subset}/{name}"] == value
    for name in ("J", "F", "J&F", "R"):
        if {"referring", "reasoning"} <= set(columns):
            assert figures[f"overall/{name}"] == (columns["referring"][name] + columns["reasoning"][name]) / 2
        else:
            assert figures[f"overall/{name}"] is None


def test_revos_by_hand():
    marks = [
        Mark("referring", True, 0.123456, 0.5),
        Mark("referring", True, None, None),
        Mark("reasoning", True, 0.8, 1.0),
        Mark("reasoning", True, 0.8, 1.0),
        Mark("reasoning", True, 0.8, 1.0),
        Mark("no-target", False, 0.0, 0.0, empty=True),
    ]
    report = means.revos(marks)
    assert "VISA" in report.protocol
    assert report.figures["referring/J"] == 12.35 / 2
    assert report.figures["referring/F"] == 25
    assert report.figures["overall/J"] == (12.35 / 2 + 80) / 2  # three reasoning expressions weigh no more than two
    assert report.figures["no-target/J"] == 0
    assert (report.figures["N-acc"], report.figures["T-acc"]) == (100, 80)
    assert "referring/R" not in report.figures
    assert report.figures["overall/R"] is None


def test_reasonvos_leaves_out_what_has_no_predictions():
    marks = [Mark("phrase", True, 0.5, 0.7), Mark("sentence", True, None, None), Mark("phrase", True, 0.0, 0.1)]
    assert means.reasonvos(marks).figures == pytest.approx({"J": 25, "F": 40, "J&F": 32.5})


@pytest.mark.parametrize("protocol", [means.mevis, means.refdavis_b])
def test_elsewhere_missing_predictions_count_0(protocol):
    marks = [Mark("", True, 0.5, 0.7), Mark("", True, None, None)]
    assert protocol(marks).figures == pytest.approx({"J": 25, "F": 35, "J&F": 30})
    assert set(protocol([]).figures.values()) == {None}


def test_mevis_v2_by_hand():
    marks = [
        Mark("", True, 0.6, 0.8),
        Mark("", True, 0.0, 0.2, empty=True),
        Mark("", False, 0.0, 0.0),
        Mark("", False, 1.0, 1.0, empty=True),
        Mark("", False, 1.0, 1.0, empty=True),
        Mark("", False, None, None),
    ]
    figures = means.mevis_v2(marks).figures
    assert figures == pytest.approx({"J": 30, "F": 50, "J&F": 40, "N-acc": 50, "T-acc": 50, "final": 140 / 3})
    assert means.mevis_v2(marks[:2]).figures["final"] is None


def test_no_target_needs_both_kinds_for_both_figures():
    assert means.no_target([Mark("", True, 0.0, 0.0)]).figures == {"T-acc": 100, "N-acc": None}
    assert means.no_target([Mark("", True, None, None)]).figures == {"T-acc": 0, "N-acc": None}


def test_ref_youtube_vos_has_no_figures_of_its_own():
    report = means.refytvos()
    assert report.figures == {}
    assert "server" in report.protocol
