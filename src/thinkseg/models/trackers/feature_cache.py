"""Cache of a tracker's image features, so that no frame of a video is encoded twice.

Other answers of a GRPO group and other questions about a video reuse the features.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from thinkseg.types import Frames

if TYPE_CHECKING:
    import torch

FEATURE_CACHE_BYTES = 2 << 30
"""Default limit on the features of one video: 128 frames of SAM 2 at 1024 pixels in fp32, 256 in bf16."""


class FeatureCache:
    """Features of the frames of one video, by frame index, up to a limit in bytes.

    Nothing is evicted: trackers go through a video from end to end, so the oldest frame is the one needed next.

    max_bytes: frames that do not fit are not stored. device: where features are stored (default: where they are
    computed); they are returned where they were computed. half: stores fp16. Masks then differ slightly, whether or not
    a frame is in the cache.
    """

    def __init__(self, max_bytes: int, device: str | None = None, half: bool = False) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._device = device
        self._half = half
        self._features: dict[int, tuple[torch.Tensor, ...]] = {}
        self._source: tuple[torch.device, torch.dtype] | None = None

    def __len__(self) -> int:
        return len(self._features)

    def __contains__(self, frame: int) -> bool:
        return frame in self._features

    def __getitem__(self, frame: int) -> list[torch.Tensor]:
        """Features of a cached frame, equal to those that `add` returned."""
        assert self._source is not None  # set by the first `add`
        device, dtype = self._source
        return [level.to(device, dtype) for level in self._features[frame]]

    def add(self, frame: int, levels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Stores the features of a frame if they fit. Returns them as the cache would, rounded to fp16 for `half`."""
        import torch

        self._source = levels[0].device, levels[0].dtype
        # Features have values up to a few hundred: fp16 holds them, with eight times the resolution of bf16.
        stored = [level.to(torch.float16) for level in levels] if self._half else list(levels)
        size = sum(level.nbytes for level in stored)
        if self.num_bytes + size <= self.max_bytes:
            self._features[frame] = tuple(level.to(self._device or level.device) for level in stored)
            self.num_bytes += size
        return [level.to(levels[0].dtype) for level in stored]


class LatestVideosCache:
    """The feature caches of the latest videos, by default of one. The end of a video's life clears its cache.

    max_bytes: limit per video. device, half: see `FeatureCache`. max_videos: one more clears the cache of the video
    that was not used for the longest time.
    """

    def __init__(self, max_bytes: int, device: str | None = None, half: bool = False, max_videos: int = 1) -> None:
        self._settings = max_bytes, device, half
        self._max_videos = max_videos
        self._caches: dict[int, tuple[weakref.ref[Frames], FeatureCache]] = {}

    def cache_for(self, video: Frames) -> FeatureCache:
        """The cache of a video, which is identified by object identity.

        A video without weak-reference support gets a cache for this call only.
        """
        found = self._caches.pop(id(video), None)
        # Room is made before anything new is computed.
        for oldest in list(self._caches)[: len(self._caches) + 1 - self._max_videos]:
            self._forget(oldest)
        if found is None:
            cache = FeatureCache(*self._settings)
            try:
                found = weakref.ref(video, partial(self._forget, id(video))), cache
            except TypeError:
                return cache
        self._caches[id(video)] = found
        return found[1]

    def clear(self) -> None:
        """Frees all features."""
        self._caches.clear()

    def _forget(self, identity: int, _: object = None) -> None:
        self._caches.pop(identity, None)
