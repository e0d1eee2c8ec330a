from dataclasses import replace

import cv2
import numpy as np
import pytest

from thinkseg.data.shapes import episode, episode_masklets
from thinkseg.data.shapes.render import ShapesVideo, corners, full_area, label_map, visible_boxes
from thinkseg.data.shapes.simulation import COLORS, FPS, Clip

SIZE = (224, 224)


def square_clip(*middles: tuple[float, float], half: float = 0.2) -> Clip:
    """Upright squares in one frame, the last one closest to the camera."""
    count = len(middles)
    return Clip(
        ("red", "blue", "green")[:count],
        ("square",) * count,
        ("still",) * count,
        np.array(middles)[:, None, :],
        np.full((count, 1), half / (1.1 * np.cos(np.pi / 4))),
        np.zeros((count, 1)),
        None,
        0,
    )


def drawn(clip: Clip, size_wh: tuple[int, int]) -> np.ndarray:
    return label_map(corners(clip, size_wh), 0, size_wh)


def test_label_map_square_matches_manual_mask() -> None:
    """0.3 to 0.7 of 20 pixels: pixels 6 to 13."""
    expected = np.zeros((20, 20), np.uint8)
    expected[6:14, 6:14] = 1
    assert (drawn(square_clip((0.5, 0.5)), (20, 20)) == expected).mean() > 0.9
    boxes, areas = visible_boxes(drawn(square_clip((0.5, 0.5)), (200, 100)), 1)
    assert np.abs(boxes - [[60, 30, 140, 70]]).max() <= 1
    assert areas[0] == pytest.approx(80 * 40, rel=0.05)


def test_label_map_closer_object_occludes() -> None:
    labels = drawn(square_clip((0.4, 0.5), (0.6, 0.5)), (100, 100))
    assert labels[50, 30] == 1
    assert labels[50, 50] == labels[50, 70] == 2
    boxes, areas = visible_boxes(labels, 2)
    assert areas[0] < 0.55 * areas[1]
    assert boxes[0, 2] == boxes[1, 0]


def test_visible_boxes_hidden_objects_are_zero() -> None:
    labels = drawn(square_clip((0.5, 0.5), (0.5, 0.5), (2.0, 0.5)), (100, 100))
    boxes, areas = visible_boxes(labels, 3)
    assert areas[0] == areas[2] == 0
    assert boxes[[0, 2]].tolist() == [[0] * 4] * 2
    assert areas[1] > 0


def test_visible_boxes_are_tight() -> None:
    for index in range(5):
        one = episode("train", index)
        outlines = corners(one.clip, (90, 60))
        for frame in (0, one.clip.num_frames - 1):
            labels = label_map(outlines, frame, (90, 60))
            boxes, areas = visible_boxes(labels, one.clip.num_objects)
            for obj in range(one.clip.num_objects):
                ys, xs = np.nonzero(labels == obj + 1)
                assert len(xs) == areas[obj]
                if len(xs):
                    assert boxes[obj].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


def test_full_area_equals_polygon_area() -> None:
    clip = square_clip((0.5, 0.5))
    assert full_area(corners(clip, (100, 100))[0]) == pytest.approx(1600, rel=0.01)


def test_episode_masklets_match_label_maps() -> None:
    """The masks of all objects are disjoint and cover every pixel that is not background."""
    one = episode("val", 3)
    everything = episode_masklets(one.clip, range(one.clip.num_objects), (120, 80))
    outlines = corners(one.clip, (120, 80))
    for frame in range(0, one.clip.num_frames, 5):
        masks = np.stack([everything.mask(frame, obj) for obj in range(everything.num_objects)])
        assert masks.sum(0).max() <= 1
        assert np.array_equal(masks.any(0), label_map(outlines, frame, (120, 80)) > 0)


def without(clip: Clip, objects: list[int]) -> Clip:
    """The clip with some objects moved far outside; noise and light are unchanged."""
    xy = clip.xy.copy()
    xy[objects] = 50.0
    return replace(clip, xy=xy)


