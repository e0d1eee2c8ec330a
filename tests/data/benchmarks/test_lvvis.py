"""LV-VIS: one expression per category of a video, in both layouts."""

import pickle

import pytest

import layouts
from layouts import LEFT, LOW, RIGHT, editing, write_frames, write_json
from thinkseg.data import open_benchmark
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues

LIST = "val/val_instances.json"


@pytest.fixture
def tree(tmp_path):
    layouts.lvvis(tmp_path)
    return tmp_path


def test_lvvis_category_is_one_expression_about_all_its_objects(tree):
    benchmark = open_benchmark("lvvis", tree)
    clocks, dog = benchmark.expressions
    assert (clocks.key, clocks.query, clocks.objects) == ("00000/12", "alarm clock", ("7", "9"))
    assert (dog.query, dog.category, dog.folders) == ("dog", "referring", ("00000/30",))
    truth = benchmark.sample(clocks).truth
    assert [truth.union(frame).tolist() for frame in range(3)] == [
        (LEFT | RIGHT).tolist(),
        RIGHT.tolist(),
        LEFT.tolist(),
    ]
    assert list(benchmark.videos) == ["00000", "00001"]


def test_lvvis_lists_of_run_lengths_are_masks(tree):
    benchmark = pickle.loads(pickle.dumps(open_benchmark("lvvis", tree)))
    assert benchmark.sample(benchmark.expressions[1]).truth.union(1).tolist() == LOW.tolist()


def test_lvvis_files_at_root_are_found(tree):
    (tree / LIST).rename(tree / "val_instances.json")
    (tree / "JPEGImages").mkdir()
    (tree / "val" / "JPEGImages").rename(tree / "JPEGImages" / "val")
    benchmark = open_benchmark("lvvis", tree)
    assert len(benchmark.sample(benchmark.expressions[0]).video) == 3


def test_lvvis_layout_of_mevis_has_names_as_queries(tmp_path):
    write_frames(tmp_path / "train" / "JPEGImages" / "00007")
    told = {"0": {"exp": "alarm_clock", "obj_id": [0], "anno_id": [4]}}
    entry = {"vid_id": 0, "frames": list(layouts.FRAMES), "expressions": told}
    write_json(tmp_path / "train" / "meta_expressions.json", {"videos": {"00007": entry}})
    write_json(tmp_path / "train" / "mask_dict.json", {"4": [layouts.rle(LEFT), None, None]})
    benchmark = open_benchmark("lvvis", tmp_path, "train")
    (expression,) = benchmark.expressions
    assert (benchmark.name, expression.query) == ("lvvis", "alarm clock")
    assert benchmark.sample(expression).truth.area(0) == 4


def change(*keys, to):
    def edit(content):
        *parents, last = keys
        for key in parents:
            content = content[key]
        content[last] = to

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("annotations", 0, "video_id", to=5), "annotations > 0 is of video 5 and category 12; no such"),
        (change("annotations", 0, "category_id", to=99), "is of video 1 and category 99; no such"),
        (change("annotations", 0, "id", to=None), "id must be an id, not None"),
        (change("videos", 0, "file_names", to=[]), "videos > 0 must list at least one frame"),
        (change("videos", 0, "file_names", 1, to="x/other/1.jpg"), "is not in the folder '00000' of the first frame"),
        (change("videos", 0, "file_names", 0, to="1.jpg"), "must be a folder and a frame"),
        (change("videos", 0, "file_names", to=["../0.jpg"]), r"names '\.\.', which could lead out"),
        (change("categories", 0, to={"id": 12}), "categories > 0 has no field 'name'"),
    ],
)
def test_lvvis_invalid_list_raises(tree, edit, message):
    with editing(tree / LIST) as content:
        edit(content)
    with pytest.raises(DatasetFileError, match=message):
        open_benchmark("lvvis", tree)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (change("annotations", 0, "segmentations", to=[None]), "has 1 masks for 3 frames"),
        (change("annotations", 0, "segmentations", 0, "counts", to=[3]), "0 is not a valid RLE .RLE runs do not fill"),
        (change("annotations", 0, "segmentations", 0, "size", to=[2, 10]), "is a mask of 10x2, its video 5x4"),
        (change("annotations", 0, "segmentations", 0, to=[[1, 2, 3, 4, 5, 6]]), "0 is not a valid RLE"),
    ],
)
def test_lvvis_invalid_masks_raise_on_access(tree, edit, message):
    with editing(tree / LIST) as content:
        edit(content)
    benchmark = open_benchmark("lvvis", tree)
    with pytest.raises(DatasetFileError, match=message):
        benchmark.sample(benchmark.expressions[0]).truth.union(0)


def test_lvvis_invalid_annotation_is_counted(tree):
    with editing(tree / LIST) as content:
        content["annotations"][1]["video_id"] = 5
    issues = DatasetIssues(keep_going=True)
    assert open_benchmark("lvvis", tree, issues=issues).expressions[0].objects == ("7",)
    assert issues.counts == {"unknown_id": 1}
