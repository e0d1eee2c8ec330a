import csv
from dataclasses import replace

import numpy as np

from thinkseg.types import VideoSample


def test_write_csv_has_a_row_per_visible_object(write, result):
    assert write(result, "csv").read_text().splitlines() == [
        "frame,time,object,x1,y1,x2,y2,area,confidence",
        "0,0.000000,1,1,1,3,3,4,",
        "0,0.000000,2,3,0,4,1,1,",
        "1,0.100000,2,0,0,4,4,9,",
        "2,0.200000,1,1,1,3,3,4,",
        "2,0.200000,2,0,0,4,4,9,",
    ]


def test_write_csv_has_confidence_and_no_unknown_times(write, result, film):
    sure = np.array([[0.5, 0, 1], [1, 0.25, 0.125]], np.float32)
    sample = VideoSample("film", film(3, (4, 4), fps=None), "it")
    path = write(replace(result, sample=sample, masklets=replace(result.masklets, confidence=sure)), "csv")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["time"], row["confidence"]) for row in rows[:2]] == [("", "0.5000"), ("", "1.0000")]


def test_write_npz_numpy_reads_all_masks(write, result, masks):
    with np.load(write(result, "npz")) as arrays:
        assert arrays["masks"].dtype == bool
        assert (arrays["masks"] == masks).all()
        assert arrays["boxes"][0, 0].tolist() == [1, 1, 3, 3]
        assert np.isnan(arrays["boxes"][0, 1]).all()
        assert arrays["times"].tolist() == [0.0, 0.1, 0.2]
        assert (str(arrays["query"]), int(arrays["keyframe"])) == ("both & <more>", 0)
        assert "confidence" not in arrays


def test_write_npz_no_target_has_no_objects(write, absent):
    with np.load(write(absent, "npz")) as arrays:
        assert (arrays["masks"].shape, arrays["boxes"].shape, int(arrays["keyframe"])) == ((0, 3, 4, 4), (0, 3, 4), -1)
