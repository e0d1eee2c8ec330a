"""Tracking state of a SAM 2 model for one video, of constant size for videos of any length.

The stock model tracks object by object, and its session stores the frames, features and results of the complete video.
Here several objects form a batch, and only memories that the model reads again are stored: those of the keyframes and
of the last few frames. Parts and order are those of the model; with one object per batch, results are bit-identical to
the stock model with a session per object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.types import ObjectPrompt

if TYPE_CHECKING:
    import torch

BOX_LABELS = (2, 3)
"""Labels of the two corners of a box in SAM 2's prompt encoder."""

MASK_THRESHOLD = 0.5
"""Coverage from which a pixel of a resized mask is inside, as in the stock processor."""

NO_POINT_LABEL = -1
"""Its label for the padding point of a frame without a prompt."""

NO_OBJECT_LOGIT = -1024.0
"""Mask logit of an object that is not visible, as in `transformers`."""

_MEMORY = ("maskmem_features", "maskmem_pos_enc")


class Session:
    """Objects tracked through one video, from all their keyframes: the frames with a prompt for them.

    Call `prompt` with each frame of `keyframes`, in ascending order. Then call `step` with each frame of `forwards`,
    and with each of `backwards`: the way back reads memories of the way forwards near an object's first keyframe.

    num_frames: of the complete video. prompts: of N > 0 objects, see `thinkseg.types.PromptTracker`. objects_per_batch:
    objects that go through the model as one batch; they have the same keyframes, and as many points on each.
    """

    def __init__(
        self,
        model: Any,
        num_frames: int,
        size_wh: tuple[int, int],
        prompts: Sequence[ObjectPrompt],
        objects_per_batch: int = 1,
    ) -> None:
        self._batches: list[ObjectBatch] = []
        self._order: list[int] = []
        objects: dict[int, dict[int, FramePrompt]] = {}
        for one in sorted(prompts, key=lambda prompt: (prompt.obj, prompt.frame)):
            objects.setdefault(one.obj, {})[one.frame] = encoded_prompt(one, size_wh, model)
        self.keyframes = sorted({one.frame for one in prompts})
        for members in _alike(objects):
            for start in range(0, len(members), objects_per_batch):
                part = members[start : start + objects_per_batch]
                self._batches.append(ObjectBatch(model, num_frames, _joined([objects[obj] for obj in part])))
                self._order += part
        first = [batch.first_keyframe for batch in self._batches]
        self.forwards, self.backwards = range(min(first), num_frames), range(max(first) - 1, -1, -1)

    def prompt(self, frame: int, levels: list[torch.Tensor], position: torch.Tensor) -> None:
        """Reads the prompts of a keyframe; arguments as in `step`."""
        for batch in self._batches:
            if frame in batch.prompts:
                batch.start(frame, levels, position)

    def reads(self, frame: int, reverse: bool = False) -> bool:
        """Whether `step` reads the features of a frame: it is not a keyframe of all objects."""
        return any(batch.tracks(frame, reverse) for batch in self._batches)

    def step(
        self, frame: int, levels: list[torch.Tensor], position: torch.Tensor, reverse: bool = False
    ) -> tuple[list[int], torch.Tensor, torch.Tensor]:
        """The n objects that are tracked in a frame, in this direction; their mask logits (n, 1, h, w) at the model's
        mask size, positive inside; and the probabilities (n,) that they are visible.

        levels: the frame's features, finest level first; unused unless `reads`. position: position encoding of the
        coarsest level. Each is (positions, 1, channels).
        """
        import torch

        outputs, objects, order = [], [], iter(self._order)
        for batch in self._batches:
            members = [next(order) for _ in range(batch.size)]
            if frame in batch.prompts and not reverse:
                outputs.append(batch.prompted[frame])
            elif batch.tracks(frame, reverse):
                outputs.append(batch.step(frame, levels, position, reverse))
            else:
                continue
            objects += members
        scores = torch.cat([output.object_score_logits.flatten() for output in outputs])
        return objects, torch.cat([output.pred_masks for output in outputs]), scores.float().sigmoid()


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


