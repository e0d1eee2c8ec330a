"""The zip for a server: all of it there, where the server looks for it, or no file at all."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

import layouts
from thinkseg.data import open_benchmark
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.evaluation.predictions import write_masklets
from thinkseg.evaluation.submission import write_submission
from thinkseg.ops.masks import from_stacks

MASKS = (layouts.LEFT, layouts.NOTHING, layouts.LOW)


@pytest.fixture
def mevis(tmp_path):
    layouts.mevis(tmp_path / "mevis")
    return open_benchmark("mevis", tmp_path / "mevis", "valid")


@pytest.fixture
def pictures(tmp_path):
    for name, picture in zip(layouts.FRAMES, MASKS, strict=True):
        layouts.write_mask(tmp_path / "masks" / "0ab4" / "0" / f"{name}.png", picture)
    return tmp_path / "masks"


def unpacked(path):
    with zipfile.ZipFile(path) as archive:
        return {name: np.array(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()}


def test_write_submission_mevis_has_videos_at_root(mevis, pictures, tmp_path):
    # What is 0 and 1, as many write it, becomes 0 and 255.
    Image.fromarray(layouts.LEFT.astype(np.uint8)).save(pictures / "0ab4" / "0" / "00000.png")
    assert write_submission(mevis, pictures, tmp_path / "out.zip") == 0
    found = unpacked(tmp_path / "out.zip")
    assert list(found) == [f"0ab4/0/{name}.png" for name in layouts.FRAMES]
    for picture, mask in zip(found.values(), MASKS, strict=True):
        assert picture.dtype == np.uint8
        np.testing.assert_array_equal(picture, mask * 255)
    first = (tmp_path / "out.zip").read_bytes()
    write_submission(mevis, pictures, tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_bytes() == first


def test_write_submission_refytvos_has_annotations_folder(tmp_path):
    layouts.refytvos(tmp_path / "tree")
    benchmark = open_benchmark("refytvos", tmp_path / "tree")
    frames = ("00000", "00005", "00010")
    for name, picture in zip(frames, MASKS, strict=True):
        layouts.write_mask(tmp_path / "masks" / "ice" / "0" / f"{name}.png", picture)
    write_submission(benchmark, tmp_path / "masks", tmp_path / "out.zip")
    assert list(unpacked(tmp_path / "out.zip")) == [f"Annotations/ice/0/{name}.png" for name in frames]


def test_write_submission_failures_become_empty_masks(mevis, tmp_path):
    run = tmp_path / "run"
    (run / "masks").mkdir(parents=True)
    (run / "settings.json").write_text("{}")
    with pytest.raises(SettingsError, match="1 of 1 expressions have no masks"):
        write_submission(mevis, run, tmp_path / "out.zip")
    (run / "results.jsonl").write_text(json.dumps({"id": "0ab4/0", "failure": "tags"}) + "\n")
    assert write_submission(mevis, run, tmp_path / "out.zip") == 1
    assert not any(picture.any() for picture in unpacked(tmp_path / "out.zip").values())
    (run / "results.jsonl").write_text(json.dumps({"id": "0ab4/0", "failure": None}) + "\n")
    write_masklets(from_stacks(np.array(MASKS)[None]), run / "masks" / "0ab4" / "0.json")
    assert write_submission(mevis, run, tmp_path / "out.zip") == 0
    np.testing.assert_array_equal(unpacked(tmp_path / "out.zip")["0ab4/0/00002.png"], layouts.LOW * 255)


def test_write_submission_missing_masks_raises_and_writes_nothing(mevis, pictures, tmp_path):
    (pictures / "0ab4" / "0" / "00002.png").unlink()
    with pytest.raises(DatasetError, match=r"00002\.png"):
        write_submission(mevis, pictures, tmp_path / "out.zip")
    with pytest.raises(SettingsError, match="1 of 1 expressions have no masks"):
        write_submission(mevis, tmp_path / "mevis", tmp_path / "out.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks", "mevis"]


def test_write_submission_without_server_raises(tmp_path):
    layouts.revos(tmp_path / "tree")
    with pytest.raises(SettingsError, match="score it with thinkseg score"):
        write_submission(open_benchmark("revos", tmp_path / "tree"), tmp_path, tmp_path / "out.zip")


def test_write_submission_missing_folder_raises(mevis, pictures, tmp_path):
    with pytest.raises(SettingsError, match="cannot write results"):
        write_submission(mevis, pictures, tmp_path / "none" / "out.zip")
