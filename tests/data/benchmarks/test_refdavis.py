"""Ref-DAVIS17: four runs of expressions, converted and as published."""

import pytest

import layouts
from layouts import LABELS, LEFT, RIGHT, editing
from thinkseg.data import open_benchmark
from thinkseg.data.benchmarks.refdavis import label_maps
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues


def text(root, name="annot1"):
    return root / "davis_text_annotations" / f"Davis17_{name}.txt"


def test_refdavis_converted_tree_opens(tmp_path):
    layouts.refdavis(tmp_path)
    benchmark = open_benchmark("refdavis", tmp_path)
    assert [one.id for one in benchmark.expressions] == [str(number) for number in range(8)]
    assert [one.annotation_run for one in benchmark.expressions] == ["anno_0", "anno_1", "anno_2", "anno_3"] * 2
    assert [one.objects for one in benchmark.expressions] == [("1",)] * 4 + [("2",)] * 4
    first, last = benchmark.sample(benchmark.expressions[0]), benchmark.sample(benchmark.expressions[7])
    assert (first.query, first.truth.union(1).tolist()) == ("words 0", LEFT.tolist())
    assert (last.query, last.truth.union(1).tolist()) == ("words 7", RIGHT.tolist())
    assert benchmark.expressions[7].folders == ("dogs/7",)


def test_refdavis_published_tree_is_converted(tmp_path):
    layouts.refdavis_published(tmp_path)
    benchmark = open_benchmark("refdavis", tmp_path)
    assert list(benchmark.videos) == ["classic-car"]
    assert benchmark.videos["classic-car"].frames == layouts.FRAMES
    assert [one.objects for one in benchmark.expressions] == [("1",)] * 4 + [("10",)] * 4 + [("2",)] * 4
    assert [one.annotation_run for one in benchmark.expressions] == ["anno_0", "anno_1", "anno_2", "anno_3"] * 3
    assert [one.id for one in benchmark.expressions] == [str(number) for number in range(12)]
    assert [one.query for one in benchmark.expressions[4:8]] == [f"car 10 of run {n}, très vite" for n in range(4)]
    assert benchmark.sample(benchmark.expressions[8]).truth.union(0).tolist() == RIGHT.tolist()


def test_refdavis_conversion_has_priority(tmp_path):
    layouts.refdavis_published(tmp_path)
    layouts.refdavis(tmp_path)
    assert list(open_benchmark("refdavis", tmp_path).videos) == ["dogs"]


def test_label_maps_include_void(tmp_path):
    layouts.refdavis(tmp_path)
    labels = LABELS.copy()
    labels[3, 0] = 255
    layouts.write_labels(tmp_path / "valid" / "Annotations" / "dogs" / "00001.png", labels)
    benchmark = open_benchmark("refdavis", tmp_path)
    found = list(label_maps(benchmark, "dogs", layouts.SIZE_WH))
    assert [picture.tolist() for picture in found] == [LABELS.tolist(), labels.tolist(), LABELS.tolist()]


def test_refdavis_runs_with_different_objects_are_noted(tmp_path):
    layouts.refdavis_published(tmp_path)
    text(tmp_path).write_text('clasic-car 1 "one"\n\nclasic-car 2 "two"\n')
    issues = DatasetIssues()
    benchmark = open_benchmark("refdavis", tmp_path, issues=issues)
    assert [one.objects[0] for one in benchmark.expressions] == ["1", "1", "1", "1", "2", "10", "10", "10"]
    assert issues.examples == {"unknown_id": ["video classic-car: the four runs do not describe the same objects"]}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"clasic-car 1\n", r"annot1\.txt, line 1: must be: video object"),
        (b'clasic-car 1 "tr\xe8s"\n', r"annot1\.txt: not utf-8"),
        (b'clasic-car one "word"\n', "obj_id must be a number from 1 to 254"),
        (b'clasic-car 1 ""\n', "exp must be text"),
    ],
)
def test_refdavis_invalid_text_raises(tmp_path, content, complaint):
    layouts.refdavis_published(tmp_path)
    text(tmp_path).write_bytes(content)
    with pytest.raises(DatasetFileError, match=complaint):
        open_benchmark("refdavis", tmp_path)


def test_refdavis_missing_text_raises(tmp_path):
    layouts.refdavis_published(tmp_path)
    text(tmp_path, "annot2_full_video").unlink()
    with pytest.raises(DatasetFileError, match=r"annot2_full_video\.txt: cannot be read"):
        open_benchmark("refdavis", tmp_path)


@pytest.mark.parametrize("name", ["../car", "/etc", "nowhere"])
def test_refdavis_invalid_video_list_raises(tmp_path, name):
    layouts.refdavis_published(tmp_path)
    (tmp_path / "DAVIS" / "ImageSets" / "2017" / "val.txt").write_text(f"{name}\nclassic-car\n")
    with pytest.raises(DatasetFileError, match=r"could lead out of|no such folder"):
        open_benchmark("refdavis", tmp_path)
    issues = DatasetIssues(keep_going=True)
    assert len(open_benchmark("refdavis", tmp_path, issues=issues).expressions) == 12
    assert issues.total == 1


def test_refdavis_expression_id_without_number_raises(tmp_path):
    layouts.refdavis(tmp_path)
    with editing(tmp_path / "meta_expressions" / "valid" / "meta_expressions.json") as meta:
        expressions = meta["videos"]["dogs"]["expressions"]
        expressions["first"] = expressions.pop("0")
    with pytest.raises(DatasetFileError, match="expressions > first must have a number as id"):
        open_benchmark("refdavis", tmp_path)
