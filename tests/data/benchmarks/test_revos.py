"""ReVOS: written shapes match their episodes, and every kind of issue in a small tree."""

import pickle

import numpy as np
import pytest

import layouts
from layouts import LEFT, LOW, RIGHT, editing
from thinkseg.data import open_benchmark
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.data.shapes import episode, episode_masklets
from thinkseg.data.shapes.writer import write_dataset
from thinkseg.errors import DatasetError


def expression(benchmark, key):
    return next(one for one in benchmark.expressions if one.key == key)


def test_revos_written_shapes_match_episodes(tmp_path):
    write_dataset(tmp_path, "val", range(3, 6), (48, 32), num_questions=2)
    benchmark = open_benchmark("revos", tmp_path)
    assert len(benchmark.videos) == 3
    assert len(benchmark.expressions) > 3
    for one in benchmark.expressions:
        made = episode("val", int(one.video.rpartition("-")[2]), 2)
        asked = made.questions[int(one.id)]
        drawn, sample = episode_masklets(made.clip, asked.targets, (48, 32)), benchmark.sample(one)
        assert sample.query == made.texts[int(one.id)]
        assert sample.truth.num_objects == len(asked.targets)
        assert len(sample.video) == made.clip.num_frames
        for frame in one.scored:
            assert np.array_equal(sample.truth.union(frame), drawn.union(frame))
            assert not (sample.truth.union(frame) & ~sample.foreground.union(frame)).any()


def test_revos_expression_fields(root):
    benchmark = open_benchmark("revos", root)
    assert [one.key for one in benchmark.expressions] == ["lvos/clip/0", "lvos/clip/1", "lvos/clip/2", "solo/0"]
    assert [one.category for one in benchmark.expressions] == ["referring", "reasoning", "no-target", "referring"]
    assert [one.objects for one in benchmark.expressions] == [("0",), ("0", "1"), (), ("2",)]
    several = benchmark.expressions[1]
    assert several.query == "those that leave"
    assert list(several.scored) == [0, 1, 2]
    assert several.folders == ("lvos/clip/1",)
    assert benchmark.videos["lvos/clip"].frames == layouts.FRAMES
    assert benchmark.videos["lvos/clip"].size_wh == layouts.SIZE_WH


def test_revos_several_annotations_merge(root):
    sample = open_benchmark("revos", root).sample(expression(open_benchmark("revos", root), "lvos/clip/1"))
    unions = [sample.truth.union(frame).tolist() for frame in range(3)]
    assert unions == [(LEFT | RIGHT).tolist(), LEFT.tolist(), LOW.tolist()]
    assert [sample.foreground.union(frame).tolist() for frame in range(3)] == unions
    assert sample.video.name == "lvos/clip"
    assert [int(frame.mean()) for frame in sample.video.read([0, 1, 2])] == [0, 40, 80]


def test_revos_no_target_has_no_objects(root):
    benchmark = open_benchmark("revos", root)
    sample = benchmark.sample(expression(benchmark, "lvos/clip/2"))
    assert sample.truth.num_objects == 0
    assert sample.truth.area(0) == 0
    assert sample.foreground.area(0) == 8


def test_revos_masks_match_frames_by_position(root):
    names = ["00007", "00003", "00005"]
    layouts.write_frames(root / "JPEGImages" / "lvos" / "clip", names)
    with editing(root / "meta_expressions_valid_.json") as meta:
        meta["videos"]["lvos/clip"]["frames"] = names
    benchmark = open_benchmark("revos", root)
    sample = benchmark.sample(benchmark.expressions[1])
    assert sample.truth.union(2).tolist() == LOW.tolist()
    assert int(sample.video[2].mean()) == 80


def test_revos_surplus_masks_are_ignored(root):
    with editing(root / "mask_dict.json") as masks:
        masks["2"].append(None)
    benchmark = open_benchmark("revos", root)
    assert benchmark.sample(benchmark.expressions[3]).truth.area(1) == 5


def test_revos_type_contradicting_objects_is_noted(root):
    with editing(root / "meta_expressions_valid_.json") as meta:
        meta["videos"]["lvos/clip"]["expressions"]["1"]["type_id"] = 2
    issues = DatasetIssues()
    benchmark = open_benchmark("revos", root, issues=issues)
    assert (benchmark.expressions[1].category, benchmark.expressions[1].objects) == ("no-target", ("0", "1"))
    assert issues.counts == {"invalid_field": 1}
    assert "lvos/clip/1 has category no-target but 2 objects" in issues.examples["invalid_field"][0]


def test_revos_splits_have_separate_lists(root):
    assert open_benchmark("revos", root, "train").expressions == ()
    with pytest.raises(DatasetFileError, match=r"meta_expressions_train_sub_\.json: cannot be read"):
        open_benchmark("revos", root, "train_sub")


def test_revos_opening_reads_no_masks_or_frames(root):
    for name in ("mask_dict.json", "mask_dict_foreground.json", "JPEGImages/solo/00000.jpg"):
        (root / name).unlink()
    assert len(open_benchmark("revos", root).expressions) == 4


