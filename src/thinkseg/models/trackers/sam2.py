"""SAM 2, EdgeTAM and the tracker of SAM 3: boxes on one frame become masks on all of them.

In: a video, the index of a frame and boxes xyxy in that frame's pixels. Out: `Masklets`, one object per box in order.
Frames stream from the decoder: forwards from the keyframe to the end, then back to the start. Features of frames are
kept, as far as they fit, for the next call about the same video; masks leave as run lengths, to disk when many.

The models are those of `transformers`; getting pictures ready for them is done here, without torchvision.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.loading import Precision, is_out_of_memory, load_checkpoint
from thinkseg.models.trackers.base import backwards, check_boxes, check_keyframe
from thinkseg.models.trackers.feature_cache import KEEP_BYTES, FeatureCache, LatestVideoCache
from thinkseg.models.trackers.sam2_session import Session
from thinkseg.ops.masks import encode
from thinkseg.storage.mask_spool import MaskSpool
from thinkseg.types import Frames, Masklets, Progress, Rle

if TYPE_CHECKING:
    import torch

TRACKER_CLASSES = {
    "sam2_video": "Sam2VideoModel",
    "edgetam_video": "EdgeTamVideoModel",
    "sam3_tracker_video": "Sam3TrackerVideoModel",
    # A whole SAM 3, of which only the tracker is loaded.
    "sam3_video": "Sam3TrackerVideoModel",
}
"""For each kind of checkpoint, the class in `transformers` that loads it."""

MEAN_STD = {
    "sam2_video": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "edgetam_video": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "sam3_tracker_video": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""For each kind of model, mean and deviation of the colours it was trained with, 1.0 being white."""


TOGETHER = 8
"""Objects that go through a model on a GPU at once, unless told otherwise. On a CPU one after the other is as fast."""

ONE_BY_ONE = ("edgetam_video",)
"""Kinds of models that take no more than one object: EdgeTAM boils memories down in a way that has no batch."""


