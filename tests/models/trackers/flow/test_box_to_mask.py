"""Masks from boxes on images that the tests draw."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinkseg.data.shapes import load
from thinkseg.errors import SettingsError
from thinkseg.models.trackers.base import check_boxes
from thinkseg.models.trackers.flow.box_to_mask import _best, box_to_mask

WIDTH, HEIGHT = 128, 96
RED = (200, 40, 50)
STAR = [(64, 12), (72, 40), (100, 42), (77, 58), (86, 86), (64, 69), (42, 86), (51, 58), (28, 42), (56, 40)]


def scenery() -> np.ndarray:
    """A soft gray-green background, float32 (HEIGHT, WIDTH, 3)."""
    coarse = np.random.default_rng(1).uniform(90, 150, (7, 9, 3)) * (0.9, 1.1, 0.8)
    return np.clip(cv2.resize(coarse.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), 0, 255)


def polygon(corners: list[tuple[int, int]]) -> np.ndarray:
    solid = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(solid, [np.array(corners)], 1)
    return solid > 0


def iou_of_mask(rgb: np.ndarray, truth: np.ndarray) -> float:
    """IoU of the mask from the object's own box, with some noise over the image."""
    noisy = np.clip(rgb + np.random.default_rng(0).normal(0, 5, rgb.shape), 0, 255).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(truth.astype(np.uint8))
    mask = box_to_mask(noisy, np.array([x, y, x + width, y + height], np.float32))
    return float((mask & truth).sum() / (mask | truth).sum())


@settings(max_examples=15)
@given(
    corners=st.tuples(st.floats(-20, 60), st.floats(-20, 60), st.floats(0.01, 90), st.floats(0.01, 90)),
    seed=st.integers(0, 5),
)
def test_box_to_mask_any_box_returns_mask_inside(corners: tuple[float, float, float, float], seed: int) -> None:
    rgb = cv2.resize(np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8), (48, 36))
    x, y, width, height = corners
    box = np.array([x, y, x + width, y + height], np.float32)
    try:
        box = check_boxes(box[None], (48, 36))[0]
    except SettingsError:
        return
    mask = box_to_mask(rgb, box)
    ys, xs = np.nonzero(mask)
    assert len(xs)
    assert xs.min() >= np.floor(box[0]) - 1
    assert ys.min() >= np.floor(box[1]) - 1
    assert xs.max() <= box[2] + 1
    assert ys.max() <= box[3] + 1


@pytest.mark.parametrize("shape", ["bar", "star", "border"])
def test_box_to_mask_difficult_shape_has_high_iou(shape: str) -> None:
    corners = {
        "bar": [(20, 20), (25, 16), (95, 70), (90, 75)],
        "star": STAR,
        "border": [(0, 30), (40, 20), (50, 95), (0, 95)],
    }[shape]
    truth = polygon(corners)
    rgb = scenery()
    rgb[truth] = RED
    assert iou_of_mask(rgb, truth) > 0.93


def test_box_to_mask_dark_outline_returns_complete_object() -> None:
    """Background of nearly the star's red along one side, so that the black outline is most distinct."""
    truth = polygon(STAR)
    rgb = scenery()
    rgb[polygon([(64, 0), (128, 0), (128, 96), (100, 42), (64, 12)])] = (185, 45, 52)
    rgb[truth] = RED
    cv2.polylines(rgb, [np.array(STAR)], True, (20, 20, 20), 2)
    assert iou_of_mask(rgb, truth) > 0.9


@pytest.mark.parametrize(("index", "frame", "least"), [(6, 36, 0.95), (32, 27, 0.9)])
def test_box_to_mask_shapes_clip_prefers_mask_along_edges(index: int, frame: int, least: float) -> None:
    """Two clips of the shapes world where another mask, with an IoU below 0.7, wins without the edge term."""
    sample = load("val", index)
    assert sample.truth is not None
    truth = sample.truth.mask(frame, 0)
    mask = box_to_mask(sample.video[frame], sample.truth.boxes(frame)[0])
    assert (mask & truth).sum() / (mask | truth).sum() > least


def test_box_to_mask_ground_of_the_objects_color_is_told_by_motion() -> None:
    rgb = np.random.default_rng(0).integers(90, 130, (60, 80, 3), np.uint8)
    ys, xs = np.mgrid[:60, :80]
    disc = (xs - 34) ** 2 + (ys - 30) ** 2 <= 15**2
    rgb[disc | (xs >= 46)] += 40
    box = np.array([19, 15, 66, 46], np.float32)
    speed = np.where(disc, 4, 0.1).astype(np.float32)
    without, mask = box_to_mask(rgb, box), box_to_mask(rgb, box, speed)
    assert (without & disc).sum() / (without | disc).sum() < 0.7
    assert (mask & disc).sum() / (mask | disc).sum() > 0.8


def test_best_candidate_outside_box_is_dropped() -> None:
    """A candidate may grow into the slack around a box, and may lie only there."""
    inside, beside, within = np.zeros((3, 8, 8), bool)
    inside[2:6, 2:6] = beside[2:6, 6] = within[3:5, 3:5] = True
    image = np.zeros((8, 8, 3), np.uint8)
    image[within] = RED
    bins = within.astype(np.intp)
    assert np.array_equal(_best(image, bins, [beside], inside), inside)
    assert np.array_equal(_best(image, bins, [beside, within], inside), _best(image, bins, [within], inside))
