"""Cost of the reward "consistency" for a group with SAM 2 as the tracker: `python benchmarks/sam2_reward.py`.

Creates a SAM 2 at 1024 pixels with random weights, and a group of rollouts of one prompt whose boxes are on the target,
each a few pixels off. Tracks the group as `thinkseg train grpo` does: rollouts share the features of frames, and equal
answers are tracked once. Compares with a new session of `transformers` per rollout, which encodes all frames again; the
cost is the same each time, so a few of them are timed. Masks must be bit-identical. Prints the times and ends with one
JSON line.

Times are CPU times of this process on one thread; on a GPU they are wall-clock times.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate
from transformers import Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from thinkseg.chains.frames import sample_indices
from thinkseg.cli.parsers import count
from thinkseg.data.shapes import load
from thinkseg.models.trackers.sam2 import Sam2Tracker, normalize, resize
from thinkseg.rewards import Prompt, Rollout
from thinkseg.rewards.groups import track
from thinkseg.types import Answer, Masklets, Outcome

SIZES: dict[str, dict[str, Any]] = {
    "hiera-tiny": {},
    # The sizes of facebook/sam2.1-hiera-large.
    "hiera-large": {
        "backbone_channel_list": [1152, 576, 288, 144],
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 144,
            "num_attention_heads": 2,
            "blocks_per_stage": [2, 6, 36, 4],
            "embed_dim_per_stage": [144, 288, 576, 1152],
            "num_attention_heads_per_stage": [2, 4, 8, 16],
            "window_size_per_stage": [8, 4, 16, 8],
            "global_attention_blocks": [23, 33, 43],
        },
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="hiera-tiny", choices=SIZES, help="model size (default: hiera-tiny)")
    parser.add_argument("--frames", type=count, default=6, help="frames of the prompt (default: 6)")
    parser.add_argument("--rollouts", type=count, default=8, help="rollouts in the group (default: 8)")
    parser.add_argument("--distinct", type=count, help="distinct answers among them (default: all)")
    parser.add_argument("--fresh", type=count, default=2, help="rollouts timed with a new session (default: 2)")
    parser.add_argument("--objects-per-batch", type=count, help="objects in one batch (default: by device)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = create(arguments.model).to(arguments.device)
    group = rollouts_of(arguments.frames, arguments.rollouts, arguments.distinct or arguments.rollouts)
    tracker = Sam2Tracker(model, objects_per_batch=arguments.objects_per_batch)
    encoding, _ = timed(lambda: model.get_image_features(torch.zeros(1, 3, 1024, 1024, device=model.device)))
    ours, tracked = timed(lambda: track(group, tracker))
    print(f"{arguments.model} at 1024, {arguments.frames} frames, {len(group)} rollouts", flush=True)
    print(f"shared: {ours:.1f} s, of which image encoding {encoding * arguments.frames:.1f} s", flush=True)
    stock, expected = timed(lambda: [stock_masks(model, rollout) for rollout in group[: arguments.fresh]])
    same = all(equal(one.masklets, other) for one, other in zip(tracked, expected, strict=False))
    fresh = stock / len(expected) * len(group)
    print(f"a new session each: {fresh:.1f} s, {fresh / ours:.2f} times as much; masks bit-identical: {same}")
    report = {**vars(arguments), "fresh_s": fresh, "ours_s": ours, "encoding_s_per_frame": encoding}
    print(json.dumps({**report, "ratio": fresh / ours, "same": same}))


def create(size: str) -> Any:
    """A SAM 2 with random weights whose objects are visible in every frame."""
    torch.manual_seed(0)
    vision = {"model_type": "sam2_vision_model", **SIZES[size]}
    model = Sam2VideoModel(Sam2VideoConfig(vision_config=vision)).eval()
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias += 10
    return model


def rollouts_of(num_frames: int, rollouts: int, distinct: int) -> list[Rollout]:
    """Rollouts whose answers take the frames of the prompt in turn as keyframe, with boxes up to three pixels off."""
    sample = load("val", 0)
    prompt = Prompt(sample, sample_indices(len(sample.video), num_frames))
    visible = [frame for frame in prompt.frame_indices if len(prompt.boxes[frame])]
    rng = np.random.default_rng(0)
    answers = []
    for number in range(distinct):
        keyframe = visible[number % len(visible)]
        boxes = prompt.boxes[keyframe] + rng.uniform(-3, 3, prompt.boxes[keyframe].shape).astype(np.float32)
        answers.append(Answer("", keyframe, boxes))
    chosen = [answers[number % distinct] for number in range(rollouts)]
    return [Rollout(prompt, Outcome(answer, None, ("",), answer.keyframe)) for answer in chosen]


def stock_masks(model: Any, rollout: Rollout) -> np.ndarray:
    """Masks bool (N, T, H, W) of one rollout from a stock session of its own."""
    prompt, answer = rollout.prompt, rollout.answer
    assert answer is not None
    assert answer.keyframe is not None  # every rollout has boxes
    frames = np.stack([*prompt.sample.video.read(prompt.frame_indices)])
    height, width = frames.shape[1:3]
    session = Sam2VideoInferenceSession(
        video=normalize(resize(frames, 1024), model),
        video_height=height,
        video_width=width,
        inference_device=model.device,
        inference_state_device=model.device,
        video_storage_device=model.device,
        dtype=torch.float32,
    )
    keyframe = prompt.frame_indices.index(answer.keyframe)
    boxes = ordered(np.clip(answer.boxes, 0, [width, height, width, height]))
    for number, box in enumerate(boxes):
        corners = torch.from_numpy(box).float().view(1, 1, 2, 2) * torch.tensor([1024 / width, 1024 / height])
        prompts = {"point_coords": corners, "point_labels": torch.tensor([[[2, 3]]], dtype=torch.int32)}
        session.add_point_inputs(session.obj_id_to_idx(number), keyframe, prompts)
    session.obj_with_new_inputs = list(range(len(boxes)))
    masks = np.zeros((len(boxes), len(frames), height, width), bool)
    model(inference_session=session, frame_idx=keyframe)
    for reverse in (False, True):
        for output in model.propagate_in_video_iterator(session, start_frame_idx=keyframe, reverse=reverse):
            large = interpolate(output.pred_masks, (height, width), mode="bilinear", align_corners=False)
            masks[:, output.frame_idx] = (large[:, 0] > 0).cpu().numpy()
    return masks


def ordered(boxes: np.ndarray) -> np.ndarray:
    """Boxes sorted by their corners, as a group's answers are before they are compared."""
    return boxes[np.lexsort(boxes.T[::-1])]


def equal(masklets: Masklets | None, masks: np.ndarray) -> bool:
    assert masklets is not None  # every rollout has boxes on the target
    return all(np.array_equal(masklets.masks(frame), masks[:, frame]) for frame in range(masks.shape[1]))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    on_gpu = torch.cuda.is_available()
    clock = time.perf_counter if on_gpu else time.process_time
    started = clock()
    with torch.inference_mode():
        result = work()
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - started, result


if __name__ == "__main__":
    main()
