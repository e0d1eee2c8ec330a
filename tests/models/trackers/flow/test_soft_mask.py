import numpy as np

from thinkseg.models.trackers.flow.soft_mask import Picture, Soft, drop_strays, snap


def test_parts_where_nothing_was_expected_go_and_so_do_specks() -> None:
    values = np.full((12, 12), -1.0, np.float32)
    values[1:9, 1:5] = 1.0  # the object
    values[2:8, 8:11] = 1.0  # another thing
    values[11, 2] = 0.5  # a speck, beside it
    expected = np.zeros((12, 12), bool)
    expected[:, :5] = True
    soft = drop_strays(Soft((slice(0, 12), slice(0, 12)), values, values, np.zeros(())), expected)
    assert (soft.values[1:9, 1:5] == 1.0).all()
    assert (soft.values > 0).sum() == 8 * 4 + 1, "the speck is more than a fiftieth of the object"
    values[:, 0:1], values[1:11, 1:6] = -1.0, 1.0
    values[11], values[11, 8] = -1.0, 0.5
    expected[:] = True
    soft = drop_strays(soft, expected)
    assert soft.values[11, 8] == -1.0


def test_a_rigid_silhouette_is_left_as_it_was_drawn() -> None:
    rng = np.random.default_rng(0)
    picture = Picture(rng.integers(0, 256, (20, 30, 3), np.uint8), (30, 20))
    window = (slice(4, 16), slice(5, 25))
    raw = rng.normal(0, 1, (12, 20)).astype(np.float32)
    assert np.array_equal(snap(picture, window, raw, rigid=1.0).values, np.clip(raw, -1.5, 1.5))


def test_an_edge_goes_to_where_the_picture_has_it() -> None:
    """The evidence ends two pixels beside the edge between black and white."""
    rgb = np.zeros((24, 24, 3), np.uint8)
    rgb[:, 12:] = 255
    raw = np.ones((24, 24), np.float32)
    raw[:, :10] = -1.0
    values = snap(Picture(rgb, (24, 24)), (slice(0, 24), slice(0, 24)), raw).values
    off = (values[4:20] > 0) != (np.arange(24) >= 12)
    assert off.mean() < ((raw > 0) != (np.arange(24) >= 12)).mean()
