"""Tracking state of a SAM 2 model for one video, of constant size for videos of any length.

The stock model tracks object by object, and its session stores the frames, features and results of the complete video.
Here several objects form a batch, and only memories that the model reads again are stored: those of the keyframe and of
the last few frames. Parts and order are those of the model; with one object per batch, results are bit-identical to the
stock model.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

BOX_LABELS = (2, 3)
"""Labels of the two corners of a box in SAM 2's prompt encoder."""

NO_POINT_LABEL = -1
"""Its label for the padding point of a frame without a prompt."""

NO_OBJECT_LOGIT = -1024.0
"""Mask logit of an object that is not visible, as in `transformers`."""

_MEMORY = ("maskmem_features", "maskmem_pos_enc")


class Session:
    """Objects tracked from one keyframe through one video.

    Call `step` with the keyframe, then with each frame after it, then with each frame before it in descending order:
    the way back reads memories of the way forwards near the keyframe.

    num_frames: of the complete video. boxes: float32 (N, 4) xyxy, source pixels, N > 0. objects_per_batch: objects that
    go through the model as one batch.
    """

    def __init__(
        self,
        model: Any,
        num_frames: int,
        size_wh: tuple[int, int],
        keyframe: int,
        boxes: np.ndarray,
        objects_per_batch: int = 1,
    ) -> None:
        import torch

        side = model.config.image_size
        points = torch.from_numpy(boxes.astype(np.float32)).reshape(-1, 1, 2, 2)
        points[..., 0] *= side / size_wh[0]
        points[..., 1] *= side / size_wh[1]
        parts = points.to(model.device).split(objects_per_batch)
        self._batches = [ObjectBatch(model, num_frames, keyframe, part) for part in parts]

    def step(
        self, frame: int, levels: list[torch.Tensor], position: torch.Tensor, reverse: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mask logits of all objects in a frame, (N, 1, h, w) at the model's mask size, positive inside; and the
        probabilities (N,) that the objects are visible.

        levels: the frame's features, finest level first. position: position encoding of the coarsest level. Each is
        (positions, 1, channels).
        """
        import torch

        outputs = [batch.step(frame, levels, position, reverse) for batch in self._batches]
        scores = torch.cat([output.object_score_logits.flatten() for output in outputs])
        return torch.cat([output.pred_masks for output in outputs]), scores.float().sigmoid()


@dataclass(frozen=True, slots=True)
class FrameOutput:
    """The model's output for n objects in one frame.

    pred_masks: mask logits (n, 1, h, w) at the model's mask size; NO_OBJECT_LOGIT for an object that is not visible.
    high_res_masks: the same at the model's image size. object_score_logits: (n, 1, 1), positive for a visible object.
    object_pointer: (n, 1, c).
    """

    pred_masks: torch.Tensor
    high_res_masks: torch.Tensor
    object_score_logits: torch.Tensor
    object_pointer: torch.Tensor


class ObjectBatch:
    """Objects of one video that are tracked as one batch.

    points: corners of their boxes, (n, 1, 2, 2), in pixels of the model.
    """

    def __init__(self, model: Any, num_frames: int, keyframe: int, points: torch.Tensor) -> None:
        self._model = model
        self._num_frames = num_frames
        self._keyframe = keyframe
        self._points = points
        self._keyframe_outputs: dict[int, dict[str, torch.Tensor]] = {}
        self._other_outputs: dict[int, dict[str, torch.Tensor]] = {}
        # The part of a stock session that the model reads. It has one object, which holds our batch.
        outputs = {"cond_frame_outputs": self._keyframe_outputs, "non_cond_frame_outputs": self._other_outputs}
        self._stock_session = SimpleNamespace(dtype=model.dtype, output_dict_per_obj=[outputs])

    def step(self, frame: int, levels: list[torch.Tensor], position: torch.Tensor, reverse: bool) -> FrameOutput:
        """Output for the objects in a frame; arguments as in `Session.step`."""
        expanded = [level.expand(-1, len(self._points), -1) for level in levels]
        conditioned = self._condition_on_memory(frame, expanded[-1], position, reverse)
        output = self._decode(frame, expanded[:-1], conditioned)
        self._store(frame, expanded[-1], output, reverse)
        self._drop_unread(frame, reverse)
        return output

    def _condition_on_memory(
        self, frame: int, coarsest: torch.Tensor, position: torch.Tensor, reverse: bool
    ) -> torch.Tensor:
        """The coarsest features after attention to memories, (n, c, h, w)."""
        # The stock code squeezes the batch dimension. It takes a batch for positions unless that dimension comes first.
        with self._model.memory_attention.register_forward_hook(lambda _module, _inputs, out: out.transpose(0, 1)):
            conditioned: torch.Tensor = self._model._prepare_memory_conditioned_features(
                inference_session=self._stock_session,
                frame_idx=frame,
                obj_idx=0,
                is_initial_conditioning_frame=frame == self._keyframe,
                current_vision_features=coarsest,
                current_vision_positional_embeddings=position,
                num_total_frames=self._num_frames,
                track_in_reverse_time=reverse,
            )
        return conditioned

    def _decode(self, frame: int, finer: list[torch.Tensor], conditioned: torch.Tensor) -> FrameOutput:
        """The model's mask decoder for a batch; the stock code takes one object at a time."""
        import torch
        from torch.nn.functional import interpolate

        model, count = self._model, len(conditioned)
        masks, iou_scores, tokens, object_score_logits = self._run_decoder(frame, finer, conditioned)
        row = torch.arange(count, device=masks.device)
        best = iou_scores[:, 0].argmax(-1)
        visible = object_score_logits > 0
        pred_masks = torch.where(visible[..., None], masks[row, :, best], NO_OBJECT_LOGIT)
        high_res = interpolate(pred_masks.float(), (model.image_size,) * 2, mode="bilinear", align_corners=False)
        pointer, weight = model.object_pointer_proj(tokens[row, :, best]), visible.to(masks.dtype)
        pointer = weight * pointer + (1 - weight) * model.no_object_pointer
        return FrameOutput(pred_masks, high_res.to(masks.dtype), object_score_logits, pointer)

    def _run_decoder(
        self, frame: int, finer: list[torch.Tensor], conditioned: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mask logits of all candidates, their IoU scores, their tokens, and the logits of visibility."""
        model, at_keyframe = self._model, frame == self._keyframe
        points, labels = self._prompt(frame, conditioned.dtype)
        sparse, dense = model.prompt_encoder(points, labels, input_boxes=None, input_masks=None)
        output: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor] = model.mask_decoder(
            image_embeddings=conditioned,
            image_positional_embeddings=model.get_image_wide_positional_embeddings().repeat(len(conditioned), 1, 1, 1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=model._use_multimask(at_keyframe, {"point_labels": labels} if at_keyframe else None),
            high_resolution_features=[
                level.permute(1, 2, 0).unflatten(2, tuple(size))
                for level, size in zip(finer, model.backbone_feature_sizes, strict=False)
            ],
        )
        return output

    def _prompt(self, frame: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Points and their labels: the corners of the boxes on the keyframe, a padding point elsewhere."""
        import torch

        if frame == self._keyframe:
            points, labels = self._points, torch.tensor(BOX_LABELS, dtype=torch.int32)
        else:
            points = torch.zeros_like(self._points[:, :, :1], dtype=dtype)
            labels = torch.tensor([NO_POINT_LABEL], dtype=torch.int32)
        return points, labels.to(points.device).expand(len(points), 1, -1)

    def _store(self, frame: int, coarsest: torch.Tensor, output: FrameOutput, reverse: bool) -> None:
        """Stores what later frames may read of this one."""
        at_keyframe = frame == self._keyframe
        stored = {"object_pointer": output.object_pointer}
        if self._is_memory_read(frame, reverse):
            features, encoding = self._model._encode_new_memory(
                coarsest, output.high_res_masks, output.object_score_logits, at_keyframe
            )
            if self._keyframe_outputs:
                # The encoding is the same for all memories: share one.
                encoding = self._keyframe_outputs[self._keyframe]["maskmem_pos_enc"]
            stored |= zip(_MEMORY, (features, encoding), strict=True)
        (self._keyframe_outputs if at_keyframe else self._other_outputs)[frame] = stored

    def _is_memory_read(self, frame: int, reverse: bool) -> bool:
        """Whether a later frame reads the memory of this one."""
        if reverse:
            return frame > 0
        near_keyframe = self._keyframe > 0 and frame - self._keyframe < self._model.config.num_maskmem
        return near_keyframe or frame < self._num_frames - 1

    def _drop_unread(self, frame: int, reverse: bool) -> None:
        """Drops what no later frame reads."""
        config = self._model.config
        for other in list(self._other_outputs):
            distance = abs(other - frame)
            if not reverse:
                # The way back starts at the keyframe, and reads memories of frames after it.
                distance = min(distance, other - self._keyframe)
            if distance >= config.max_object_pointers_in_encoder:
                del self._other_outputs[other]
            elif distance >= config.num_maskmem:
                for name in _MEMORY:
                    self._other_outputs[other].pop(name, None)
