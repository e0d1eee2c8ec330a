"""The mean IoU of tracked true boxes."""

import numpy as np
import pytest

import layouts
from layouts import LEFT, LOW, NOTHING
from thinkseg.data import open_benchmark
from thinkseg.errors import SettingsError
from thinkseg.ops.masks import from_stacks
from thinkseg.selection.trackable import TargetTracker, mean_ious, tracked_iou


@pytest.fixture
def revos(tmp_path):
    layouts.revos(tmp_path / "tree")
    return open_benchmark("revos", tmp_path / "tree")


def with_targets(benchmark):
    return [one for one in benchmark.expressions if one.objects]


def test_tracked_iou_is_mean_over_annotated_frames(film, box_tracker):
    truth = from_stacks(np.array([[LEFT, LOW, NOTHING]]))
    video = film(3, layouts.SIZE_WH)
    # The largest target is that of frame 1, whose box the tracker keeps in all frames.
    assert tracked_iou(video, truth, (0, 1, 2), box_tracker) == (1, pytest.approx(1 / 3))
    assert tracked_iou(video, truth, (0,), box_tracker) == (0, 1.0)
    assert tracked_iou(video, truth, (2,), box_tracker) == (None, 0.0)


def test_mean_ious_of_each_expression(revos, box_tracker, tmp_path):
    done = []
    found = mean_ious(TargetTracker(revos, box_tracker), revos, with_targets(revos), tmp_path / "out", done.append)
    assert found["solo/0"] == 1.0
    assert found["lvos/clip/0"] == pytest.approx(2 / 3)  # the third frame has no target
    assert done == [1, 2, 3]


def test_mean_ious_resumes_and_extends(revos, box_tracker, tmp_path):
    class Broken:
        name = box_tracker.name

        def track(self, *_):
            raise AssertionError("tracked again")

    first = mean_ious(TargetTracker(revos, box_tracker), revos, with_targets(revos)[:2], tmp_path / "out")
    assert mean_ious(TargetTracker(revos, Broken()), revos, with_targets(revos)[:2], tmp_path / "out") == first
    with pytest.raises(AssertionError, match="tracked again"):
        mean_ious(TargetTracker(revos, Broken()), revos, with_targets(revos), tmp_path / "out")
    assert mean_ious(TargetTracker(revos, box_tracker), revos, with_targets(revos), tmp_path / "out")["solo/0"] == 1.0


def test_mean_ious_of_another_tracker_raises(revos, box_tracker, tmp_path):
    mean_ious(TargetTracker(revos, box_tracker), revos, with_targets(revos), tmp_path / "out")
    box_tracker.fingerprint = {"model.safetensors": "new"}
    with pytest.raises(SettingsError, match="tracker"):
        mean_ious(TargetTracker(revos, box_tracker), revos, with_targets(revos), tmp_path / "out")


def test_mean_ious_same_targets_are_tracked_once(revos, box_tracker, tmp_path):
    mean_ious(
        TargetTracker(revos, box_tracker),
        revos,
        [one for one in revos.expressions if one.key == "solo/0"] * 2,
        tmp_path / "out",
    )
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == 1
