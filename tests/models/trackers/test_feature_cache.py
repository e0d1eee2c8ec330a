"""The feature cache: alone, in the tracker, in rewards of a group, and in an evaluation."""

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from thinkseg.data import open_benchmark
from thinkseg.evaluation.evaluate import Method, evaluate
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.models.trackers.feature_cache import FEATURE_CACHE_BYTES, FeatureCache, LatestVideosCache
from thinkseg.models.trackers.sam2 import Sam2Tracker
from thinkseg.ops.masks import from_stacks
from thinkseg.ops.video import ArrayFrames
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import score_group
from thinkseg.types import Answer, Outcome, VideoSample, View
from tinytrackers import BOXES, CHANNELS, HEIGHT, SIDE, WIDTH, footage, tracked


@pytest.fixture(scope="module")
def model(sam2: Path) -> Any:
    return Sam2Tracker.load(sam2, device="cpu").model


class RecordingFrames(ArrayFrames):
    """Frames that record which of them are decoded."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)
        self.decoded: list[int] = []

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        for index in indices:
            self.decoded.append(index)
            yield self[index]


@pytest.fixture
def encoded(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list with one item per encoded frame."""
    calls: list[int] = []
    encode = type(model).get_image_features

    def counted(self: Any, *arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        return encode(self, *arguments, **settings)

    monkeypatch.setattr(type(model), "get_image_features", counted)
    return calls


@pytest.mark.parametrize(("feature_cache_bytes", "encodings"), [(1 << 30, 8), (0, 16), (None, 13)])
def test_track_two_keyframes_encodes_frames_once_with_equal_masks(
    model: Any, encoded: list[int], feature_cache_bytes: int | None, encodings: int
) -> None:
    """In the third case the cache has room for three of the eight frames."""
    video = RecordingFrames(np.stack([*footage(8).read(range(8))]))
    if feature_cache_bytes is None:
        with torch.inference_mode():
            feature_cache_bytes = 3 * sum(level.nbytes for level in Sam2Tracker(model)._encode(video[0]))
        encoded.clear()
    tracker = Sam2Tracker(model, feature_cache_bytes=feature_cache_bytes)
    first, second = tracked(tracker, video, 2), tracked(tracker, video, 5)
    assert len(encoded) == len(video.decoded) == encodings
    for keyframe, masks in ((2, first), (5, second)):
        assert np.array_equal(masks, tracked(Sam2Tracker(model, feature_cache_bytes=0), video, keyframe))


def test_feature_cache_video_deleted_is_freed(model: Any, encoded: list[int]) -> None:
    tracker = Sam2Tracker(model)
    video, other = footage(2), footage(2)
    tracker.track(video, 0, BOXES)
    assert tracker._latest._caches
    del video
    gc.collect()
    assert not tracker._latest._caches
    tracker.track(other, 0, BOXES)
    tracker.clear_cache()
    tracker.track(other, 0, BOXES)
    assert len(encoded) == 6


def test_track_other_video_uses_own_features(model: Any) -> None:
    tracker = Sam2Tracker(model)
    first, second = footage(3), footage(3, seed=1)
    tracker.track(first, 0, BOXES)
    for video in (second, first):
        assert np.array_equal(tracked(tracker, video, 0), tracked(Sam2Tracker(model), video, 0))


def test_track_half_cache_stores_half_the_bytes(model: Any) -> None:
    """Masks are nearly those of full precision, and equal whether or not a frame is in the cache."""
    video = footage(6)
    tracker = Sam2Tracker(model, feature_cache_half=True, feature_cache_device="cpu")
    first = tracked(tracker, video, 2)
    full = Sam2Tracker(model)
    exact = tracked(full, video, 2)
    # With random weights, differences grow from frame to frame.
    assert (first == exact)[:, 2].mean() > 0.97
    assert not np.array_equal(first, exact)
    assert np.array_equal(tracked(tracker, video, 2), first)
    assert np.array_equal(tracked(Sam2Tracker(model, feature_cache_half=True, feature_cache_bytes=0), video, 2), first)
    assert tracker._latest.cache_for(video).num_bytes * 2 == full._latest.cache_for(video).num_bytes


def test_feature_cache_excludes_position_encodings(model: Any) -> None:
    video = footage(4)
    tracker = Sam2Tracker(model)
    tracker.track(video, 0, BOXES)
    # Four bytes per value; the levels have an eighth, a fourth and all of the channels.
    values = (SIDE // 4) ** 2 * CHANNELS // 8 + (SIDE // 8) ** 2 * CHANNELS // 4 + (SIDE // 16) ** 2 * CHANNELS
    assert tracker._latest.cache_for(video).num_bytes == 4 * 4 * values


def test_score_group_encodes_each_prompt_frame_once(model: Any, encoded: list[int]) -> None:
    """Rewards equal those of a tracker without a cache."""
    truth = np.zeros((1, 7, HEIGHT, WIDTH), bool)
    truth[0, :, 10:40, 10:50] = True
    prompt = Prompt(VideoSample("a", footage(7), "it", truth=from_stacks(truth)), frame_indices=(0, 2, 4, 6))
    boxes = [(0, [10, 10, 50, 40]), (4, [12, 8, 52, 41]), (4, [12, 8, 52, 41]), (6, [20, 20, 70, 50])]
    answers = [Answer("", keyframe, np.array([box], np.float32)) for keyframe, box in boxes]
    outcomes = [Outcome(answer, None, ("",), answer.keyframe) for answer in answers]
    shared = score_group(prompt, outcomes, {"consistency": 1}, Sam2Tracker(model))
    assert len(encoded) == 4
    alone = score_group(prompt, outcomes, {"consistency": 1}, Sam2Tracker(model, feature_cache_bytes=0))
    # Three of the four answers differ.
    assert len(encoded) == 4 + 3 * 4
    assert [score.total for score in shared] == [score.total for score in alone]
    assert len({score.total for score in shared}) == 3


def test_evaluate_benchmark_questions_of_video_share_features(
    model: Any, encoded: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import layouts

    layouts.revos(tmp_path / "revos")
    box = '<think>there</think><answer>{"keyframe_timestamp": 0, "bbox_2d_list": [[0, 0, 4, 4]]}</answer>'
    results = []
    for name, feature_cache_bytes in (("shared", FEATURE_CACHE_BYTES), ("alone", 0)):
        policy = ScriptedPolicy([box] * 4, view=View(num_frames=3, frame_wh=(10, 8)))
        method = Method("veason", policy, Sam2Tracker(model, feature_cache_bytes=feature_cache_bytes))
        benchmark = open_benchmark("revos", tmp_path / "revos")
        results.append((evaluate(benchmark, method, tmp_path / name)["metrics"], len(encoded)))
    # Three questions about a clip of three frames, then one about a clip of two.
    assert [count for _, count in results] == [3 + 2, 3 + 2 + 3 * 3 + 2]
    assert results[0][0] == results[1][0]


def test_cache_for_video_without_weak_references_stores_nothing() -> None:
    class Slotted:
        __slots__ = ()

    latest, video = LatestVideosCache(1000), Slotted()
    cache = latest.cache_for(video)  # type: ignore[arg-type]
    cache.add(0, [torch.zeros(3)])
    assert 0 in cache
    assert 0 not in latest.cache_for(video)  # type: ignore[arg-type]


def test_cache_for_two_videos_forgets_the_one_unused_for_longest() -> None:
    latest, videos = LatestVideosCache(1000, max_videos=2), [footage(1), footage(1), footage(1)]
    first, second, third = (latest.cache_for(video) for video in videos)
    assert latest.cache_for(videos[1]) is second
    assert latest.cache_for(videos[0]) is not first
    assert latest.cache_for(videos[1]) is second
    assert latest.cache_for(videos[2]) is not third


def test_feature_cache_full_keeps_first_frames() -> None:
    cache = FeatureCache(20)
    levels = [torch.arange(2.0), torch.arange(1.0)]
    for frame in (5, 3, 4):
        kept = cache.add(frame, levels)
        assert all(torch.equal(one, other) for one, other in zip(kept, levels, strict=True))
    assert (len(cache), cache.num_bytes) == (1, 12)
    assert 5 in cache
    assert [level.tolist() for level in cache[5]] == [[0, 1], [0]]


def test_feature_cache_smaller_frame_still_fits() -> None:
    cache = FeatureCache(20)
    for frame, length in ((0, 3), (1, 3), (2, 2)):
        cache.add(frame, [torch.zeros(length)])
    assert [frame in cache for frame in range(3)] == [True, False, True]


def test_feature_cache_half_rounds_stored_and_unstored_alike() -> None:
    levels = [torch.tensor([1 / 3, 250.1])]
    stored, unstored = FeatureCache(4, half=True), FeatureCache(3, half=True)
    first, second = stored.add(0, levels)[0], unstored.add(0, levels)[0]
    assert (0 in stored, 0 in unstored) == (True, False)
    assert torch.equal(first, second)
    assert torch.equal(stored[0][0], first)
    assert first.dtype == torch.float32
    assert not torch.equal(first, levels[0])
