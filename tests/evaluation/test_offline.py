"""Mask files of any method scored on small trees of every benchmark: correct, invalid and missing ones."""

import csv
import multiprocessing

import pytest

import layouts
from thinkseg.data import open_benchmark
from thinkseg.errors import DatasetError, SettingsError, VideoError
from thinkseg.evaluation.aggregation import expression_rows
from thinkseg.evaluation.offline import COLUMNS, describe_unusual, score, write_csv
from thinkseg.evaluation.predictions import PngPredictions
from thinkseg.evaluation.scores import aggregate, format_scores
from thinkseg.evaluation.validation import TruthAsPng
from thinkseg.ops.metrics import j_and_f


def write_masks(folder, names, *pictures):
    for name, picture in zip(names, pictures, strict=True):
        layouts.write_mask(folder / f"{name}.png", picture)


@pytest.mark.parametrize("name", layouts.SPLITS)
def test_score_ground_truth_returns_100(opened, name):
    benchmark = opened(name)
    everything = score(benchmark, TruthAsPng(benchmark))
    rows = expression_rows(everything)
    assert [row["id"] for row in rows] == [expression.key for expression in benchmark.expressions]
    groups = aggregate(benchmark, everything)["metrics"]
    # Pictures show all objects as one, so that tracks cannot be told apart.
    groups.pop("LG-VIS", None)
    assert {figure["value"] for group in groups.values() for figure in group.values()} == {100}
    for row, expression in zip(rows, benchmark.expressions, strict=True):
        expected = (None, None) if expression.objects is None else (1.0, 1.0)
        assert (row["j"], row["f"]) == expected, row
    assert sum(row["j"] is not None for row in rows) >= 2


def test_score_predictions_and_failures(opened, tmp_path):
    benchmark, out = opened("revos"), tmp_path / "masks"
    write_masks(out / "solo" / "0", layouts.FRAMES[:2], layouts.LOW, layouts.LEFT)
    write_masks(out / "lvos" / "clip" / "2", layouts.FRAMES, layouts.NOTHING, layouts.LEFT, layouts.NOTHING)
    write_masks(out / "lvos" / "clip" / "0", layouts.FRAMES[:2], layouts.LEFT, layouts.LEFT)
    rows = {row["id"]: row for row in score(benchmark, PngPredictions(out))}
    second = j_and_f(layouts.LEFT[None], layouts.LOW[None])
    assert rows["solo/0"]["j"] == 0.5
    assert rows["solo/0"]["f"] == (1 + second[1][0]) / 2
    assert (rows["solo/0"]["failure"], rows["solo/0"]["is_empty"]) == (None, False)
    # One frame of three lacks, one expression lacks altogether: nothing is earned.
    assert (rows["lvos/clip/0"]["failure"], rows["lvos/clip/0"]["j"]) == ("incomplete", 0)
    assert (rows["lvos/clip/1"]["failure"], rows["lvos/clip/1"]["f"]) == ("missing", 0)
    assert rows["lvos/clip/2"]["j"] == pytest.approx(2 / 3)
    scores = aggregate(benchmark, list(rows.values()))
    assert scores["failures"] == {"incomplete": 1, "missing": 1}
    assert scores["metrics"]["referring"]["J"]["value"] == 25
    assert scores["metrics"]["no-target"]["N-acc"]["value"] == 0
    lines = [line.split() for line in format_scores(scores).splitlines()]
    assert [line[:4] for line in lines[-2:]] == [["1", "masks", "of", "some"], ["1", "there", "are", "no"]]