@dataclass(frozen=True, slots=True)
class FramePrompt:
    """The prompt of n objects on one frame as the model reads it, with P points of each or a mask of each.

    points: (n, 1, P, 2), in pixels of the model. labels: (n, 1, P), those of a box's corners first. masks: (n, 1, side,
    side), 0 or 1, at the model's image size; None: the points are the prompt.
    """

    points: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor | None = None


def encoded_prompt(prompt: ObjectPrompt, size_wh: tuple[int, int], model: Any) -> FramePrompt:
    """A prompt as the stock processor encodes it: the corners of a box before points, or a mask at image size."""
    import torch
    from torch.nn.functional import interpolate

    side, corners = model.config.image_size, () if prompt.box is None else BOX_LABELS
    xy = prompt.points if prompt.box is None else np.concatenate([prompt.box.reshape(2, 2), prompt.points])
    points = torch.from_numpy(xy.astype(np.float32)).reshape(1, 1, -1, 2)
    points[..., 0] *= side / size_wh[0]
    points[..., 1] *= side / size_wh[1]
    labels = torch.tensor([*corners, *prompt.labels], dtype=torch.int32).reshape(1, 1, -1)
    if prompt.mask is None:
        return FramePrompt(points.to(model.device), labels.to(model.device))
    mask = torch.from_numpy(prompt.mask).float()[None, None].to(model.device)
    if mask.shape[2:] != (side, side):
        mask = interpolate(mask, (side, side), mode="bilinear", align_corners=False, antialias=True)
        mask = (mask >= MASK_THRESHOLD).float()
    return FramePrompt(points.to(model.device), labels.to(model.device), mask)


