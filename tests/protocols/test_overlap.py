import numpy as np
import pytest

from thinkseg.protocols.overlap import ious


def test_large_objects_weigh_more_in_ciou():
    figures = ious(np.array([1, 90, 0]), np.array([2, 100, 0])).figures
    assert figures == pytest.approx({"gIoU": 100 * (0.5 + 0.9 + 1) / 3, "cIoU": 100 * 91 / 102})


def test_nothing_to_measure():
    assert ious(np.zeros(0), np.zeros(0)).figures == {"gIoU": None, "cIoU": None}
    assert ious(np.zeros(2), np.zeros(2)).figures == {"gIoU": 100, "cIoU": None}


def test_pairs_must_be_complete():
    with pytest.raises(ValueError, match="one intersection for each union"):
        ious(np.zeros(2), np.zeros(3))
