"""CoT sets: round trips, earlier versions, and invalid files."""

import json

import numpy as np
import pytest
from PIL import Image

from layouts import editing
from thinkseg.data import cot
from thinkseg.data.cot import CotSample, frame_names, read_cot_set, write_frames, write_samples
from thinkseg.errors import DatasetError, VideoError
from thinkseg.types import View


def sample(name="clip/3", keyframe=12, **changes):
    boxes = [[8, 16, 90.5, 71], [0, 0, 1, 1]] if keyframe is not None else []
    fields = {
        "id": name,
        "video": "clip",
        "query": "the cats",
        "category": "reasoning",
        "type": "reasoning",
        "targets": "multiple" if boxes else "none",
        "indices": (0, 12, 24),
        "labels": ("0.0", "1.0", "2.0"),
        "label_unit": "seconds",
        "size_wh": (100, 80),
        "frames": frame_names(name, 3),
        "keyframe": keyframe,
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "thinking": "Two cats jump.",
    }
    return CotSample(**{**fields, **changes})


@pytest.fixture
def root(tmp_path):
    """A set of two samples, the second without a target."""
    view = {"num_frames": 3, "frame_wh": [12, 8], "coordinates": "pixels"}
    (tmp_path / "settings.json").write_text(json.dumps({"view": view, "boxes_in_thinking": False, "seed": 7}))
    samples = [sample(), sample("clip/4", None)]
    write_samples(samples, tmp_path / "samples.jsonl")
    for one in samples:
        write_frames(tmp_path, one.frames, [np.full((8, 12, 3), 80 * at, np.uint8) for at in range(3)])
    return tmp_path


def rewrite(root, change):
    """Applies `change` to the first line of samples.jsonl."""
    path = root / "samples.jsonl"
    first, *others = path.read_text().splitlines()
    value = json.loads(first)
    change(value)
    path.write_text("\n".join([json.dumps(value), *others]) + "\n")


def test_read_cot_set_written_set_round_trips(root):
    found = read_cot_set(root)
    assert (found.view, found.boxes_in_thinking, found.settings["seed"]) == (
        View(3, (12, 8), label_unit="seconds"),
        False,
        7,
    )
    for read, written in zip(found.samples, [sample(), sample("clip/4", None)], strict=True):
        assert cot.sample_to_json(read) == cot.sample_to_json(written)
        assert read.boxes.dtype == np.float32
        assert read.boxes.shape == (len(written.boxes), 4)
    images = found.images(found.samples[0])
    assert [image.shape for image in images] == [(8, 12, 3)] * 3
    assert [int(image.mean()) for image in images] == [0, 80, 160]


