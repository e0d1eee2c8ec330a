"""Speed against the camera, and the evidence of motion drawn from it."""

import numpy as np

from thinkseg.models.trackers.flow.camera_motion import motion_cue, speed_against_camera

HEIGHT, WIDTH = 96, 128
OBJECT = np.zeros((HEIGHT, WIDTH), bool)
OBJECT[30:60, 40:80] = True


def panned(object_step: tuple[float, float]) -> np.ndarray:
    """A source map of a camera that turns and zooms a little, and of an object that moves by `object_step` besides."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    source = np.dstack([1.01 * columns - 0.02 * rows + 3, 0.02 * columns + 1.01 * rows - 2])
    source[OBJECT] += np.float32(object_step)
    return source.astype(np.float32)


def test_speed_against_camera_moving_camera_only_object_is_fast() -> None:
    speed = speed_against_camera(panned((3, 4)), OBJECT)
    assert np.allclose(speed[OBJECT], 5, atol=0.01)
    assert speed[~OBJECT].max() < 0.01


def test_speed_against_camera_other_moving_things_are_no_background() -> None:
    source = panned((3, 4))
    source[70:90, 90:120] += 6
    speed = speed_against_camera(source, OBJECT)
    assert np.allclose(speed[OBJECT], 5, atol=0.05)
    assert speed[70:90, 90:120].min() > 8


def test_speed_against_camera_without_background_is_zero() -> None:
    assert not speed_against_camera(panned((3, 4)), np.ones((HEIGHT, WIDTH), bool)).any()


def test_motion_cue_fast_object_is_reliable_evidence() -> None:
    cue = motion_cue(np.where(OBJECT, 5.0, 0.1).astype(np.float32), OBJECT)
    assert cue.reliability == 1
    assert cue.evidence[OBJECT].min() > 0.7
    assert cue.evidence[~OBJECT].max() == -1
    assert np.isclose(cue.difference, 4.9)


def test_motion_cue_resting_object_is_no_evidence() -> None:
    assert motion_cue(np.full((HEIGHT, WIDTH), 2, np.float32), OBJECT).reliability == 0
    assert motion_cue(np.full((HEIGHT, WIDTH), 2, np.float32), np.ones((HEIGHT, WIDTH), bool)).reliability == 0