def test_score_revos_rounds_expressions_and_averages_two_categories(opened, tmp_path):
    benchmark, out = opened("revos"), tmp_path / "masks"
    write_masks(out / "lvos" / "clip" / "0", layouts.FRAMES, layouts.LEFT, layouts.LEFT, layouts.LEFT)
    write_masks(out / "lvos" / "clip" / "1", layouts.FRAMES, *[layouts.LEFT | layouts.RIGHT] * 2, layouts.LOW)
    figures = aggregate(benchmark, score(benchmark, PngPredictions(out)))["metrics"]
    # 2/3 of the first and nothing of the second referring question; 5/6 of the reasoning one.
    assert figures["referring"]["J"]["value"] == pytest.approx(66.67 / 2, abs=1e-9)
    assert figures["reasoning"]["J"]["value"] == pytest.approx(83.33, abs=1e-9)
    assert figures["overall"]["J"]["value"] == pytest.approx((66.67 / 2 + 83.33) / 2, abs=1e-9)


def test_score_reasonvos_skips_missing_predictions(opened, tmp_path):
    benchmark, out = opened("reasonvos"), tmp_path / "masks"
    write_masks(out / "race" / "0", ("00000", "00002"), layouts.LEFT, layouts.NOTHING)
    rows = score(benchmark, PngPredictions(out))
    assert [(row["j"], row["failure"]) for row in rows] == [(0.5, None), (0.0, "missing")]
    scores = aggregate(benchmark, rows)
    assert scores["metrics"]["overall"]["J"]["value"] == 50
    assert "but missing ones are skipped" in format_scores(scores)


def test_score_revos_robustness_on_both_scales(opened, tmp_path):
    benchmark, out = opened("revos"), tmp_path / "masks"
    # The floor is all there is in this video: a mask of the left quarter besides is 4 pixels wrong of 5.
    write_masks(out / "solo" / "0", layouts.FRAMES[:2], layouts.LOW, layouts.LOW | layouts.LEFT)
    write_masks(out / "lvos" / "clip" / "1", layouts.FRAMES, layouts.NOTHING, layouts.NOTHING, layouts.NOTHING)
    rows = {row["id"]: row for row in score(benchmark, PngPredictions(out))}
    assert (rows["solo/0"]["robustness_visa255"], rows["solo/0"]["robustness_area"]) == (0.5, pytest.approx(0.6))
    assert (rows["lvos/clip/1"]["robustness_visa255"], rows["lvos/clip/0"]["robustness_visa255"]) == (1, 0)
    assert "robustness_area" not in rows["lvos/clip/2"]
    figures = aggregate(benchmark, list(rows.values()))["metrics"]
    assert figures["referring"]["robustness_area"]["value"] == pytest.approx(30)
    assert figures["overall"]["robustness_visa255"]["value"] == pytest.approx((25 + 100) / 2)


def test_score_refdavis_follows_both_protocols(opened, tmp_path):
    benchmark, out = opened("refdavis"), tmp_path / "masks"
    # Run 0 swaps the objects, run 1 has both of them at the left, run 2 the right one alone, run 3 broken pictures.
    for number, masks in enumerate([layouts.RIGHT, layouts.LEFT, None, layouts.LEFT, layouts.LEFT, layouts.LEFT]):
        if masks is not None:
            write_masks(out / "dogs" / str(number), layouts.FRAMES, *[masks] * 3)
    write_masks(out / "dogs" / "6", layouts.FRAMES, *[layouts.RIGHT] * 3)
    (out / "dogs" / "3" / "00002.png").write_bytes(b"no picture")
    scores = aggregate(benchmark, score(benchmark, PngPredictions(out)))
    found = {group: of["J"]["value"] for group, of in scores["metrics"].items()}
    # Who is who does not matter, and the first of two that claim a pixel has it.
    assert found == {"A, anno_0": 100, "A, anno_1": 50, "A, anno_2": 50, "A, anno_3": 0, "A": 50, "B": 25}
    assert scores["expressions"] == 8
    assert scores["failures"] == {"missing": 2, "unreadable": 1}
    assert "A (ReferFormer)" in format_scores(scores)