class Sam2Tracker:
    """Follows boxes with a SAM 2 or SAM 2.1 (arXiv 2408.00714), or with what works like them: an EdgeTAM (arXiv
    2501.07256) or the tracker of a SAM 3.

    Satisfies `types.Tracker`. Load one with `Sam2Tracker.load`.

    keep_bytes, keep_on, keep_half: features kept of the latest video, see
    `thinkseg.models.trackers.feature_cache.FeatureCache`; 0
        bytes for a tracker that is asked once.
    together: objects that go through the model at once, as a batch; unless given, 8 on a GPU and 1 on a CPU, where that
        gains nothing. More need more memory; masks are the same but for rounding. EdgeTAM takes one, always.
    apart: give each pixel to the one object that claims it most; objects may overlap otherwise.
    """

    def __init__(
        self,
        model: Any,
        name: str = "sam2",
        *,
        keep_bytes: int = KEEP_BYTES,
        keep_on: str | None = None,
        keep_half: bool = False,
        together: int | None = None,
        apart: bool = False,
    ) -> None:
        self.model = model
        self.name = name
        self.together = self._checked(together)
        self.apart = apart
        self._latest = LatestVideoCache(keep_bytes, keep_on, keep_half)
        self._position: torch.Tensor | None = None
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        name: str | Path,
        precision: Precision = "auto",
        device: str | None = None,
        compiled: bool = False,
        **settings: Any,
    ) -> Sam2Tracker:
        """Loads a folder or hub name. device: "cpu", "cuda", "cuda:1", ...; a GPU if there is one unless given.

        compiled: compile the image encoder with `torch.compile`, which takes minutes and pays on long videos.
        settings: as the class takes them. Raises ModelError if there is no such model or it cannot be loaded.
        """
        import torch

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        model: Any = load_checkpoint(name, TRACKER_CLASSES, "trackers", precision, device)
        if compiled:
            model.vision_encoder.compile()
        return cls(model, str(name), **settings)

    def _checked(self, together: int | None) -> int:
        """How many objects go through the model at once. Raises SettingsError for less than one."""
        if together is not None and together < 1:
            raise SettingsError(f"together is {together}; give the objects to follow at once, 1 or more")
        if self.model.config.model_type in ONE_BY_ONE:
            return 1
        return together or (1 if self.model.device.type == "cpu" else TOGETHER)

    @property
    def independent(self) -> bool:
        """Whether each object's masks are the same whatever else is followed beside it."""
        return not self.apart

    def forget(self) -> None:
        """Frees the features that are kept. They go by themselves when their video does, or another comes."""
        self._latest.forget()

    def track(self, video: Frames, keyframe: int, boxes: np.ndarray, progress: Progress | None = None) -> Masklets:
        """Follows boxes float32 (N, 4) xyxy (source pixels, on `keyframe`) through the whole video.

        Calls from several threads wait for one another. Raises SettingsError if the keyframe is not in the video or a
        box has no area inside the frame, ModelError when memory does not suffice.
        """
        import torch

        boxes = check_boxes(boxes, video.size_wh)
        check_keyframe(video, keyframe)
        found = MaskSpool(video.size_wh, len(video), len(boxes))
        if len(boxes):
            with self._lock, torch.inference_mode(), self._enough_memory(video, len(boxes)):
                for done, (frame, logits) in enumerate(self._walk(video, keyframe, boxes), start=1):
                    found.put(frame, list(self._masks(logits, video.size_wh)))
                    if progress is not None:
                        progress(done, len(video))
        return found.masklets()

    def _walk(self, video: Frames, keyframe: int, boxes: np.ndarray) -> Iterator[tuple[int, torch.Tensor]]:
        """Each frame with its mask logits (N, 1, h, w): from the keyframe on, then from there back to the start."""
        store = self._latest.store_of(video)
        session = Session(self.model, len(video), video.size_wh, keyframe, boxes, self.together)
        for reverse in (False, True):
            indices = range(keyframe - 1, -1, -1) if reverse else range(keyframe, len(video))
            for frame, levels in self._features(video, indices, store):
                assert self._position is not None  # set with the first features
                yield frame, session.look(frame, levels, self._position, reverse)

    def _features(self, video: Frames, indices: range, store: FeatureCache) -> Iterator[tuple[int, list[torch.Tensor]]]:
        """Each frame with its features. Only frames that no features are kept of are decoded."""
        missing = [frame for frame in indices if frame not in store]
        pictures = video.read(missing) if indices.step > 0 else backwards(video, missing[::-1])
        for frame in indices:
            yield frame, store[frame] if frame in store else store.keep(frame, self._encode(next(pictures)))

    def _encode(self, picture: np.ndarray) -> list[torch.Tensor]:
        """Features of a picture uint8 (H, W, 3), finest level first."""
        planes = squeezed(picture[None], self.model.config.image_size)
        found = self.model.get_image_features(normalised(planes, self.model), return_dict=True)
        # The position encodings are the same for every picture, and the model reads the last of them alone.
        self._position = found.fpn_position_encoding[-1]
        levels: list[torch.Tensor] = found.fpn_hidden_states
        return levels

    def _masks(self, logits: torch.Tensor, size_wh: tuple[int, int]) -> Iterator[Rle | None]:
        """Masks of all objects at source size; None where one is not seen. One at a time: they are large."""
        import torch
        from torch.nn.functional import interpolate

        width, height = size_wh
        highest = owner = None
        if self.apart and len(logits) > 1:
            highest = torch.zeros((height, width), device=logits.device)
            owner = torch.full((height, width), -1, dtype=torch.int16, device=logits.device)
            for number, one in enumerate(logits[:, None].float()):
                claim = interpolate(one, (height, width), mode="bilinear", align_corners=False)[0, 0]
                owner[claim > highest] = number
                highest = torch.maximum(highest, claim)
        for number, one in enumerate(logits[:, None].float()):
            if owner is not None:
                inside = owner == number
            else:
                inside = interpolate(one, (height, width), mode="bilinear", align_corners=False)[0, 0] > 0
            mask = inside.cpu().numpy()
            yield encode(mask) if mask.any() else None

    @contextmanager
    def _enough_memory(self, video: Frames, num_objects: int) -> Iterator[None]:
        """Says in one line what to do when memory does not suffice."""
        try:
            yield
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self.forget()
            width, height = video.size_wh
            raise ModelError(
                f"{self.name}: out of memory with {num_objects} objects in frames of {width}x{height} of {video.name};"
                " use a smaller model, bf16, fewer objects at once (together), or keep fewer features (keep_bytes)"
            ) from None


def squeezed(pictures: np.ndarray, side: int) -> torch.Tensor:
    """Pictures uint8 (B, H, W, 3) as squares of bytes (B, 3, side, side), resized as torchvision does it."""
    import torch
    from torch.nn.functional import interpolate

    planes = torch.from_numpy(np.require(pictures, requirements=("C", "W"))).permute(0, 3, 1, 2)
    if planes.shape[2:] == (side, side):
        return planes
    return interpolate(planes, (side, side), mode="bilinear", antialias=True)


def normalised(planes: torch.Tensor, model: Any) -> torch.Tensor:
    """What `squeezed` returns as the image encoder of a model wants it, where the model is."""
    import torch

    mean, std = (
        255 * torch.tensor(values, device=model.device).view(3, 1, 1) for values in MEAN_STD[model.config.model_type]
    )
    return ((planes.to(model.device) - mean) / std).to(model.dtype)
