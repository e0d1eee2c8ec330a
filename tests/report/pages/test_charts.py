import pytest

from thinkseg.report.pages.charts import groupings, histogram, histograms


def row(**fields):
    known = {"id": "a/0", "video": "a", "category": "c", "failure": None, "has_target": True, "is_empty": False}
    return {**known, "j": 0.5, "f": 0.5, **fields}


def test_histogram_counts_each_tenth_with_1_in_the_last():
    found = histogram("J", [0.0, 0.05, 0.1, 0.99, 1.0, None])
    assert found.counts == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.mean == pytest.approx(0.428)
    assert histogram("J", [None]) is None


def test_histograms_cover_questions_with_a_target():
    rows = [row(j=1.0, r_k=0.5), row(j=0.0), row(j=1.0, has_target=False)]
    first, second = histograms(rows)
    assert (first.counts[0], first.counts[-1]) == (1, 1)
    assert sum(second.counts) == 1


def test_groupings_by_what_rows_know():
    rows = [
        row(id="a/0", num_targets=1, target_share=0.002, num_scored_frames=10),
        row(id="b/0", num_targets=3, target_share=0.2, num_scored_frames=20, j=1.0),
        row(id="c/0", num_targets=None),
    ]
    found = {one.title: one for one in groupings(rows, {})}
    assert [group.name for group in found["By number of targets"].groups] == ["one", "several"]
    sizes = found["By size of the targets"].groups
    assert [(group.name, group.count) for group in sizes] == [("under 1 % of the frames", 1), ("over 5 %", 1)]
    assert sizes[1].metrics["J"].value == 100
    assert "By length" not in found  # one group alone says nothing
