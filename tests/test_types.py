import numpy as np

from thinkseg.ops.masks import empty, from_stacks
from thinkseg.types import View

LEFT = np.array([[1, 1, 0, 0]] * 4, bool)
CORNER = np.array([[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
NOTHING = np.zeros((4, 4), bool)


def test_masklets_of_one_frame() -> None:
    masklets = from_stacks(np.array([[LEFT, CORNER], [NOTHING, CORNER]]))
    assert masklets.num_objects == 2
    assert (masklets.masks(0) == [LEFT, NOTHING]).all()
    assert (masklets.masks(1) == [CORNER, CORNER]).all()
    assert (masklets.union(0) == LEFT).all()
    assert [masklets.area(frame) for frame in (0, 1)] == [8, 1]
    assert masklets.boxes(0).tolist() == [[0, 0, 2, 4]]


def test_masklets_without_objects_have_a_size() -> None:
    assert empty((8, 6), 4).masks(2).shape == (0, 6, 8)


def test_view_overview_and_closeup_sizes() -> None:
    view = View(6, (56, 28))
    assert (view.overview.num_frames, view.overview.frame_wh) == (6, (56, 28))
    assert (view.closeup.num_frames, view.closeup.frame_wh) == (1, (112, 56))
    told = View(6, (56, 28), overview_wh=(28, 28), closeup_wh=(84, 84))
    assert told.overview.frame_wh == (28, 28)
    assert told.closeup.frame_wh == (84, 84)
