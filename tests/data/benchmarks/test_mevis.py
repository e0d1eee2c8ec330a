"""MeViS: splits with and without ground truth, and both versions."""

import pytest

import layouts
from layouts import LEFT, RIGHT, editing
from thinkseg.data import open_benchmark
from thinkseg.data.readers.issues import DatasetFileError


def test_mevis_split_with_ground_truth(tmp_path):
    layouts.mevis(tmp_path)
    benchmark = open_benchmark("mevis", tmp_path)
    assert benchmark.split == "valid_u"
    assert [one.objects for one in benchmark.expressions] == [("7", "9"), ("7",), ()]
    assert [one.category for one in benchmark.expressions] == ["referring", "referring", "no-target"]
    several, single, none = map(benchmark.sample, benchmark.expressions)
    assert [several.truth.union(frame).tolist() for frame in (0, 1)] == [(LEFT | RIGHT).tolist(), RIGHT.tolist()]
    assert [single.truth.area(frame) for frame in range(3)] == [4, 0, 4]
    assert none.truth.num_objects == 0
    assert several.foreground is None
    assert benchmark.expressions[0].folders == ("0ab4/0",)


def test_mevis_split_without_ground_truth(tmp_path):
    layouts.mevis(tmp_path)
    benchmark = open_benchmark("mevis", tmp_path, "valid")
    (asked,) = benchmark.expressions
    assert asked.objects is None
    assert list(asked.scored) == [0, 1, 2]
    sample = benchmark.sample(asked)
    assert sample.truth is None
    assert len(sample.video) == 3


def test_mevis_empty_lists_without_masks_are_unknown_targets(tmp_path):
    layouts.mevis(tmp_path)
    with editing(tmp_path / "valid" / "meta_expressions.json") as meta:
        meta["videos"]["0ab4"]["expressions"]["0"].update(obj_id=[], anno_id=[])
    assert open_benchmark("mevis", tmp_path, "valid").expressions[0].objects is None


def test_mevis_existing_ground_truth_is_used(tmp_path):
    layouts.mevis(tmp_path)
    (tmp_path / "valid_u").rename(tmp_path / "test")
    assert [one.objects for one in open_benchmark("mevis", tmp_path, "test").expressions] == [("7", "9"), ("7",), ()]


def test_mevis_masks_without_targets_are_unknown(tmp_path):
    layouts.mevis(tmp_path)
    (tmp_path / "valid" / "mask_dict.json").write_text("{}")
    assert open_benchmark("mevis", tmp_path, "valid").expressions[0].objects is None


def test_mevis_missing_ground_truth_raises(tmp_path):
    layouts.mevis(tmp_path)
    (tmp_path / "valid_u" / "mask_dict.json").unlink()
    benchmark = open_benchmark("mevis", tmp_path)
    with pytest.raises(DatasetFileError, match=r"valid_u/mask_dict\.json: cannot be read"):
        benchmark.sample(benchmark.expressions[0])
    with editing(tmp_path / "valid_u" / "meta_expressions.json") as meta:
        del meta["videos"]["0ab4"]["expressions"]["1"]["anno_id"]
    with pytest.raises(DatasetFileError, match="expressions > 1 has no field 'anno_id'"):
        open_benchmark("mevis", tmp_path)


@pytest.mark.parametrize("name", ["meta_expressions_v2.json", "meta_expressions_v2_release.json"])
def test_mevis_v2_reads_its_own_lists(tmp_path, name):
    layouts.mevis(tmp_path, name)
    benchmark = open_benchmark("mevis-v2", tmp_path)
    assert (benchmark.name, len(benchmark.expressions)) == ("mevis-v2", 3)
    with pytest.raises(DatasetFileError, match=r"valid_u/meta_expressions\.json: cannot be read"):
        open_benchmark("mevis", tmp_path)


def test_mevis_v2_missing_list_raises(tmp_path):
    layouts.mevis(tmp_path)
    with pytest.raises(DatasetFileError, match=r"valid_u/meta_expressions_v2\.json: cannot be read"):
        open_benchmark("mevis-v2", tmp_path)
