"""What a tracker's image encoder made of a video's frames, so that no frame is encoded twice while it is of use.

In: features of frames as they are encoded. Out: the same features whenever their frame is looked at again, by another
answer of a group or by another question about the video.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from thinkseg.types import Frames

if TYPE_CHECKING:
    import torch

KEEP_BYTES = 2 << 30
"""Features kept for one video unless told otherwise: 128 frames of SAM 2 at 1024 pixels in fp32, 256 in bf16."""


class FeatureCache:
    """Frame index -> features of one video, as far as the bytes go. Owned by a tracker, one for each video.

    max_bytes: nothing more is kept once that many are. Nothing is ever thrown out to make room: trackers walk through a
        video from end to end, so what makes room would be what is wanted next.
    device: where features are kept; where they are made unless given. They are handed out where they were made.
    half: keep them in half precision. Masks then differ a little, in the same way whether or not a frame was kept.
    """

    def __init__(self, max_bytes: int, device: str | None = None, half: bool = False) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._device = device
        self._half = half
        self._kept: dict[int, tuple[torch.Tensor, ...]] = {}
        self._made: tuple[torch.device, torch.dtype] | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, frame: int) -> bool:
        return frame in self._kept

    def __getitem__(self, frame: int) -> list[torch.Tensor]:
        """Features of a frame that is kept, as `keep` returned them."""
        assert self._made is not None  # something is kept
        place, dtype = self._made
        return [level.to(place, dtype) for level in self._kept[frame]]

    def keep(self, frame: int, levels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Features of a frame as they are to be used from now on, kept if they fit."""
        import torch

        self._made = levels[0].device, levels[0].dtype
        # Features have values up to a few hundred: fp16 holds them, with eight times the resolution of bf16.
        small = [level.to(torch.float16) for level in levels] if self._half else list(levels)
        size = sum(level.nbytes for level in small)
        if self.num_bytes + size <= self.max_bytes:
            self._kept[frame] = tuple(level.to(self._device or level.device) for level in small)
            self.num_bytes += size
        return [level.to(levels[0].dtype) for level in small]


class LatestVideoCache:
    """The store of the video that is being worked on: a new one when another comes, none once the video is gone."""

    def __init__(self, max_bytes: int, device: str | None = None, half: bool = False) -> None:
        self._settings = max_bytes, device, half
        self._video: weakref.ref[Frames] | None = None
        self._store: FeatureCache | None = None

    def store_of(self, video: Frames) -> FeatureCache:
        """The store of a video, told from others by identity: whoever asks twice about one hands in one object.

        One that cannot be told to be gone, for want of weak references, has a store that lasts for this call.
        """
        if self._store is None or self._video is None or self._video() is not video:
            self.forget()
            store = FeatureCache(*self._settings)
            try:
                self._video = weakref.ref(video, self._gone)
            except TypeError:
                return store
            self._store = store
        return self._store

    def forget(self) -> None:
        """Frees what is kept."""
        self._video = self._store = None

    def _gone(self, video: weakref.ref[Frames]) -> None:
        if video is self._video:
            self.forget()
