import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from thinkseg.data.shapes import episode
from thinkseg.train.tracklets import Tracklets

SIDE = 64


@pytest.mark.parametrize("count", [1, 4])
def test_an_item_is_an_object_with_its_box_and_its_masks(count: int) -> None:
    data = Tracklets(SIDE, count, offset=1_000, length=20)
    assert len(data) == 20
    for index in range(20):
        item = data[index]
        assert (item["frames"].dtype, tuple(item["frames"].shape)) == (torch.uint8, (count, 3, SIDE, SIDE))
        assert (item["masks"].dtype, tuple(item["masks"].shape)) == (torch.bool, (count, SIDE, SIDE))
        x1, y1, x2, y2 = item["box"].tolist()
        assert 0 <= x1 < x2 <= SIDE
        assert 0 <= y1 < y2 <= SIDE
        ys, xs = np.nonzero(item["masks"][0].numpy())
        true = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        sides = np.tile(true[2:] - true[:2], 2)
        # A quarter of a side, and the rounding of boxes of the source to the squares.
        assert (np.abs(item["box"].numpy() - true) <= 0.25 * sides + 2).all()


def test_items_are_a_pure_function_of_their_index() -> None:
    data, again = Tracklets(SIDE, 3, 5, 10), Tracklets(SIDE, 3, 5, 10)
    for index in (7, 2):
        assert all(torch.equal(data[index][name], again[index][name]) for name in ("frames", "masks", "box"))
    assert not torch.equal(data[7]["frames"], data[2]["frames"])


def test_an_object_is_there_at_first_and_may_go() -> None:
    data = Tracklets(SIDE, 4, 0, 60)
    items = [data[index] for index in range(60)]
    assert any(not item["masks"][-1].any() for item in items)
    assert all(item["masks"][0].any() for item in items)


def test_frames_lead_either_way() -> None:
    data = Tracklets(SIDE, 4, 0, 40)
    found = [data._indices(30, np.random.default_rng(seed)) for seed in range(40)]
    assert {tuple(np.sign(np.diff(indices))) for indices in found} == {(1, 1, 1), (-1, -1, -1)}
    assert {abs(indices[1] - indices[0]) for indices in found} == {1, 2, 4, 8}
    assert all(set(indices) <= set(range(30)) for indices in found)


def test_a_clip_shorter_than_what_is_shown_repeats_its_end() -> None:
    longest = max(episode("train", at).clip.num_frames for at in range(5))
    item = Tracklets(32, longest + 5, 0, 5)[0]
    assert item["masks"].shape[0] == longest + 5


def test_a_batch_is_stacked() -> None:
    data = Tracklets(SIDE, 2, 0, 4)
    batch = default_collate([data[0], data[1], data[2]])
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "frames": (3, 2, 3, SIDE, SIDE),
        "masks": (3, 2, SIDE, SIDE),
        "box": (3, 4),
    }
