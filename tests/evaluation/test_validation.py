"""The ground truth of every benchmark scored as a prediction."""

import numpy as np
import pytest
from PIL import Image

import layouts
from thinkseg.errors import DatasetError
from thinkseg.evaluation.validation import TruthAsPng, validate


@pytest.mark.parametrize("name", ["shapes", *layouts.SPLITS])
def test_validate_small_benchmark_finds_100(opened, name):
    benchmark = opened(name)
    result = validate(benchmark)
    known = sum(expression.objects is not None for expression in benchmark.expressions)
    assert (result.known, result.imperfect) == (known, [])
    assert result.unknown == len(benchmark.expressions) - known
    assert f"J and F are 100 for {known} of {known} expressions" in result.describe()


def test_validate_refdavis_counts_expressions_only(opened):
    assert "100 for 8 of 8 expressions" in validate(opened("refdavis")).describe()


def test_validate_refdavis_object_without_expression_is_no_issue(opened, tmp_path):
    opened("refdavis")
    with layouts.editing(tmp_path / "refdavis" / "meta_expressions" / "valid" / "meta_expressions.json") as meta:
        expressions = meta["videos"]["dogs"]["expressions"]
        for number in [key for key, one in expressions.items() if one["obj_id"] == "2"]:
            del expressions[number]
    result = validate(opened("refdavis"))
    assert (result.known, result.imperfect) == (4, [])


def test_validate_imperfect_truth_is_listed(opened, monkeypatch):
    monkeypatch.setattr(TruthAsPng, "of", lambda self, expression, video, size_wh: None)
    result = validate(opened("refdavis"))
    assert len(result.imperfect) == 16
    lines = result.describe().splitlines()
    assert lines[0].startswith("dogs/0: J 0.00, F 0.00: ")
    assert any(line == "dogs/anno_0/object 1: J 0.00, F 0.00" for line in lines)
    assert lines[-1] == "J and F are 100 for 0 of 8 expressions with ground truth"


def test_validate_invalid_truth_raises_or_skips(opened, tmp_path):
    opened("revos")
    with layouts.editing(tmp_path / "revos" / "mask_dict.json") as masks:
        masks["2"][1]["counts"] = "?"
    with pytest.raises(DatasetError, match="mask_dict"):
        validate(opened("revos"))
    result = validate(opened("revos", keep_going=True))
    assert (result.known, result.skipped) == (3, 1)
    assert result.describe().endswith("not scored: 0 without ground truth, 1 with issues")


def test_truth_as_png_holds_scored_frames_only(opened):
    benchmark = opened("vicas")
    expression = benchmark.expressions[0]
    masks = TruthAsPng(benchmark).of(expression, benchmark.videos[expression.video], layouts.SIZE_WH)
    np.testing.assert_array_equal(masks.union(2), layouts.LOW | layouts.RIGHT)
    with pytest.raises(DatasetError, match="00001"):
        masks.union(1)


def test_validate_values_of_mask_images_are_checked(opened, tmp_path):
    opened("reasonvos")
    levels = layouts.LEFT * 17 + layouts.RIGHT * 34
    path = tmp_path / "reasonvos" / "Annotations" / "burst_race_3" / "00000.png"
    Image.fromarray(levels.astype(np.uint8)).save(path)
    with pytest.raises(DatasetError, match=r"00000\.png: has the values \[17, 34\] besides 0"):
        validate(opened("reasonvos"))


def test_validate_target_in_no_mask_is_listed(opened, tmp_path):
    opened("refytvos")
    for path in (tmp_path / "refytvos" / "train" / "Annotations" / "birds").iterdir():
        Image.fromarray(layouts.LEFT.astype(np.uint8) * 255).save(path)
    result = validate(opened("refytvos"))
    assert (result.imperfect, result.empty) == ([], ["birds/0", "birds/1"])
    assert "no mask shows the target of 2 expressions, first birds/0" in result.describe()