def _alike(objects: Mapping[int, Mapping[int, FramePrompt]]) -> Iterator[list[int]]:
    """Lists of objects with the same keyframes, and on each with as many points, or with masks."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for obj, prompts in objects.items():
        form = tuple((frame, one.labels.shape[2], one.masks is None) for frame, one in prompts.items())
        groups.setdefault(form, []).append(obj)
    yield from groups.values()


def _joined(prompts: Sequence[Mapping[int, FramePrompt]]) -> dict[int, FramePrompt]:
    """The prompts per frame of objects that are alike, for a batch."""
    import torch

    joined = {}
    for frame in prompts[0]:
        parts = [one[frame] for one in prompts]
        masks = [part.masks for part in parts if part.masks is not None]
        points, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("points", "labels"))
        joined[frame] = FramePrompt(points, labels, torch.cat(masks) if masks else None)
    return joined


class ObjectBatch:
    """Objects of one video that are tracked as one batch. prompts: by keyframe, ascending."""

    def __init__(self, model: Any, num_frames: int, prompts: Mapping[int, FramePrompt]) -> None:
        self._model = model
        self._num_frames = num_frames
        self.prompts = prompts
        self.first_keyframe = min(prompts)
        self.size = len(prompts[self.first_keyframe].points)
        self.prompted: dict[int, FrameOutput] = {}
        self._keyframe_outputs: dict[int, dict[str, torch.Tensor]] = {}
        self._other_outputs: dict[int, dict[str, torch.Tensor]] = {}
        # The part of a stock session that the model reads. It has one object, which holds our batch.
        outputs = {"cond_frame_outputs": self._keyframe_outputs, "non_cond_frame_outputs": self._other_outputs}
        self._stock_session = SimpleNamespace(dtype=model.dtype, output_dict_per_obj=[outputs])

    def tracks(self, frame: int, reverse: bool) -> bool:
        """Whether the masks of a frame follow from memories: forwards from the first keyframe, and back from it."""
        return frame < self.first_keyframe if reverse else frame > self.first_keyframe and frame not in self.prompts

    def start(self, frame: int, levels: list[torch.Tensor], position: torch.Tensor) -> None:
        """Makes the output of a keyframe from its prompt alone; arguments as in `Session.step`."""
        output = self.step(frame, levels, position, reverse=False)
        self.prompted[frame] = replace(output, high_res_masks=output.high_res_masks[:0])

    def step(self, frame: int, levels: list[torch.Tensor], position: torch.Tensor, reverse: bool) -> FrameOutput:
        """Output for the objects in a frame; arguments as in `Session.step`."""
        expanded = [level.expand(-1, self.size, -1) for level in levels]
        prompt = self.prompts.get(frame)
        if prompt is not None and prompt.masks is not None:
            output = self._take_masks(expanded, prompt.masks)
        else:
            conditioned = self._condition_on_memory(frame, expanded[-1], position, reverse)
            output = self._decode(frame, expanded[:-1], conditioned)
        self._store(frame, expanded[-1], output, reverse)
        self._drop_unread(frame, reverse)
        return output

    def _take_masks(self, levels: list[torch.Tensor], masks: torch.Tensor) -> FrameOutput:
        """Output for masks that are given; the stock code takes one object at a time."""
        import torch

        maps = self._as_maps(levels)
        found = [
            self._model._use_mask_as_output(maps[-1][[row]], [level[[row]] for level in maps[:-1]], masks[[row]])
            for row in range(self.size)
        ]
        names = ("pred_masks", "high_res_masks", "object_score_logits", "object_pointer")
        return FrameOutput(*(torch.cat([getattr(one, name) for one in found]) for name in names))

    def _as_maps(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        """Features (positions, n, channels) as maps (n, channels, h, w)."""
        sizes = self._model.backbone_feature_sizes
        return [level.permute(1, 2, 0).unflatten(2, tuple(size)) for level, size in zip(levels, sizes, strict=False)]

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
                is_initial_conditioning_frame=frame in self.prompts,
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
        model, at_keyframe = self._model, frame in self.prompts
        points, labels = self._prompt(frame, conditioned.dtype)
        sparse, dense = model.prompt_encoder(points, labels, input_boxes=None, input_masks=None)
        output: tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor] = model.mask_decoder(
            image_embeddings=conditioned,
            image_positional_embeddings=model.get_image_wide_positional_embeddings().repeat(len(conditioned), 1, 1, 1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=model._use_multimask(at_keyframe, {"point_labels": labels} if at_keyframe else None),
            high_resolution_features=self._as_maps(finer),
        )
        return output

    def _prompt(self, frame: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Points and their labels: those of the prompt on a keyframe, a padding point elsewhere."""
        import torch

        if frame in self.prompts:
            return self.prompts[frame].points, self.prompts[frame].labels
        points = torch.zeros((self.size, 1, 1, 2), dtype=dtype, device=self._model.device)
        return points, torch.full(points.shape[:3], NO_POINT_LABEL, dtype=torch.int32, device=points.device)

    def _store(self, frame: int, coarsest: torch.Tensor, output: FrameOutput, reverse: bool) -> None:
        """Stores what later frames may read of this one."""
        at_keyframe = frame in self.prompts
        stored = {"object_pointer": output.object_pointer}
        if self._is_memory_read(frame, reverse):
            features, encoding = self._model._encode_new_memory(
                coarsest, output.high_res_masks, output.object_score_logits, at_keyframe
            )
            if self._keyframe_outputs:
                # The encoding is the same for all memories: share one.
                encoding = self._keyframe_outputs[self.first_keyframe]["maskmem_pos_enc"]
            stored |= zip(_MEMORY, (features, encoding), strict=True)
        (self._keyframe_outputs if at_keyframe else self._other_outputs)[frame] = stored

    def _is_memory_read(self, frame: int, reverse: bool) -> bool:
        """Whether a later frame reads the memory of this one."""
        if frame in self.prompts:
            return self._num_frames > 1
        if reverse:
            return frame > 0
        first = self.first_keyframe
        return (first > 0 and frame - first < self._model.config.num_maskmem) or frame < self._num_frames - 1

    def _drop_unread(self, frame: int, reverse: bool) -> None:
        """Drops what no later frame reads."""
        config = self._model.config
        for other in list(self._other_outputs):
            distance = abs(other - frame)
            if not reverse:
                # The way back starts at the first keyframe, and reads memories of frames after it.
                distance = min(distance, other - self.first_keyframe)
            if distance >= config.max_object_pointers_in_encoder:
                del self._other_outputs[other]
            elif distance >= config.num_maskmem:
                for name in _MEMORY:
                    self._other_outputs[other].pop(name, None)
