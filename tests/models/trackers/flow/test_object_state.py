"""How long pixels have been an object's."""

import numpy as np
import pytest

from thinkseg.models.trackers.flow.object_state import TENURE_RATE, ObjectState
from thinkseg.models.trackers.flow.soft_mask import ScaledFrame


def test_settle_mask_that_moves_on_counts_new_pixels_little() -> None:
    rgb = np.full((16, 16, 3), 128, np.uint8)
    rgb[4:8, 4:8] = 200, 40, 40
    mask, moved, away = (np.zeros((16, 16), bool) for _ in range(3))
    mask[4:8, 4:8] = moved[4:8, 6:10] = away[10:14, 4:8] = True
    state = ObjectState(ScaledFrame(rgb, (16, 16)), mask)
    assert [state.settled_share(one) for one in (mask, moved, away)] == [1.0, 0.5, 0.0]
    state.settle(moved)
    assert state.settled_share(moved) == pytest.approx(0.5 + 0.5 * TENURE_RATE)
    assert state.settled_share(mask) == 0.5
    assert state.tenure.dtype == np.float32
