"""What a SAM 2 model remembers while it follows objects: little, however long the video.

In: a model, the length of a video, boxes on its keyframe; then one frame's features at a time. Out: mask logits.

The stock model follows object by object, and its session keeps the pictures, the features and the results of all
frames. Here some objects at a time go through the model as the rows of a batch, and what stays is only what the model
reads again: memories of the keyframe and of the last few frames, the way it is walked. The parts and their order are
the model's own; with one object at a time the results are those of the stock model to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

BOX_CORNERS = (2, 3)
"""How SAM 2's prompt encoder calls the two points that make up a box."""

NO_POINT = -1
"""How it calls the point that stands for none."""

NOT_SEEN = -1024.0
"""The mask logits of an object that is not seen."""

_MEMORY = ("maskmem_features", "maskmem_pos_enc")


class Session:
    """Objects followed from one keyframe through one video. Ask for the keyframe first, then away from it on one side
    to the end, then on the other: going back reads what going forwards remembered near the keyframe.

    boxes: float32 (N, 4) xyxy, pixels of the source frame, N > 0. num_frames: of the whole video.
    together: objects that go through the model at once.
    """

    def __init__(
        self, model: Any, num_frames: int, size_wh: tuple[int, int], keyframe: int, boxes: np.ndarray, together: int = 1
    ) -> None:
        import torch

        side = model.config.image_size
        points = torch.from_numpy(boxes.astype(np.float32)).reshape(-1, 1, 2, 2)
        points[..., 0] *= side / size_wh[0]
        points[..., 1] *= side / size_wh[1]
        parts = points.to(model.device).split(together)
        self._parts = [ObjectBatch(model, num_frames, keyframe, some) for some in parts]

    def look(
        self, frame: int, levels: list[torch.Tensor], position: torch.Tensor, reverse: bool = False
    ) -> torch.Tensor:
        """Mask logits of all objects in a frame, (N, 1, h, w) at the model's own size; above 0 is inside.

        levels, position: the frame's features, finest level first, and the position encoding of the coarsest, each
        (places, 1, channels).
        """
        import torch

        return torch.cat([part.look(frame, levels, position, reverse).logits for part in self._parts])


@dataclass(frozen=True, slots=True)
class FrameOutput:
    """What a model makes of a frame, a row an object.

    logits: of the mask, (n, 1, h, w) at the model's own size, `NOT_SEEN` all over where it says the object is not seen;
    large: the same at the size of its pictures. score: seen if above 0 (n, 1, 1). pointer: what it calls the object
    (n, 1, c).
    """

    logits: torch.Tensor
    large: torch.Tensor
    score: torch.Tensor
    pointer: torch.Tensor


