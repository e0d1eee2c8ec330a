"""SAM 2, EdgeTAM and the tracker of SAM 3: boxes, points and masks on some frames become masks on all frames.

Frames stream from the decoder: the keyframes, then forwards from the first one to the end, then back to the start.
Features of frames are cached for the next call about the same video. Masks are stored as RLE, on disk if there are
many.

The models are those of `transformers`; frames are preprocessed here, without torchvision.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.fingerprint import checkpoint_fingerprint
from thinkseg.models.loading import Precision, is_out_of_memory, load_checkpoint
from thinkseg.models.model_files import check_finite, reading
from thinkseg.models.trackers.base import box_prompts, read_reversed
from thinkseg.models.trackers.feature_cache import FEATURE_CACHE_BYTES, FeatureCache, LatestVideosCache
from thinkseg.models.trackers.sam2_session import Session
from thinkseg.ops.masks import encode
from thinkseg.ops.video import ArrayFrames
from thinkseg.storage.mask_spool import MaskSpool
from thinkseg.types import Frames, Masklets, ObjectPrompt, ProgressCallback, Rle

if TYPE_CHECKING:
    import torch

TRACKER_CLASSES = {
    "sam2_video": "Sam2VideoModel",
    "edgetam_video": "EdgeTamVideoModel",
    "sam3_tracker_video": "Sam3TrackerVideoModel",
    # A complete SAM 3, of which only the tracker is loaded.
    "sam3_video": "Sam3TrackerVideoModel",
}
"""Class in `transformers` by the model type of a checkpoint."""

MEAN_STD = {
    "sam2_video": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "edgetam_video": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "sam3_tracker_video": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation of RGB in 0..1 by model type, as in training."""

GPU_OBJECTS_PER_BATCH = 8
"""Default on a GPU. On a CPU a batch is no faster than one object at a time."""

SINGLE_OBJECT_MODELS = ("edgetam_video",)
"""Model types that take one object at a time: EdgeTAM's compression of memories has no batch dimension."""


