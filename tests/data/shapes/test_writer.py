"""Written shapes have the layout of ReVOS."""

import json

import numpy as np
import pytest
from PIL import Image

from thinkseg.data.shapes import episode, episode_masklets, load, shows_shapes
from thinkseg.data.shapes.writer import write_dataset
from thinkseg.errors import DatasetError
from thinkseg.ops.masks import decode
from thinkseg.ops.video import open_video, write_video

SIZE, COUNT, QUESTIONS = (64, 48), 6, 3


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    write_dataset(folder, "val", range(5, 5 + COUNT), SIZE, QUESTIONS)
    return folder


@pytest.fixture(scope="module")
def meta(tree):
    return json.loads((tree / "meta_expressions_valid_.json").read_text())["videos"]


@pytest.fixture(scope="module")
def masks(tree):
    return json.loads((tree / "mask_dict.json").read_text())


def targets(masks, expression, frame):
    """The merged masks of an expression's objects in one frame, as a ReVOS loader reads them."""
    merged = np.zeros(SIZE[::-1], bool)
    for anno in expression["anno_id"]:
        rle = masks[str(anno)][frame]
        if rle is not None:
            merged |= decode(rle)
    return merged


def test_write_dataset_writes_files_of_revos(tree):
    assert sorted(path.name for path in tree.iterdir()) == [
        "JPEGImages",
        "mask_dict.json",
        "mask_dict_foreground.json",
        "meta_expressions_train_.json",
        "meta_expressions_valid_.json",
        "videos",
    ]
    assert json.loads((tree / "meta_expressions_train_.json").read_text()) == {"videos": {}}


def test_write_dataset_entries_have_fields_of_revos(meta):
    assert [entry["vid_id"] for entry in meta.values()] == list(range(COUNT))
    for entry in meta.values():
        assert list(entry) == ["vid_id", "height", "width", "frames", "expressions"]
        assert (entry["width"], entry["height"]) == SIZE
        assert list(entry["expressions"]) == [str(number) for number in range(len(entry["expressions"]))]
        for expression in entry["expressions"].values():
            assert list(expression) == ["exp", "obj_id", "anno_id", "type_id"]
            assert len(expression["obj_id"]) == len(expression["anno_id"])
            assert (expression["type_id"] == 2) == (not expression["anno_id"])


def test_write_dataset_writes_listed_frames(tree, meta):
    for name, entry in meta.items():
        folder = tree / "JPEGImages" / name
        assert sorted(path.stem for path in folder.iterdir()) == entry["frames"]
        assert entry["frames"][0] == "00000"
        with Image.open(folder / "00000.jpg") as image:
            assert image.size == SIZE


def test_write_dataset_images_and_videos_match_clip(tree, meta):
    for name in meta:
        index = int(name.rpartition("-")[2])
        drawn = load("val", index, SIZE).video
        for source in (tree / "JPEGImages" / name, tree / "videos" / f"{name}.mp4"):
            video = open_video(source)
            assert len(video) == len(drawn)
            assert np.abs(video[3].astype(int) - drawn[3]).mean() < 12


def test_write_dataset_videos_are_tagged_as_shapes(tree, meta):
    for name in meta:
        assert shows_shapes(open_video(tree / "videos" / f"{name}.mp4"))
    assert shows_shapes(load("val", 0).video)


def test_shows_shapes_other_video_is_false(tmp_path):
    write_video(tmp_path / "clip.mp4", np.zeros((2, 8, 8, 3), np.uint8), 10.0)
    assert not shows_shapes(open_video(tmp_path / "clip.mp4"))


def test_write_dataset_masks_equal_ground_truth(meta, masks):
    for name, entry in meta.items():
        index = int(name.rpartition("-")[2])
        sample = load("val", index, SIZE)
        first = entry["expressions"]["0"]
        assert first["exp"] == episode("val", index, QUESTIONS).texts[0]
        for frame in range(len(entry["frames"])):
            assert np.array_equal(targets(masks, first, frame), sample.truth.union(frame))


def test_write_dataset_one_annotation_per_object(meta, masks):
    named = [anno for e in meta.values() for x in e["expressions"].values() for anno in x["anno_id"]]
    assert {str(anno) for anno in named} <= set(masks)
    assert list(masks) == [str(number) for number in range(len(masks))]
    clips = [episode("val", int(name.rpartition("-")[2])).clip for name in meta]
    assert len(masks) == sum(clip.num_objects for clip in clips)
    second = clips[0].num_objects
    truth = episode_masklets(clips[1], [0], SIZE)
    assert masks[str(second)] == [None if rle is None else dict(rle) for rle in truth.rles[0]]


def test_write_dataset_foreground_is_union_of_targets(tree, meta, masks):
    foreground = json.loads((tree / "mask_dict_foreground.json").read_text())
    assert list(foreground) == list(meta)
    for name, entry in meta.items():
        record = foreground[name]
        assert list(record) == ["masks_rle", "foreground_ratio"]
        for frame in range(len(entry["frames"])):
            merged = np.any([targets(masks, e, frame) for e in entry["expressions"].values()], axis=0)
            assert np.array_equal(decode(record["masks_rle"][frame]), merged)
            assert record["foreground_ratio"][frame] == pytest.approx(merged.mean())


def test_write_dataset_type_ids_follow_categories(meta):
    kinds = {"referring": 0, "none": 2}
    for name, entry in meta.items():
        one = episode("val", int(name.rpartition("-")[2]), QUESTIONS)
        found = [expression["type_id"] for expression in entry["expressions"].values()]
        assert found == [kinds.get(question.category, 1) for question in one.questions]


def test_write_dataset_train_split_fills_training_list(tmp_path):
    steps = []
    num_questions = write_dataset(
        tmp_path, "train", range(2), (32, 32), progress=lambda done, total: steps.append((done, total))
    )
    assert num_questions == 2
    assert steps == [(1, 2), (2, 2)]
    assert len(json.loads((tmp_path / "meta_expressions_train_.json").read_text())["videos"]) == 2
    assert json.loads((tmp_path / "meta_expressions_valid_.json").read_text()) == {"videos": {}}


def test_write_dataset_unknown_split_raises(tmp_path):
    with pytest.raises(DatasetError, match="unknown split 'test'"):
        write_dataset(tmp_path, "test", range(1))
