"""Predicted masks as files."""

import numpy as np
import pytest
from PIL import Image

from thinkseg.data.benchmarks.base import Expression, Video
from thinkseg.errors import SettingsError
from thinkseg.evaluation.predictions import (
    PngPredictions,
    PredictionError,
    encode_png,
    open_predictions,
    read_masklets,
    write_masklets,
    write_pngs,
)
from thinkseg.ops.masks import from_stacks

VIDEO = Video("lvos/clip", ("00000", "00005"))
ASKED = Expression("lvos/clip", "3", "it", "", ("1",), range(2), ("burst_clip_1/3", "lvos/clip/3"))
MASKS = np.zeros((2, 2, 3, 4), bool)
MASKS[0, 0, :2, :2] = True
MASKS[1, 0, 2] = True
MASKS[1, 1, 1:, 3] = True


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures, in the second of the places an expression knows."""
    write_pngs(from_stacks(MASKS), range(2), VIDEO, tmp_path / "lvos" / "clip" / "3")
    return tmp_path


def test_write_masklets_round_trip(tmp_path):
    path = tmp_path / "masks" / "clip" / "3.json"
    write_masklets(from_stacks(MASKS), path)
    back = read_masklets(path, 2, (4, 3))
    assert back.num_objects == 2
    for frame in range(2):
        for obj in range(2):
            np.testing.assert_array_equal(back.mask(frame, obj), MASKS[obj, frame])
    assert [entry.name for entry in path.parent.iterdir()] == ["3.json"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "unreadable"),
        ('{"objects": [[null]]}', "incomplete"),
        ('{"objects": [[null, {"size": [3, 4], "counts": "?"}]]}', "unreadable"),
        ('{"objects": [[null, {"size": [2, 2], "counts": "4"}]]}', "size_mismatch"),
        ('{"objects": 3}', "unreadable"),
    ],
)
def test_read_masklets_invalid_file_raises(tmp_path, text, reason):
    path = tmp_path / "3.json"
    path.write_text(text)
    with pytest.raises(PredictionError, match=r"3\.json") as caught:
        read_masklets(path, 2, (4, 3))
    assert caught.value.reason == reason


def test_write_pngs_merges_objects(pictures):
    with Image.open(pictures / "lvos" / "clip" / "3" / "00000.png") as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.array(picture), MASKS[:, 0].any(0) * 255)
    masks = open_predictions(pictures, "revos").of(ASKED, VIDEO, (4, 3))
    np.testing.assert_array_equal(masks.union(1), MASKS[:, 1].any(0))


def test_png_predictions_first_existing_folder_wins(pictures):
    write_pngs(from_stacks(MASKS[:1]), range(2), VIDEO, pictures / "burst_clip_1" / "3")
    masks = PngPredictions(pictures).of(ASKED, VIDEO, (4, 3))
    np.testing.assert_array_equal(masks.union(0), MASKS[0, 0])


def test_png_predictions_without_folder_returns_none(tmp_path):
    assert PngPredictions(tmp_path).of(ASKED, VIDEO, (4, 3)) is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "incomplete"), (b"no picture", "unreadable"), (encode_png(np.eye(5, dtype=bool)), "size_mismatch")],
)
def test_png_predictions_invalid_image_raises(pictures, content, reason):
    path = pictures / "lvos" / "clip" / "3" / "00005.png"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    masks = PngPredictions(pictures).of(ASKED, VIDEO, (4, 3))
    with pytest.raises(PredictionError) as caught:
        masks.union(1)
    assert caught.value.reason == reason


def test_open_predictions_missing_folder_raises(tmp_path):
    with pytest.raises(SettingsError, match="no such folder"):
        open_predictions(tmp_path / "none", "revos")


def test_png_predictions_numbered_otherwise_than_frames_raise(tmp_path):
    """Frames 00001 and 00002, masks 00000 and 00001: 00001.png would be taken for the mask of the frame before it."""
    video = Video("lvos/clip", ("00001", "00002"))
    write_pngs(from_stacks(MASKS), range(2), Video("", ("00000", "00001")), tmp_path / "lvos" / "clip" / "3")
    with pytest.raises(
        PredictionError, match=r"00000\.png is no frame, and 00002\.png is missing; name masks"
    ) as caught:
        PngPredictions(tmp_path).of(ASKED, video, (4, 3))
    assert caught.value.reason == "incomplete"


def test_png_predictions_surplus_or_unscored_frames_are_ignored(pictures):
    folder = pictures / "lvos" / "clip" / "3"
    (folder / "00001.png").write_bytes(b"")
    assert PngPredictions(pictures).of(ASKED, VIDEO, (4, 3)).union(1).any()
    (folder / "00001.png").rename(folder / "overlay.png")
    (folder / "00000.png").unlink()
    assert PngPredictions(pictures).of(ASKED, VIDEO, (4, 3)).union(1).any()


def test_open_predictions_of_own_data_refuse_several_values(pictures):
    path = pictures / "lvos" / "clip" / "3" / "00000.png"
    Image.fromarray(np.array([[0, 17, 34, 255]] * 3, np.uint8)).save(path)
    assert open_predictions(pictures, "revos").of(ASKED, VIDEO, (4, 3)).union(0).sum() == 9
    with pytest.raises(PredictionError, match=r"00000\.png: has the values \[17, 34, 255\] besides 0") as caught:
        open_predictions(pictures, "folder").of(ASKED, VIDEO, (4, 3)).union(0)
    assert caught.value.reason == "unreadable"
