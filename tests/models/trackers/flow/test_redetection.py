"""Re-detection of a lost object on two drawn frames."""

import cv2
import numpy as np
import pytest

from thinkseg.models.trackers.flow.object_state import ObjectState
from thinkseg.models.trackers.flow.redetection import redetect
from thinkseg.models.trackers.flow.soft_mask import ScaledFrame, complete_mask

RED, BLUE = (210, 40, 40), (40, 60, 210)


def disc(x: int, left: tuple[int, int, int], right: tuple[int, int, int]) -> tuple[ScaledFrame, np.ndarray]:
    """A frame with a disc of two halves around (x, 40) on gray, and its mask."""
    mask = cv2.circle(np.zeros((80, 120), np.uint8), (x, 40), 14, 1, -1) > 0
    rgb = np.full((80, 120, 3), 128, np.uint8)
    rgb[mask] = left
    rgb[:, x:][mask[:, x:]] = right
    return ScaledFrame(rgb, (120, 80)), mask


@pytest.mark.parametrize(("ambiguity", "color", "found"), [(1.0, BLUE, True), (1.0, RED, False), (0.0, RED, True)])
def test_redetect_shape_with_half_of_the_colors_is_found_only_if_they_are_clear(
    ambiguity: float, color: tuple[int, int, int], found: bool
) -> None:
    state = ObjectState(*disc(50, RED, BLUE))
    state.ambiguity = ambiguity
    frame, mask = disc(56, RED, color)
    soft = redetect(state, frame, np.zeros(mask.shape, np.float32))
    assert (soft is not None) == found
    if soft is not None:
        again = complete_mask(soft, mask.shape)
        assert (again & mask).sum() / (again | mask).sum() > 0.8
    else:
        assert state.silhouette.center == pytest.approx((50, 40), abs=0.1)