def test_write_samples_twice_writes_equal_bytes(root, tmp_path):
    before = (root / "samples.jsonl").read_bytes()
    write_samples(read_cot_set(root).samples, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == before
    assert b'"boxes": [[8, 16, 90.5, 71], [0, 0, 1, 1]]' in before


def test_write_frames_error_leaves_no_folder(root):
    names = frame_names("late", 2)
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        write_frames(root, names, [np.zeros((8, 12, 3), np.uint8)])
    assert not (root / "frames" / "late").exists()
    write_frames(root, names, [np.zeros((8, 12, 3), np.uint8)] * 2)
    assert sorted(path.name for path in (root / "frames").iterdir()) == ["clip", "late"]
    write_frames(root, names, [np.full((8, 12, 3), 255, np.uint8)] * 2)
    assert np.asarray(Image.open(root / names[0])).min() == 255


def test_read_cot_set_earlier_version_reads_old_field_names(root):
    with editing(root / "settings.json") as settings:
        settings["tells_boxes"] = not settings.pop("boxes_in_thinking")
    lines = (root / "samples.jsonl").read_text().replace('"label_unit": "seconds"', '"clock": "index"')
    (root / "samples.jsonl").write_text(lines)
    cot_set = read_cot_set(root)
    assert cot_set.boxes_in_thinking
    assert [sample.label_unit for sample in cot_set.samples] == ["index", "index"]


@pytest.mark.parametrize("name", ["../up", "/abs", "a//b", "a/./b", "a\\b", ""])
def test_frame_names_unsafe_id_raises(name):
    with pytest.raises(DatasetError, match="lead out"):
        frame_names(name, 1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("id", "../../etc", "line 1 > id names '../../etc', which could lead out"),
        ("id", "clip/4", "line 2 > id repeats 'clip/4'"),
        ("video", 3, "line 1 > video must be text"),
        ("query", "", "query must be text"),
        ("category", None, "category must be text"),
        ("type", "funny", "type must be one of referring, reasoning"),
        ("targets", "two", "targets must be one of"),
        ("targets", "none", "a keyframe and boxes, or neither"),
        ("indices", [], "ascending frame indices, at least one"),
        ("indices", [0, 12, 12], "ascending"),
        ("indices", [0, 12.0, 24], "indices > 1 must be an integer >= 0"),
        ("indices", [0, 3, 6, 12], "at most 3"),
        ("labels", ["0", "1"], "3 different numbers"),
        ("labels", ["0", "1.0", "1"], "3 different numbers"),
        ("labels", ["0", "1", "nan"], "decimal numbers"),
        ("labels", ["0", "1", "1e9"], "decimal numbers"),
        ("label_unit", "sundial", "label_unit must be one of seconds, index"),
        ("size_wh", [0, 5], "must be [width, height]"),
        ("frames", ["a.jpg"], "3 files"),
        ("frames", ["a.jpg", "b.jpg", "../../c.jpg"], "frames > 2 names '../../c.jpg'"),
        ("frames", ["a.jpg", "b.jpg", "/etc/passwd"], "could lead out"),
        ("keyframe", 11, "must be one of the indices, not 11"),
        ("keyframe", None, "a keyframe and boxes, or neither"),
        ("boxes", [], "a keyframe and boxes, or neither"),
        ("boxes", [[0, 0, 1]], "boxes > 0 must be a box of four numbers"),
        ("boxes", [[0, 0, True, 1]], "a box of four numbers"),
        ("boxes", [[0, 0, 101, 1]], "inside the frame of 100x80"),
        ("boxes", [[5, 0, 5, 1]], "with an area > 0"),
        ("boxes", [[0, 0, float("nan"), 1]], "with an area > 0"),
        ("thinking", ["x"], "thinking must be text"),
    ],
)
def test_read_cot_set_invalid_field_raises_with_line_and_field(root, field, value, message):
    rewrite(root, lambda row: row.update({field: value}))
    if field == "indices" and len(value) == 4:
        rewrite(root, lambda row: row.update(labels=list("0123"), frames=[f"{n}.jpg" for n in range(4)]))
    with pytest.raises(DatasetError) as caught:
        read_cot_set(root)
    assert message in str(caught.value)
    assert str(root / "samples.jsonl") in str(caught.value)


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"id": "x"}'])
def test_read_cot_set_invalid_line_raises(root, line):
    with (root / "samples.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(DatasetError, match="line 3"):
        read_cot_set(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"view": None}, "view must be an object"),
        ({"view": {"num_frames": 0, "frame_wh": [1, 1], "coordinates": "pixels"}}, "must be >= 1"),
        ({"view": {"num_frames": 1, "frame_wh": [1], "coordinates": "pixels"}}, "width, height"),
        ({"view": {"num_frames": 1, "frame_wh": [1, 1], "coordinates": "inches"}}, "must be one of"),
        ({"boxes_in_thinking": 1}, "true or false"),
    ],
)
def test_read_cot_set_invalid_settings_raises(root, change, message):
    with editing(root / "settings.json") as settings:
        settings.update(change)
    with pytest.raises(DatasetError, match=message):
        read_cot_set(root)


def test_read_cot_set_earlier_name_of_coordinates_is_read(root):
    with editing(root / "settings.json") as settings:
        settings["view"]["coordinates"] = "thousandths"
    assert read_cot_set(root).view.coordinates == "normalized_1000"


def test_read_cot_set_empty_folder_raises(tmp_path):
    with pytest.raises(DatasetError, match=r"settings\.json: cannot be read"):
        read_cot_set(tmp_path)


def test_images_unreadable_frame_raises(root):
    found = read_cot_set(root)
    (root / found.samples[0].frames[1]).write_bytes(b"not an image")
    with pytest.raises(VideoError, match=r"00001\.jpg"):
        found.images(found.samples[0])
