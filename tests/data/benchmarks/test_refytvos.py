"""Ref-YouTube-VOS: every fifth frame, label maps of train, and test videos in the list of valid."""

import pytest

from layouts import LEFT, RIGHT, editing
from thinkseg.data import open_benchmark
from thinkseg.data.benchmarks import refytvos
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues


def train_list(root):
    return editing(root / "meta_expressions" / "train" / "meta_expressions.json")


def test_refytvos_objects_are_labels(root):
    benchmark = open_benchmark("refytvos", root, "train")
    assert [one.objects for one in benchmark.expressions] == [("1",), ("2",)]
    left, right = map(benchmark.sample, benchmark.expressions)
    assert left.truth.union(0).tolist() == LEFT.tolist()
    assert right.truth.union(2).tolist() == RIGHT.tolist()


def test_refytvos_frames_keep_video_numbers(root):
    benchmark = open_benchmark("refytvos", root, "train")
    assert benchmark.videos["birds"].frames == ("00000", "00005", "00010")
    assert list(benchmark.expressions[0].scored) == [0, 1, 2]
    (root / "train" / "JPEGImages" / "birds" / "00003.jpg").write_bytes(b"another frame")
    assert len(benchmark.sample(benchmark.expressions[0]).video) == 3


def test_refytvos_valid_skips_test_videos(root):
    issues = DatasetIssues()
    benchmark = open_benchmark("refytvos", root, issues=issues)
    assert list(benchmark.videos) == ["ice"]
    assert [one.key for one in benchmark.expressions] == ["ice/0"]
    assert benchmark.expressions[0].objects is None
    assert benchmark.sample(benchmark.expressions[0]).truth is None
    assert issues.counts == {"unexpected_count": 1}
    assert "1 videos are in valid but not in test; the server expects 202" in issues.examples["unexpected_count"][0]


def test_refytvos_expected_number_of_videos_has_no_issue(root, monkeypatch):
    monkeypatch.setattr(refytvos, "VALID_VIDEOS", 1)
    issues = DatasetIssues()
    open_benchmark("refytvos", root, issues=issues)
    assert issues.total == 0


def test_refytvos_valid_without_test_list_raises(root):
    (root / "meta_expressions" / "test" / "meta_expressions.json").unlink()
    with pytest.raises(DatasetFileError, match=r"test/meta_expressions\.json: cannot be read"):
        open_benchmark("refytvos", root)


def test_refytvos_test_split_opens(root):
    benchmark = open_benchmark("refytvos", root, "test")
    assert [one.key for one in benchmark.expressions] == ["hidden/0"]
    assert len(benchmark.sample(benchmark.expressions[0]).video) == 3


@pytest.mark.parametrize("obj", ["3", "0"])
def test_refytvos_unknown_object_raises(root, obj):
    with train_list(root) as meta:
        meta["videos"]["birds"]["expressions"]["1"]["obj_id"] = obj
    with pytest.raises(
        DatasetFileError, match=rf"obj_id names object {obj}, which .*meta\.json: videos does not list"
    ) as caught:
        open_benchmark("refytvos", root, "train")
    assert caught.value.kind == "unknown_id"


@pytest.mark.parametrize("obj", ["x", "255", "-1", "1" * 5000, "²"])
def test_refytvos_invalid_label_raises(root, obj):
    with train_list(root) as meta, editing(root / "train" / "meta.json") as objects:
        meta["videos"]["birds"]["expressions"]["1"]["obj_id"] = obj
        objects["videos"]["birds"]["objects"][obj] = {}
    with pytest.raises(DatasetFileError, match="obj_id must be a number from 1 to 254"):
        open_benchmark("refytvos", root, "train")


def test_refytvos_missing_label_map_raises(root):
    (root / "train" / "Annotations" / "birds" / "00005.png").unlink()
    benchmark = open_benchmark("refytvos", root, "train")
    truth = benchmark.sample(benchmark.expressions[0]).truth
    assert truth.area(0) == 4
    with pytest.raises(DatasetFileError, match=r"birds/00005\.png: no such mask"):
        truth.area(1)