class Sam2Tracker:
    """Tracks boxes with SAM 2 or SAM 2.1 (arXiv 2408.00714), EdgeTAM (arXiv 2501.07256) or the tracker of SAM 3.

    Satisfies `types.Tracker`. Load one with `Sam2Tracker.load`.

    feature_cache_bytes, feature_cache_device, feature_cache_half: of a video's features, see `FeatureCache`; 0 bytes
        for a tracker that is called once.
    feature_cache_videos: number of videos whose features are kept at a time, the latest ones.
    objects_per_batch: objects in one batch (default: 8 on a GPU, 1 on a CPU). Memory grows with it; masks differ by
        rounding only. EdgeTAM always uses 1.
    non_overlap_masks: assigns each pixel to the object with the highest logit (default: masks may overlap).
    """

    def __init__(
        self,
        model: Any,
        name: str = "sam2",
        *,
        feature_cache_bytes: int = FEATURE_CACHE_BYTES,
        feature_cache_device: str | None = None,
        feature_cache_half: bool = False,
        feature_cache_videos: int = 1,
        objects_per_batch: int | None = None,
        non_overlap_masks: bool = False,
    ) -> None:
        self.model = model
        self.name = name
        self.fingerprint: Mapping[str, str] = {}
        self.objects_per_batch = self._checked_batch(objects_per_batch)
        self.non_overlap_masks = non_overlap_masks
        self._latest = LatestVideosCache(
            feature_cache_bytes, feature_cache_device, feature_cache_half, feature_cache_videos
        )
        self._position: torch.Tensor | None = None
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        name: str | Path,
        precision: Precision = "auto",
        device: str | None = None,
        compile_encoder: bool = False,
        **settings: Any,
    ) -> Sam2Tracker:
        """Loads a folder or hub name.

        device: "cpu", "cuda", "cuda:1", ... (default: a GPU if available). compile_encoder: compiles the image encoder
        with `torch.compile`, which takes minutes and pays off for long videos. settings: arguments of the class.
        Raises ModelError if there is no such model or it cannot be loaded.
        """
        model: Any = load_checkpoint(name, TRACKER_CLASSES, "trackers", precision, device)
        with reading(name, "track a test video"):
            finite = _try(cls(model, str(name), feature_cache_bytes=0))
        check_finite(name, finite)
        if compile_encoder:
            model.vision_encoder.compile()
        tracker = cls(model, str(name), **settings)
        tracker.fingerprint = checkpoint_fingerprint(name)
        return tracker

    def _checked_batch(self, objects_per_batch: int | None) -> int:
        """Objects per batch for this model and device. Raises SettingsError for less than 1."""
        if objects_per_batch is not None and objects_per_batch < 1:
            raise SettingsError(f"{self.name}: objects_per_batch is {objects_per_batch}; must be >= 1")
        if self.model.config.model_type in SINGLE_OBJECT_MODELS:
            return 1
        return objects_per_batch or (1 if self.model.device.type == "cpu" else GPU_OBJECTS_PER_BATCH)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def independent(self) -> bool:
        """Whether the masks of an object do not depend on the other objects."""
        return not self.non_overlap_masks

    def clear_cache(self) -> None:
        """Frees the cached features. So does the end of their video, or tracking too many others."""
        self._latest.clear()

    def track(
        self, video: Frames, keyframe: int, boxes: np.ndarray, progress: ProgressCallback | None = None
    ) -> Masklets:
        """Tracks boxes float32 (N, 4) xyxy (source pixels, on `keyframe`) through the complete video.

        Calls from several threads run one after the other. Raises SettingsError if the keyframe is not in the video or
        a box has no area inside the frame, ModelError if memory does not suffice.
        """
        return self.track_prompts(video, box_prompts(video, keyframe, boxes), progress)

    def track_prompts(
        self, video: Frames, prompts: Sequence[ObjectPrompt], progress: ProgressCallback | None = None
    ) -> Masklets:
        """Tracks objects from all their prompts, see `types.PromptTracker`: each forwards from its first keyframe to
        the end, then back from there to the start, with the memories of all its keyframes from the beginning.

        Where masks may not overlap, those of objects with different first keyframes still do, between these.
        """
        import torch

        num_objects = len({one.obj for one in prompts})
        spool = MaskSpool(video.size_wh, len(video), num_objects)
        if not num_objects:
            return spool.masklets()
        session = Session(self.model, len(video), video.size_wh, prompts, self.objects_per_batch)
        total = len(session.forwards) + len(session.backwards)
        with self._lock, torch.inference_mode(), self._memory_errors(video, num_objects):
            for done, (frame, objects, logits, scores) in enumerate(self._propagate(video, session), start=1):
                spool.put(frame, list(self._rles(logits, video.size_wh)), scores.cpu().numpy(), objects)
                if progress is not None:
                    progress(done, total)
        return spool.masklets()

    def _propagate(
        self, video: Frames, session: Session
    ) -> Iterator[tuple[int, list[int], torch.Tensor, torch.Tensor]]:
        """Frame indices with objects, mask logits (n, 1, h, w) and scores (n,), see `Session.step`, in the order in
        which the session takes frames.
        """
        cache = self._latest.cache_for(video)
        for frame, levels in self._features(video, session.keyframes, cache):
            session.prompt(frame, levels, self._encoding)
        for reverse, indices in ((False, session.forwards), (True, session.backwards)):
            read = [frame for frame in indices if session.reads(frame, reverse)]
            features = self._features(video, read, cache, reverse)
            for frame in indices:
                levels = next(features)[1] if session.reads(frame, reverse) else []
                yield frame, *session.step(frame, levels, self._encoding, reverse)

    @property
    def _encoding(self) -> torch.Tensor:
        """The position encoding of the coarsest features."""
        assert self._position is not None  # set with the first features
        return self._position

    def _features(
        self, video: Frames, indices: Sequence[int], cache: FeatureCache, reverse: bool = False
    ) -> Iterator[tuple[int, list[torch.Tensor]]]:
        """Frame indices with features. Only frames that are not cached are decoded. reverse: the indices descend."""
        missing = [frame for frame in indices if frame not in cache]
        frames = read_reversed(video, missing[::-1]) if reverse else video.read(missing)
        for frame in indices:
            yield frame, cache[frame] if frame in cache else cache.add(frame, self._encode(next(frames)))

    def _encode(self, rgb: np.ndarray) -> list[torch.Tensor]:
        """Features of a frame uint8 (H, W, 3), finest level first."""
        pixels = normalize(resize(rgb[None], self.model.config.image_size), self.model)
        output = self.model.get_image_features(pixels, return_dict=True)
        # The position encodings are the same for all frames, and the model reads only the last level.
        self._position = output.fpn_position_encoding[-1]
        levels: list[torch.Tensor] = output.fpn_hidden_states
        return levels

    def _rles(self, logits: torch.Tensor, size_wh: tuple[int, int]) -> Iterator[Rle | None]:
        """Masks of all objects at source size, None for one that is not visible. One at a time, because of memory."""
        for mask in self._masks(logits, size_wh):
            array = mask.cpu().numpy()
            yield encode(array) if array.any() else None

    def _masks(self, logits: torch.Tensor, size_wh: tuple[int, int]) -> Iterator[torch.Tensor]:
        """Masks bool (H, W) of all objects from their logits (N, 1, h, w)."""
        if not self.non_overlap_masks or len(logits) < 2:
            for one in logits:
                yield _enlarged(one, size_wh) > 0
            return
        import torch

        width, height = size_wh
        highest = torch.zeros((height, width), device=logits.device)
        owner = torch.full((height, width), -1, dtype=torch.int16, device=logits.device)
        for number, one in enumerate(logits):
            large = _enlarged(one, size_wh)
            owner[large > highest] = number
            highest = torch.maximum(highest, large)
        for number in range(len(logits)):
            yield owner == number

    @contextmanager
    def _memory_errors(self, video: Frames, num_objects: int) -> Iterator[None]:
        """Turns an out-of-memory error into a ModelError with advice."""
        try:
            yield
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self.clear_cache()
            width, height = video.size_wh
            raise ModelError(
                f"{self.name}: out of memory with {num_objects} objects in frames of {width}x{height} of {video.name};"
                " use a smaller model, bf16, or a lower objects_per_batch or feature_cache_bytes"
            ) from None