def test_revos_pickle_round_trip(root):
    benchmark = open_benchmark("revos", root)
    sample = benchmark.sample(benchmark.expressions[0])
    assert sample.truth.area(0) == 4
    assert pickle.loads(pickle.dumps(sample)).truth.area(0) == 4
    again = pickle.loads(pickle.dumps(benchmark))
    assert again.sample(again.expressions[3]).truth.area(1) == 5


@pytest.mark.parametrize(
    ("change", "kind", "complaint"),
    [
        (
            lambda clip: clip["expressions"]["0"].pop("type_id"),
            "invalid_field",
            "clip > expressions > 0 has no field 'type_id'",
        ),
        (
            lambda clip: clip["expressions"]["0"].update(type_id=3),
            "invalid_field",
            "type_id must be one of 0, 1, 2, not 3",
        ),
        (
            lambda clip: clip["expressions"]["0"].update(type_id=True),
            "invalid_field",
            "type_id must be an integer >= 0",
        ),
        (lambda clip: clip["expressions"]["0"].update(anno_id=0), "invalid_field", "anno_id must be a list, not 0"),
        (lambda clip: clip["expressions"]["0"].update(anno_id=[[]]), "invalid_field", "anno_id > 0 must be an id"),
        (lambda clip: clip["expressions"]["0"].update(exp=" "), "invalid_field", "exp must be text"),
        (lambda clip: clip["expressions"].update({"../x": clip["expressions"]["0"]}), "unsafe_path", r"'\.\./x'"),
        (lambda clip: clip.pop("expressions"), "invalid_field", "has no field 'expressions'"),
        (lambda clip: clip.update(frames=["../../etc/passwd"]), "unsafe_path", "frames > 0 names"),
        (lambda clip: clip.update(height=-1), "invalid_field", "height must be"),
    ],
)
def test_revos_invalid_list_raises_with_file_and_field(root, change, kind, complaint):
    with editing(root / "meta_expressions_valid_.json") as meta:
        change(meta["videos"]["lvos/clip"])
    with pytest.raises(DatasetFileError, match=complaint) as caught:
        open_benchmark("revos", root)
    assert caught.value.kind == kind
    assert "meta_expressions_valid_.json: videos > lvos/clip" in str(caught.value)
    issues = DatasetIssues(keep_going=True)
    assert "solo/0" in [one.key for one in open_benchmark("revos", root, issues=issues).expressions]
    assert issues.counts == {kind: 1}


@pytest.mark.parametrize("name", ["../outside", "/etc", "a/../../b", "lvos\\clip", "C:/clips"])
def test_revos_unsafe_video_name_raises(root, name):
    with editing(root / "meta_expressions_valid_.json") as meta:
        meta["videos"][name] = meta["videos"]["solo"]
    with pytest.raises(DatasetFileError, match="could lead out of the data set's folder"):
        open_benchmark("revos", root)


@pytest.mark.parametrize(
    ("change", "kind", "complaint"),
    [
        (lambda masks: masks.pop("2"), "unknown_id", "mask_dict.json: no annotation 2, needed for video solo"),
        (lambda masks: masks["2"].pop(), "missing_mask", "mask_dict.json: 2 has 1 masks for 2 frames"),
        (
            lambda masks: masks["2"].__setitem__(1, {"size": [4, 5], "counts": "o"}),
            "invalid_rle",
            "2: 1 is not a valid RLE",
        ),
        (
            lambda masks: masks["2"].__setitem__(1, {"size": [4, 5], "counts": [0, 20]}),
            "invalid_rle",
            "compressed string",
        ),
        (
            lambda masks: masks["2"].__setitem__(1, {"size": [10**9, 5], "counts": "1"}),
            "invalid_rle",
            "invalid size",
        ),
        (
            lambda masks: masks["2"].__setitem__(1, layouts.rle(LOW.T)),
            "size_mismatch",
            "2: 1 is a mask of 4x5, its video 5x4",
        ),
    ],
)
def test_revos_invalid_mask_raises_with_file_and_frame(root, change, kind, complaint):
    with editing(root / "mask_dict.json") as masks:
        change(masks)
    benchmark = open_benchmark("revos", root)
    with pytest.raises(DatasetFileError, match=complaint) as caught:
        benchmark.sample(benchmark.expressions[3]).truth.union(1)
    assert caught.value.kind == kind
    assert benchmark.sample(benchmark.expressions[0]).truth.area(0) == 4


def test_revos_missing_frames_raise(root):
    (root / "JPEGImages" / "solo").rename(root / "elsewhere")
    benchmark = open_benchmark("revos", root)
    with pytest.raises(DatasetError, match=r"solo: no such folder of frames"):
        benchmark.sample(benchmark.expressions[3])


def test_revos_size_mismatch_raises(root):
    layouts.write_frames(root / "JPEGImages" / "solo", layouts.FRAMES[:2], (6, 4))
    benchmark = open_benchmark("revos", root)
    with pytest.raises(DatasetFileError, match="video solo: frames are 6x4, its entry states 5x4"):
        benchmark.sample(benchmark.expressions[3])


def test_revos_foreground_without_video_raises(root):
    with editing(root / "mask_dict_foreground.json") as foreground:
        del foreground["solo"]
    benchmark = open_benchmark("revos", root)
    with pytest.raises(DatasetFileError, match=r"mask_dict_foreground\.json: no video solo"):
        benchmark.sample(benchmark.expressions[3])
