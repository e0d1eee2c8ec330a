"""The flow tracker on small clips that the tests draw."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from thinkseg.errors import SettingsError
from thinkseg.models.trackers.flow.silhouette import Silhouette, outline_of
from thinkseg.models.trackers.flow.soft_mask import SoftMask
from thinkseg.models.trackers.flow.tracker import FlowTracker, _reaches, assign_pixels
from thinkseg.ops.masks import decode
from thinkseg.ops.video import ArrayFrames
from thinkseg.types import Masklets, ObjectPrompt

WIDTH, HEIGHT = 128, 96


def scenery(size_wh: tuple[int, int] = (WIDTH, HEIGHT)) -> np.ndarray:
    """A soft gray-green background with texture."""
    rng = np.random.default_rng(1)
    coarse = rng.uniform(90, 150, (7, 9, 3)).astype(np.float32) * (0.9, 1.1, 0.8)
    return np.clip(cv2.resize(coarse.astype(np.float32), size_wh, interpolation=cv2.INTER_CUBIC), 0, 255)


class Scene:
    """Discs drawn in order over the scenery, then a bar over all; stores the visible mask of every disc."""

    def __init__(self, size_wh: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
        self.size_wh = size_wh
        self.frames: list[np.ndarray] = []
        self.truth: list[list[np.ndarray]] = []

    def add_frame(
        self, discs: Sequence[tuple[float, float, float, tuple[int, int, int]]], bar: tuple[int, int] | None = None
    ) -> None:
        """discs: (x, y, radius, color). bar: first and last column, dark blue, over the full height."""
        image = scenery(self.size_wh)
        ys, xs = np.mgrid[: self.size_wh[1], : self.size_wh[0]]
        masks = []
        for x, y, radius, color in discs:
            mask = (xs - x) ** 2 + (ys - y) ** 2 <= radius**2
            stripes = 12 * np.sin((xs - x)[mask] / 2)[:, None]
            image[mask] = np.array(color) + stripes
            masks = [earlier & ~mask for earlier in masks] + [mask]
        if bar is not None:
            image[:, bar[0] : bar[1]] = (30, 40, 120)
            for mask in masks:
                mask[:, bar[0] : bar[1]] = False
        noise = np.random.default_rng(len(self.frames)).normal(0, 4, image.shape)
        self.frames.append(np.clip(image + noise, 0, 255).astype(np.uint8))
        self.truth.append(masks)

    def video(self) -> ArrayFrames:
        return ArrayFrames(np.stack(self.frames), fps=10.0)

    def box(self, frame: int, disc: int = 0) -> tuple[int, int, int, int]:
        ys, xs = np.nonzero(self.truth[frame][disc])
        return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1

    def iou(self, tracked: Masklets, frame: int, obj: int = 0) -> float:
        mask, truth = tracked.mask(frame, obj), self.truth[frame][obj]
        return float((mask & truth).sum() / (mask | truth).sum()) if (mask | truth).any() else 1.0


RED, ORANGE = (205, 45, 40), (230, 130, 30)


def test_track_moving_disc_both_directions_has_high_iou() -> None:
    scene = Scene()
    for step in range(12):
        scene.add_frame([(25 + 6 * step, 40 + 2 * step, 14, RED)])
    tracked = FlowTracker().track(scene.video(), 6, np.array([scene.box(6)], np.float32))
    assert (tracked.size_wh, tracked.num_frames, tracked.num_objects) == ((WIDTH, HEIGHT), 12, 1)
    assert min(scene.iou(tracked, frame) for frame in range(12)) > 0.9


def test_track_growing_disc_has_high_iou() -> None:
    scene = Scene()
    for step in range(12):
        scene.add_frame([(60, 48, 10 + 2 * step, RED)])
    tracked = FlowTracker().track(scene.video(), 0, np.array([scene.box(0)], np.float32))
    assert min(scene.iou(tracked, frame) for frame in range(12)) > 0.85


def test_track_disc_behind_bar_is_empty_then_redetected() -> None:
    scene = Scene()
    for step in range(18):
        scene.add_frame([(16 + 6 * step, 48, 9, RED)], bar=(54, 80))
    hidden = [frame for frame in range(18) if not scene.truth[frame][0].any()]
    tracked = FlowTracker().track(scene.video(), 2, np.array([scene.box(2)], np.float32))
    assert hidden
    assert all(tracked.rles[0][frame] is None for frame in hidden)
    fully_visible = [f for f in range(18) if scene.truth[f][0].sum() > 0.95 * scene.truth[2][0].sum()]
    assert min(scene.iou(tracked, frame) for frame in fully_visible) > 0.7
    assert scene.iou(tracked, 17) > 0.95


def test_track_disc_of_clear_color_behind_bar_has_confidence_in_every_frame() -> None:
    scene = Scene()
    for x in range(20, 110, 6):
        scene.add_frame([(x, 48, 12, RED)], bar=(52, 82))
    tracked = FlowTracker().track(scene.video(), 0, np.array([scene.box(0)], np.float32))
    assert tracked.confidence is not None
    confidence, seen = tracked.confidence[0], tracked.seen(0)
    assert confidence[0] == 1
    assert not seen.all()
    assert confidence[seen].min() >= 0.5
    assert confidence[~seen].max() <= 0.5


def test_track_disc_leaves_frame_is_redetected() -> None:
    scene = Scene()
    for step in range(20):
        scene.add_frame([(100 + (6 * step if step < 10 else 6 * (19 - step)), 50, 12, RED)])
    gone = [frame for frame in range(20) if not scene.truth[frame][0].any()]
    tracked = FlowTracker().track(scene.video(), 0, np.array([scene.box(0)], np.float32))
    assert gone
    assert all(tracked.rles[0][frame] is None for frame in gone)
    assert scene.iou(tracked, 19) > 0.85


def test_track_disc_leaves_frame_ignores_similar_neighbor() -> None:
    scene = Scene()
    for step in range(12):
        scene.add_frame([(96 + 5 * step, 25, 11, RED), (50, 70, 11, RED)])
    tracked = FlowTracker().track(scene.video(), 0, np.array([scene.box(0)], np.float32))
    assert not scene.truth[11][0].any()
    assert tracked.rles[0][11] is None


def test_track_crossing_objects_keeps_identities() -> None:
    scene = Scene()
    for step in range(14):
        scene.add_frame([(25 + 6 * step, 45, 12, RED), (105 - 6 * step, 52, 12, ORANGE)])
    boxes = np.array([scene.box(0, 0), scene.box(0, 1)], np.float32)
    tracked = FlowTracker().track(scene.video(), 0, boxes)
    for frame in range(14):
        assert not (tracked.mask(frame, 0) & tracked.mask(frame, 1)).any()
    assert scene.iou(tracked, 13, 0) > 0.8
    assert scene.iou(tracked, 13, 1) > 0.8


def test_track_large_frames_returns_masks_at_source_size() -> None:
    scene = Scene((640, 360))
    for step in range(4):
        scene.add_frame([(200 + 12 * step, 180, 60, RED)])
    tracked = FlowTracker(working_side=240).track(scene.video(), 0, np.array([scene.box(0)], np.float32))
    assert tracked.mask(3, 0).shape == (360, 640)
    assert min(scene.iou(tracked, frame) for frame in range(4)) > 0.93


def test_track_twice_returns_equal_masks() -> None:
    scene = Scene()
    for step in range(5):
        scene.add_frame([(40 + 5 * step, 48, 12, RED)])
    box = np.array([scene.box(2)], np.float32)
    cv2.setRNGSeed(99)
    first = FlowTracker().track(scene.video(), 2, box)
    cv2.setRNGSeed(7)
    assert FlowTracker().track(scene.video(), 2, box).rles == first.rles


def test_track_progress_ends_with_last_frame() -> None:
    scene = Scene()
    for _ in range(4):
        scene.add_frame([(40, 48, 12, RED)])
    calls: list[tuple[int, int]] = []
    FlowTracker().track(scene.video(), 1, np.array([scene.box(1)], np.float32), lambda *call: calls.append(call))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_track_without_boxes_returns_no_objects() -> None:
    scene = Scene()
    scene.add_frame([])
    tracked = FlowTracker().track(scene.video(), 0, np.zeros((0, 4), np.float32))
    assert (tracked.num_objects, tracked.num_frames) == (0, 1)


@pytest.mark.parametrize("keyframe", [-1, 1, 10**9])
def test_track_keyframe_outside_video_raises(keyframe: int) -> None:
    scene = Scene()
    scene.add_frame([(40, 48, 12, RED)])
    with pytest.raises(SettingsError, match="keyframe"):
        FlowTracker().track(scene.video(), keyframe, np.array([scene.box(0)], np.float32))


@pytest.mark.parametrize("size_wh", [(1, 1), (2, 2), (3, 17), (40, 2)])
def test_track_tiny_frames_returns_masks(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    frames = [np.random.default_rng(i).integers(0, 255, (height, width, 3), np.uint8) for i in range(3)]
    boxes = np.array([(0, 0, 1, 1), (0, 0, width, height)], np.float32)
    tracked = FlowTracker().track(ArrayFrames(np.stack(frames)), 1, boxes)
    assert tracked.mask(1, 0).shape == (height, width)
    assert tracked.rles[0][1] is not None


def test_track_box_of_one_pixel_returns_one_pixel() -> None:
    scene = Scene()
    for _ in range(2):
        scene.add_frame([(40, 48, 12, RED)])
    tracked = FlowTracker().track(scene.video(), 0, np.array([(40, 48, 41, 49)], np.float32))
    assert decode(tracked.rles[0][0]).sum() == 1


def test_assign_pixels_most_evidence_owns_pixel() -> None:
    window = (slice(0, 1), slice(0, 3))
    values = np.array([[1.0, 1.0, -1.0]], np.float32)
    weak = SoftMask(window, values, np.array([[0.5, 2.0, 0.1]], np.float32), np.zeros((1, 3, 4), np.float32))
    strong = SoftMask(window, values, np.array([[1.0, 1.0, 9.0]], np.float32), np.zeros((1, 3, 4), np.float32))
    first, second = assign_pixels([weak, strong], (2, 3))
    assert first.tolist() == [[False, True, False], [False] * 3]
    assert second.tolist() == [[True, False, False], [False] * 3]


def test_silhouette_fitted_partly_occluded_finds_pose() -> None:
    mask = np.zeros((60, 80), np.uint8)
    cv2.ellipse(mask, (30, 30), (18, 10), 20, 0, 360, 1, -1)
    silhouette = Silhouette(mask > 0)
    moved = np.zeros_like(mask)
    cv2.ellipse(moved, (32, 31), (18, 10), 23, 0, 360, 1, -1)
    visible = moved > 0
    visible[:, 38:] = False
    complete = (slice(0, 60), slice(0, 80))
    pose = silhouette.fitted(silhouette.pose, outline_of(visible, complete), steps=8)
    found = silhouette.distance(complete, pose) > 0
    assert (found & (moved > 0)).sum() / (found | (moved > 0)).sum() > 0.93


def drifting() -> Scene:
    """Two discs that drift apart, in 11 frames."""
    scene = Scene()
    for step in range(11):
        scene.add_frame([(30 + 4 * step, 30, 14, RED), (90 - 4 * step, 70, 12, ORANGE)])
    return scene


def test_track_prompts_point_and_mask_have_high_iou() -> None:
    scene = drifting()
    prompts = [ObjectPrompt(5, 0, points=[[50, 30]]), ObjectPrompt(5, 1, mask=scene.truth[5][1])]
    tracked = FlowTracker().track_prompts(scene.video(), prompts)
    assert np.array_equal(tracked.mask(5, 1), scene.truth[5][1])
    for obj in (0, 1):
        assert min(scene.iou(tracked, frame, obj) for frame in range(11)) > 0.85


def test_track_prompts_several_keyframes_start_anew_from_each() -> None:
    """The second keyframe shows another disc: each frame has that of the nearest keyframe."""
    scene = drifting()
    prompts = [ObjectPrompt(8, 0, mask=scene.truth[8][1]), ObjectPrompt(2, 0, box=scene.box(2, 0))]
    tracked = FlowTracker().track_prompts(scene.video(), prompts)
    on_second = [int((tracked.mask(frame, 0) & scene.truth[frame][1]).any()) for frame in range(11)]
    assert on_second == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert tracked.confidence is not None
    assert tracked.confidence[0, [2, 8]].tolist() == [1, 1]


def test_track_prompts_objects_of_other_keyframes_are_independent() -> None:
    scene, calls = drifting(), list[tuple[int, int]]()
    first, second = ObjectPrompt(2, 0, box=scene.box(2, 0)), ObjectPrompt(8, 1, box=scene.box(8, 1))
    both = FlowTracker().track_prompts(scene.video(), [second, first], lambda *call: calls.append(call))
    assert both.rles[0] == FlowTracker().track_prompts(scene.video(), [first]).rles[0]
    assert (calls[0], calls[-1], len(calls)) == ((1, 22), (22, 22), 22)


@pytest.mark.parametrize(
    ("keyframes", "reaches"),
    [((3,), [(0, 10)]), ((0, 9), [(0, 5), (5, 10)]), ((2, 4, 5), [(0, 4), (4, 5), (5, 10)])],
)
def test_reaches_are_the_frames_nearest_to_each_keyframe(
    keyframes: tuple[int, ...], reaches: list[tuple[int, int]]
) -> None:
    assert [(reach.start, reach.stop) for reach in _reaches(keyframes, 10)] == reaches