def _try(tracker: Sam2Tracker) -> bool:
    """Tracks a box through two gray frames. Returns whether all numbers are finite.

    Logits are not enough: an object with a score of NaN is not visible, and its logits are constant.
    """
    import torch

    video = ArrayFrames(np.full((2, 32, 32, 3), 128, np.uint8))
    box = np.array([[8, 8, 24, 24]], np.float32)
    with torch.inference_mode():
        session = Session(tracker.model, len(video), video.size_wh, box_prompts(video, 0, box))
        logits = [logits for _, _, logits, _ in tracker._propagate(video, session)]
        numbers = [*tracker._encode(video[0]), *logits, *tracker.model.parameters()]
        return all(bool(tensor.isfinite().all()) for tensor in numbers)


def _enlarged(logits: torch.Tensor, size_wh: tuple[int, int]) -> torch.Tensor:
    """Mask logits (1, h, w) at source size, float32 (H, W)."""
    from torch.nn.functional import interpolate

    width, height = size_wh
    return interpolate(logits[None].float(), (height, width), mode="bilinear", align_corners=False)[0, 0]


def resize(frames: np.ndarray, side: int) -> torch.Tensor:
    """Frames uint8 (B, H, W, 3) as squares uint8 (B, 3, side, side), resized as by torchvision."""
    import torch
    from torch.nn.functional import interpolate

    planes = torch.from_numpy(np.require(frames, requirements=("C", "W"))).permute(0, 3, 1, 2)
    if planes.shape[2:] == (side, side):
        return planes
    return interpolate(planes, (side, side), mode="bilinear", antialias=True)


def normalize(planes: torch.Tensor, model: Any) -> torch.Tensor:
    """Pixels uint8 (B, 3, side, side), from `resize`, as input of a model, in its precision and on its device."""
    import torch

    mean, std = (
        255 * torch.tensor(values, device=model.device).view(3, 1, 1) for values in MEAN_STD[model.config.model_type]
    )
    return ((planes.to(model.device) - mean) / std).to(model.dtype)
