"""What a SAM 2 model remembers while it follows objects: a session of `transformers` that does not grow with the video.

In: a model, the length of a video, boxes on its keyframe; then one frame's features at a time. Out: mask logits.

The stock session keeps the pictures, the features and the results of all frames. Here the features come from outside,
and of the results stays only what the model reads again: memories of the keyframe and of the last few frames, the way
it is walked. All arithmetic is the model's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

BOX_CORNERS = (2, 3)
"""How SAM 2's prompt encoder calls the two points that make up a box."""

_MEMORY = ("maskmem_features", "maskmem_pos_enc")


class Session:
    """Objects followed from one keyframe through one video. Ask for the keyframe first, then away from it on one side
    to the end, then on the other: going back reads what going forwards remembered near the keyframe.

    boxes: float32 (N, 4) xyxy, pixels of the source frame, N > 0. num_frames: of the whole video.
    """

    def __init__(self, model: Any, num_frames: int, size_wh: tuple[int, int], keyframe: int, boxes: np.ndarray) -> None:
        self._model = model
        self._keyframe = keyframe
        self._looked_at = _LookedAt()
        self._encoding: torch.Tensor | None = None
        self._state = _session_class(model)(
            video_height=size_wh[1],
            video_width=size_wh[0],
            inference_device=model.device,
            inference_state_device=model.device,
            dtype=model.dtype,
        )
        # The length is all that is asked of the pictures: no frame is without features.
        self._state.processed_frames = range(num_frames)
        self._state.cache = self._looked_at
        self._prompt(boxes, size_wh)

    def look(
        self, frame: int, levels: list[torch.Tensor], position: torch.Tensor, reverse: bool = False
    ) -> torch.Tensor:
        """Mask logits of all objects in a frame, (N, 1, h, w) at the model's own size; above 0 is inside.

        levels, position: the frame's features, finest level first, and the position encoding of the coarsest.
        """
        self._looked_at.frame = frame
        self._looked_at.features = {"vision_feats": levels, "vision_pos_embeds": [position]}
        found = self._model(
            self._state, frame_idx=frame, reverse=reverse, run_mem_encoder=self._is_read_again(frame, reverse)
        )
        logits: torch.Tensor = found.pred_masks
        self._forget(frame, reverse)
        return logits

    def _prompt(self, boxes: np.ndarray, size_wh: tuple[int, int]) -> None:
        """Tells the state what to follow, one object a box. Equals the stock processor to the last bit."""
        import torch

        side = self._model.config.image_size
        points = torch.from_numpy(boxes.astype(np.float32)).reshape(-1, 2, 2)
        points[..., 0] *= side / size_wh[0]
        points[..., 1] *= side / size_wh[1]
        labels = torch.tensor([[BOX_CORNERS]], dtype=torch.int32)
        for number, corners in enumerate(points):
            index = self._state.obj_id_to_idx(number)
            prompt = {"point_coords": corners[None, None], "point_labels": labels}
            self._state.add_point_inputs(index, self._keyframe, prompt)
        self._state.obj_with_new_inputs = list(range(len(points)))

    def _is_read_again(self, frame: int, reverse: bool) -> bool:
        """Whether some later frame reads what is remembered of this one."""
        if reverse:
            return frame > 0
        near_keyframe = self._keyframe > 0 and frame - self._keyframe < self._model.config.num_maskmem
        return near_keyframe or frame < len(self._state.processed_frames) - 1

    def _forget(self, frame: int, reverse: bool) -> None:
        """Drops what no later frame reads."""
        config = self._model.config
        for index, outputs in self._state.output_dict_per_obj.items():
            known = outputs["non_cond_frame_outputs"]
            for other in list(known):
                distance = abs(other - frame)
                if not reverse:
                    # Going back starts at the keyframe, and looks ahead from there.
                    distance = min(distance, other - self._keyframe)
                if distance >= config.max_object_pointers_in_encoder:
                    del known[other]
                elif distance >= config.num_maskmem:
                    for name in _MEMORY:
                        known[other].pop(name, None)
            for result in (known.get(frame), outputs["cond_frame_outputs"].get(frame)):
                if result is not None:
                    self._slim(result)
            # Only read for objects that get new prompts on the way.
            self._state.frames_tracked_per_obj[index].clear()

    def _slim(self, result: dict[str, Any]) -> None:
        """A frame's result without its masks at full size, and with the one position encoding all memories share."""
        result.pop("high_res_masks", None)
        if "maskmem_pos_enc" in result:
            if self._encoding is None:
                self._encoding = result["maskmem_pos_enc"].clone()
            result["maskmem_pos_enc"] = self._encoding


class _LookedAt:
    """Takes the place of the stock cache: the features of the frame that is being looked at, and of no other."""

    frame = -1
    features: dict[str, list[torch.Tensor]] | None = None

    def get_vision_features(self, frame: int) -> dict[str, list[torch.Tensor]] | None:
        return self.features if frame == self.frame else None


def _session_class(model: Any) -> Any:
    """The session that belongs to a model: in its own module, under its own name."""
    import sys

    module = sys.modules[type(model).__module__]
    return getattr(module, type(model).__name__.replace("Model", "InferenceSession"))
