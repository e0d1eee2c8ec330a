import cv2
import numpy as np
import pytest

from thinkseg.models.trackers.flow.points_to_mask import points_to_mask, refined_by_points

WIDTH, HEIGHT = 120, 90
RED, BLUE = (205, 45, 40), (40, 60, 190)


def picture() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red disc that touches a blue square, on noisy gray: uint8 (H, W, 3), and both masks."""
    image = np.random.default_rng(0).integers(110, 130, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    disc, square = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    cv2.circle(disc, (40, 45), 18, 1, cv2.FILLED)
    cv2.rectangle(square, (58, 30), (90, 60), 1, cv2.FILLED)
    image[square > 0], image[disc > 0] = BLUE, RED
    return image, disc > 0, (square > 0) & (disc == 0)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_points_to_mask_grows_from_a_point_to_the_edges() -> None:
    image, disc, square = picture()
    for truth, point in ((disc, (36, 45)), (square, (75, 45))):
        mask = points_to_mask(image, np.array([point], np.float32), np.ones(1, int))
        assert (mask.dtype, mask.shape) == (bool, (HEIGHT, WIDTH))
        assert iou(mask, truth) > 0.9


def test_points_to_mask_negative_point_excludes_what_positive_points_span() -> None:
    image, disc, square = picture()
    points = np.array([(36, 45), (75, 45)], np.float32)
    both = points_to_mask(image, points, np.array([1, 1]))
    one = points_to_mask(image, points, np.array([1, 0]))
    assert iou(both, disc | square) > 0.9
    assert iou(one, disc) > 0.9


@pytest.mark.parametrize("size_wh", [(1, 1), (4, 4), (7, 300)])
def test_points_to_mask_tiny_or_even_frame_has_the_point(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    image, point = np.full((height, width, 3), 90, np.uint8), np.array([[width - 0.5, height - 0.5]], np.float32)
    mask = points_to_mask(image, point, np.ones(1, int), np.zeros((height, width), np.float32))
    assert mask[height - 1, width - 1]


def test_points_to_mask_motion_joins_parts_of_other_colors() -> None:
    """The red disc and the blue square move together."""
    image, disc, square = picture()
    speed = np.where(disc | square, 3, 0).astype(np.float32)
    point = np.array([(36, 45)], np.float32)
    assert iou(points_to_mask(image, point, np.ones(1, int), speed), disc | square) > 0.9


def test_refined_by_points_agreeing_points_change_nothing() -> None:
    image, disc, _ = picture()
    points = np.array([(40, 45), (75, 45)], np.float32)
    assert np.array_equal(refined_by_points(image, disc, points, np.array([1, 0])), disc)


def test_refined_by_points_other_points_add_and_remove_parts() -> None:
    image, disc, square = picture()
    points = np.array([(40, 45), (75, 45)], np.float32)
    less = refined_by_points(image, disc | square, points, np.array([1, 0]))
    assert iou(less, disc) > 0.85
    more = refined_by_points(image, disc, points, np.array([1, 1]))
    assert more[45, 75]
    assert (more & disc).sum() > 0.9 * disc.sum()