class ObjectBatch:
    """Objects of one video that are followed as the rows of one batch.

    points: the corners of their boxes, (n, 1, 2, 2) pixels of the model.
    """

    def __init__(self, model: Any, num_frames: int, keyframe: int, points: torch.Tensor) -> None:
        self._model = model
        self._num_frames = num_frames
        self._keyframe = keyframe
        self._points = points
        self._at_keyframe: dict[int, dict[str, torch.Tensor]] = {}
        self._elsewhere: dict[int, dict[str, torch.Tensor]] = {}
        # All that the model asks of a session when it looks for memories. One object: ours are its rows.
        known = {"cond_frame_outputs": self._at_keyframe, "non_cond_frame_outputs": self._elsewhere}
        self._state = SimpleNamespace(dtype=model.dtype, output_dict_per_obj=[known])

    def look(self, frame: int, levels: list[torch.Tensor], position: torch.Tensor, reverse: bool) -> FrameOutput:
        """The objects in a frame, as in `Session.look`."""
        rows = [level.expand(-1, len(self._points), -1) for level in levels]
        recalled = self._recall(frame, rows[-1], position, reverse)
        found = self._find(frame, rows[:-1], recalled)
        self._remember(frame, rows[-1], found, reverse)
        self._forget(frame, reverse)
        return found

    def _recall(self, frame: int, coarsest: torch.Tensor, position: torch.Tensor, reverse: bool) -> torch.Tensor:
        """The coarsest features in the light of what is remembered, (n, c, h, w)."""
        # With several rows the model mistakes them for places, unless they come first.
        with self._model.memory_attention.register_forward_hook(lambda _module, _given, out: out.transpose(0, 1)):
            recalled: torch.Tensor = self._model._prepare_memory_conditioned_features(
                inference_session=self._state,
                frame_idx=frame,
                obj_idx=0,
                is_initial_conditioning_frame=frame == self._keyframe,
                current_vision_features=coarsest,
                current_vision_positional_embeddings=position,
                num_total_frames=self._num_frames,
                track_in_reverse_time=reverse,
            )
        return recalled

    def _find(self, frame: int, finer: list[torch.Tensor], recalled: torch.Tensor) -> FrameOutput:
        """Where the objects are: the model's own head, which in the stock classes takes one object at a time."""
        import torch
        from torch.nn.functional import interpolate

        model, count = self._model, len(recalled)
        points, labels = self._prompt(frame, recalled.dtype)
        prompt = {"point_labels": labels} if frame == self._keyframe else None
        sparse, dense = model.prompt_encoder(points, labels, input_boxes=None, input_masks=None)
        masks, quality, tokens, score = model.mask_decoder(
            image_embeddings=recalled,
            image_positional_embeddings=model.get_image_wide_positional_embeddings().repeat(count, 1, 1, 1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=model._use_multimask(frame == self._keyframe, prompt),
            high_resolution_features=[
                level.permute(1, 2, 0).unflatten(2, tuple(size))
                for level, size in zip(finer, model.backbone_feature_sizes, strict=False)
            ],
        )
        row = torch.arange(count, device=masks.device)
        best = quality[:, 0].argmax(-1)
        seen = score > 0
        logits = torch.where(seen[..., None], masks[row, :, best], NOT_SEEN)
        large = interpolate(logits.float(), (model.image_size,) * 2, mode="bilinear", align_corners=False)
        pointer, weight = model.object_pointer_proj(tokens[row, :, best]), seen.to(masks.dtype)
        pointer = weight * pointer + (1 - weight) * model.no_object_pointer
        return FrameOutput(logits, large.to(masks.dtype), score, pointer)

    def _prompt(self, frame: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Points and what they are called: the corners of the boxes on the keyframe, none elsewhere."""
        import torch

        points, labels = self._points, torch.tensor(BOX_CORNERS, dtype=torch.int32)
        if frame != self._keyframe:
            points, labels = (
                torch.zeros_like(points[:, :, :1], dtype=dtype),
                torch.tensor([NO_POINT], dtype=torch.int32),
            )
        return points, labels.to(points.device).expand(len(points), 1, -1)

    def _remember(self, frame: int, coarsest: torch.Tensor, found: FrameOutput, reverse: bool) -> None:
        """Keeps what later frames may read of this one."""
        at_keyframe = frame == self._keyframe
        known = {"object_pointer": found.pointer}
        if self._is_read_again(frame, reverse):
            features, encoding = self._model._encode_new_memory(coarsest, found.large, found.score, at_keyframe)
            if self._at_keyframe:
                # The same for all memories.
                encoding = self._at_keyframe[self._keyframe]["maskmem_pos_enc"]
            known |= zip(_MEMORY, (features, encoding), strict=True)
        (self._at_keyframe if at_keyframe else self._elsewhere)[frame] = known

    def _is_read_again(self, frame: int, reverse: bool) -> bool:
        """Whether some later frame reads the memory of this one."""
        if reverse:
            return frame > 0
        near_keyframe = self._keyframe > 0 and frame - self._keyframe < self._model.config.num_maskmem
        return near_keyframe or frame < self._num_frames - 1

    def _forget(self, frame: int, reverse: bool) -> None:
        """Drops what no later frame reads."""
        config = self._model.config
        for other in list(self._elsewhere):
            distance = abs(other - frame)
            if not reverse:
                # Going back starts at the keyframe, and looks ahead from there.
                distance = min(distance, other - self._keyframe)
            if distance >= config.max_object_pointers_in_encoder:
                del self._elsewhere[other]
            elif distance >= config.num_maskmem:
                for name in _MEMORY:
                    self._elsewhere[other].pop(name, None)