def test_score_vicas_compares_tracks(opened, tmp_path):
    benchmark, out = opened("vicas"), tmp_path / "masks"
    write_masks(out / "000042" / "0", ("00000", "00002"), layouts.LEFT, layouts.RIGHT)
    write_masks(out / "000042" / "1", ("00000", "00002"), layouts.NOTHING, layouts.RIGHT)
    scores = aggregate(benchmark, score(benchmark, PngPredictions(out)))
    # One of three true tracks is found, another to half.
    assert scores["metrics"]["LG-VIS"]["AP@50"]["value"] == pytest.approx(200 / 3)
    assert scores["metrics"]["LG-VIS"]["AP@75"]["value"] == pytest.approx(100 / 3)
    assert "quirks included" in scores["protocol"]
    table = format_scores(scores)
    assert "AP@50" in table
    assert "quirks" not in aggregate(benchmark, score(benchmark, PngPredictions(out)), corrected=True)["protocol"]


def test_score_hidden_truth_has_no_metrics(opened, tmp_path):
    opened("mevis")
    benchmark = open_benchmark("mevis", tmp_path / "mevis", "valid")
    rows = score(benchmark, PngPredictions(tmp_path))
    assert [(row["j"], row["has_target"], row["failure"]) for row in rows] == [(None, None, "missing")]
    assert aggregate(benchmark, rows)["metrics"] == {}


def test_score_two_processes_return_equal_rows(opened):
    benchmark, before = opened("revos"), set(multiprocessing.active_children())
    seen = []
    rows = score(benchmark, TruthAsPng(benchmark), 2, lambda row, done: seen.append((row["id"], done)))
    assert rows == score(benchmark, TruthAsPng(benchmark))
    assert seen == [(row["id"], done) for done, row in enumerate(rows, start=1)]
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize("workers", [1, 2])
def test_score_invalid_benchmark_raises_or_skips(opened, tmp_path, workers):
    benchmark = opened("revos")
    with layouts.editing(tmp_path / "revos" / "mask_dict.json") as masks:
        masks["2"][1]["counts"] = "?"
    (tmp_path / "revos" / "JPEGImages" / "lvos" / "clip" / "00000.jpg").write_bytes(b"no picture")
    with pytest.raises((DatasetError, VideoError), match=r"00000\.jpg"):
        score(benchmark, TruthAsPng(benchmark), workers)
    benchmark = opened("revos", keep_going=True)
    assert score(benchmark, TruthAsPng(benchmark), workers) == []
    assert benchmark.issues.counts == {"missing_frame": 3, "invalid_rle": 1}


def test_write_csv_has_one_line_per_expression(opened, tmp_path):
    benchmark = opened("revos")
    write_csv(score(benchmark, TruthAsPng(benchmark)), tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert [line["id"] for line in lines] == [expression.key for expression in benchmark.expressions]
    assert {line["j"] for line in lines} == {"1.0"}
    with pytest.raises(SettingsError, match="none"):
        write_csv([], tmp_path / "none" / "scores.csv")


def test_describe_unusual_names_first_of_each_failure_and_empty_masks(opened, tmp_path):
    benchmark, out = opened("revos"), tmp_path / "masks"
    write_masks(out / "solo" / "0", layouts.FRAMES[:2], layouts.NOTHING, layouts.NOTHING)
    write_masks(out / "lvos" / "clip" / "0", layouts.FRAMES[:2], layouts.LEFT, layouts.LEFT)
    write_masks(out / "lvos" / "clip" / "1", layouts.FRAMES, layouts.LEFT, layouts.LEFT, layouts.LEFT)
    (out / "lvos" / "clip" / "1" / "00001.png").write_bytes(b"")
    lines = describe_unusual(score(benchmark, PngPredictions(out)))
    assert len(lines) == 3
    assert lines[0].startswith("first unreadable: ")
    assert lines[0].endswith("00001.png: not a readable image; replace or remove it")
    assert lines[1].startswith("first incomplete: ")
    assert "00002.png: no such mask" in lines[1]
    assert lines[2] == "empty in all scored frames despite a target: 1 of 3, first solo/0"
