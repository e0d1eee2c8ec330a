import json
from dataclasses import replace

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from thinkseg.report.formats.coco import coco_of


def test_write_coco_pycocotools_reads_the_same_masks(write, result, masks):
    coco = COCO(write(result, "coco"))
    assert coco.loadCats(coco.getCatIds()) == [{"id": 1, "name": "both & <more>"}]
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    seen = np.zeros_like(masks)
    for annotation in coco.loadAnns(coco.getAnnIds()):
        seen[annotation["track_id"] - 1, annotation["image_id"] - 1] = coco.annToMask(annotation)
    assert (seen == masks).all()


def test_write_coco_boxes_and_areas_are_those_of_the_masks(write, result):
    annotations = json.loads(write(result, "coco").read_text())["annotations"]
    assert [(a["id"], a["image_id"], a["track_id"]) for a in annotations] == [
        *((1, 1, 1), (2, 1, 2), (3, 2, 2), (4, 3, 1), (5, 3, 2)),
    ]
    assert [(a["bbox"], a["area"]) for a in annotations[:3]] == [
        ([1, 1, 2, 2], 4),
        ([3, 0, 1, 1], 1),
        ([0, 0, 4, 4], 9),
    ]
    assert "score" not in annotations[0]


def test_coco_of_equals_the_file_and_has_scores_of_the_tracker(write, result):
    sure = np.array([[0.5, 0, 1], [1, 0.25, 0.125]], np.float32)
    certain = replace(result, masklets=replace(result.masklets, confidence=sure))
    assert [a["score"] for a in coco_of(certain)["annotations"]] == [0.5, 1, 0.25, 1, 0.125]
    assert json.loads(write(certain, "coco").read_text()) == coco_of(certain)


def test_write_ytvis_has_a_track_per_object_and_null_where_it_is_hidden(write, result, masks):
    content = json.loads(write(result, "ytvis").read_text())
    (video,) = content["videos"]
    assert (video["length"], video["file_names"][2]) == (3, "film/00002.jpg")
    square, other = content["annotations"]
    assert [rle is None for rle in square["segmentations"]] == [False, True, False]
    assert (square["bboxes"], square["areas"]) == ([[1, 1, 2, 2], None, [1, 1, 2, 2]], [4, None, 4])
    decoded = [coco_mask.decode(coco_mask.frPyObjects(rle, 4, 4)) for rle in other["segmentations"]]
    assert (np.array(decoded) == masks[1]).all()


@pytest.mark.parametrize("name", ["coco", "ytvis"])
def test_write_no_target_has_no_annotations(write, absent, name):
    assert json.loads(write(absent, name).read_text())["annotations"] == []


def test_supervision_reads_coco(write, result, masks):
    supervision = pytest.importorskip("supervision")
    path = write(result, "coco")
    for number in range(3):
        from PIL import Image

        Image.new("RGB", (4, 4)).save(path.parent / f"{number:05d}.jpg")
    data = supervision.DetectionDataset.from_coco(str(path.parent), str(path), force_masks=True)
    assert data.classes == ["both & <more>"]
    for number, (_, _, found) in enumerate(data):
        assert (found.mask == [one for one in masks[:, number] if one.any()]).all()


def test_trackeval_scores_ytvis_against_itself_as_perfect(write, result, tmp_path):
    trackeval = pytest.importorskip("trackeval")
    path = write(result, "ytvis")
    truth, tracks = tmp_path / "youtube_vis_val", tmp_path / "predicted" / "youtube_vis_val" / "thinkseg" / "data"
    truth.mkdir()
    tracks.mkdir(parents=True)
    path.rename(truth / "ytvis.json")
    found = json.loads((truth / "ytvis.json").read_text())["annotations"]
    for track in found:
        rles = [rle and coco_mask.frPyObjects(rle, 4, 4) for rle in track["segmentations"]]
        track["segmentations"] = [rle and {**rle, "counts": rle["counts"].decode()} for rle in rles]
    (tracks / "tracks.json").write_text(json.dumps([{**track, "score": 1.0} for track in found]))
    folders = {"GT_FOLDER": f"{tmp_path}/", "TRACKERS_FOLDER": f"{tmp_path / 'predicted'}/", "SPLIT_TO_EVAL": "val"}
    data = trackeval.datasets.YouTubeVIS({**folders, "PRINT_CONFIG": False})
    raw = data.get_raw_seq_data("thinkseg", "film")
    scores = trackeval.metrics.HOTA().eval_sequence(data.get_preprocessed_seq_data(raw, "both & <more>"))
    assert scores["HOTA"].tolist() == pytest.approx([1] * 19)