@pytest.mark.parametrize("index", range(2))
def test_shapes_video_pixels_match_masks(index: int) -> None:
    """Removing an object changes the image only inside its mask and its one-pixel outline."""
    clip = episode("val", index).clip
    video, outlines = ShapesVideo(clip, SIZE, "a"), corners(clip, SIZE)
    for frame in (0, clip.num_frames // 2, clip.num_frames - 1):
        labels = label_map(outlines, frame, SIZE)
        for obj in range(clip.num_objects):
            other = ShapesVideo(without(clip, [obj]), SIZE, "b")[frame]
            changed = (video[frame] != other).any(-1)
            # The outline can be visible next to an occluder, so the check excludes the full object.
            whole = label_map([outlines[obj]], frame, SIZE)
            assert not changed[cv2.dilate(whole, np.ones((7, 7))) == 0].any()
            mask = (labels == obj + 1).astype(np.uint8)
            inside = cv2.erode(mask, np.ones((5, 5))) > 0
            if inside.sum() > 50:
                # Some pixels keep their color by chance, or because an object of that color is behind.
                assert changed[inside].mean() > 0.9


def test_shapes_video_objects_have_named_colors() -> None:
    """The nearest palette color of most pixels in a mask, after normalizing brightness."""
    palette = np.array(list(COLORS.values()), float)
    palette /= np.linalg.norm(palette, axis=1, keepdims=True)
    right = []
    for index in range(12):
        clip = episode("train", index).clip
        frame = ShapesVideo(clip, SIZE, "a")[clip.num_frames // 2].astype(float)
        labels = label_map(corners(clip, SIZE), clip.num_frames // 2, SIZE)
        for obj, color in enumerate(clip.colors):
            mask = cv2.erode((labels == obj + 1).astype(np.uint8), np.ones((5, 5))) > 0
            if mask.sum() < 150:
                continue
            seen = frame[mask] / np.linalg.norm(frame[mask], axis=1, keepdims=True)
            nearest = (seen @ palette.T).argmax(1)
            right.append(np.bincount(nearest, minlength=len(COLORS)).argmax() == list(COLORS).index(color))
    assert len(right) > 25
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("size_wh", [(224, 224), (112, 84), (301, 199), (28, 28)])
def test_shapes_video_any_size_renders(size_wh: tuple[int, int]) -> None:
    clip = episode("val", 0).clip
    video = ShapesVideo(clip, size_wh, "clip")
    assert (video.size_wh, video.name, len(video), video.fps) == (size_wh, "clip", clip.num_frames, FPS)
    assert video[3].shape == (*size_wh[::-1], 3)
    assert video[3].dtype == np.uint8


def test_shapes_video_access_order_does_not_change_frames() -> None:
    clip = episode("val", 1).clip
    one, other = ShapesVideo(clip, (64, 48), "a"), ShapesVideo(clip, (64, 48), "b")
    backwards = {index: one[index] for index in reversed(range(len(one)))}
    for index, frame in enumerate(other.read(range(len(other)))):
        assert np.array_equal(frame, backwards[index])


def test_shapes_video_noise_differs_per_frame() -> None:
    """Also without motion, so that the background does not identify a frame."""
    video = ShapesVideo(square_clip((0.5, 0.5)), (64, 64), "a")
    moving = replace(
        square_clip((0.5, 0.5)), xy=np.full((1, 2, 2), 0.5), radius=np.full((1, 2), 0.2), angle=np.zeros((1, 2))
    )
    first, second = ShapesVideo(moving, (64, 64), "a").read([0, 1])
    assert not np.array_equal(first, second)
    assert np.abs(first.astype(int) - second).mean() < 12
    assert len(video) == 1


@pytest.mark.parametrize("index", [-1, 1, 99])
def test_shapes_video_index_out_of_range_raises(index: int) -> None:
    with pytest.raises(IndexError, match=r"the clip has frames 0\.\.0"):
        ShapesVideo(square_clip((0.5, 0.5)), (64, 64), "a")[index]


def test_shapes_video_times_follow_fps() -> None:
    video = ShapesVideo(episode("val", 0).clip, (8, 8), "a")
    assert [video.time_of(i) for i in (0, 6, 12)] == [0.0, 0.5, 1.0]
