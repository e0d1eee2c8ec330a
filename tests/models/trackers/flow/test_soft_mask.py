import numpy as np

from thinkseg.models.trackers.flow.soft_mask import ScaledFrame, SoftMask, drop_strays, snap_to_edges


def test_drop_strays_removes_unexpected_parts_and_specks() -> None:
    values = np.full((12, 12), -1.0, np.float32)
    values[1:9, 1:5] = 1.0  # the object
    values[2:8, 8:11] = 1.0  # another object
    values[11, 2] = 0.5  # a speck next to it
    expected = np.zeros((12, 12), bool)
    expected[:, :5] = True
    soft = drop_strays(SoftMask((slice(0, 12), slice(0, 12)), values, values, np.zeros(())), expected)
    assert (soft.values[1:9, 1:5] == 1.0).all()
    assert (soft.values > 0).sum() == 8 * 4 + 1, "the speck has more than 2 % of the object"
    values[:, 0:1], values[1:11, 1:6] = -1.0, 1.0
    values[11], values[11, 8] = -1.0, 0.5
    expected[:] = True
    soft = drop_strays(soft, expected)
    assert soft.values[11, 8] == -1.0


def test_snap_to_edges_rigid_silhouette_is_unchanged() -> None:
    rng = np.random.default_rng(0)
    frame = ScaledFrame(rng.integers(0, 256, (20, 30, 3), np.uint8), (30, 20))
    window = (slice(4, 16), slice(5, 25))
    evidence = rng.normal(0, 1, (12, 20)).astype(np.float32)
    assert np.array_equal(snap_to_edges(frame, window, evidence, rigidity=1.0).values, np.clip(evidence, -1.5, 1.5))


def test_snap_to_edges_moves_edge_to_image_edge() -> None:
    """The evidence ends two pixels from the edge between black and white."""
    rgb = np.zeros((24, 24, 3), np.uint8)
    rgb[:, 12:] = 255
    evidence = np.ones((24, 24), np.float32)
    evidence[:, :10] = -1.0
    values = snap_to_edges(ScaledFrame(rgb, (24, 24)), (slice(0, 24), slice(0, 24)), evidence).values
    off = (values[4:20] > 0) != (np.arange(24) >= 12)
    assert off.mean() < ((evidence > 0) != (np.arange(24) >= 12)).mean()
