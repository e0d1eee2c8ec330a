"""What the reward "consistency" costs a group with SAM 2 as its tracker: `python benchmarks/sam2_reward.py`.

Makes a SAM 2 at 1024 pixels with random weights, in the size of hiera-tiny or another, and a group of eight attempts at
one prompt whose boxes lie on the target, each a little elsewhere. Scores the group as `thinkseg train grpo` does:
features of the frames shared by all, answers that are alike tracked once. Compares with a fresh session of
`transformers` for each attempt, which encodes all frames anew; that costs the same each time, so a few tell it. Masks
must agree in every bit. Prints the costs and ends with one JSON line.

Times are those of this process on one thread of the processor, so that other work on the machine does not count; on a
GPU they are those of the clock.
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
from thinkseg.cli.options import count
from thinkseg.data.shapes import load
from thinkseg.models.trackers.sam2 import Sam2Tracker, normalised, squeezed
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
    parser.add_argument("--model", default="hiera-tiny", choices=SIZES, help="its size (default: hiera-tiny)")
    parser.add_argument("--frames", type=count, default=6, help="shown to the policy (default: 6)")
    parser.add_argument("--rollouts", type=count, default=8, help="attempts in the group (default: 8)")
    parser.add_argument("--distinct", type=count, help="different answers among them (default: all)")
    parser.add_argument("--fresh", type=count, default=2, help="attempts done the plain way (default: 2)")
    parser.add_argument("--together", type=count, help="objects that go through the model at once (default: by device)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = create(arguments.model).to(arguments.device)
    group = attempts(arguments.frames, arguments.rollouts, arguments.distinct or arguments.rollouts)
    tracker = Sam2Tracker(model, together=arguments.together)
    encoding, _ = timed(lambda: model.get_image_features(torch.zeros(1, 3, 1024, 1024, device=model.device)))
    ours, tracked = timed(lambda: track(group, tracker))
    print(f"{arguments.model} at 1024, {arguments.frames} frames, {len(group)} attempts", flush=True)
    print(f"shared {ours:.1f} s, of which frames encoded once {encoding * arguments.frames:.1f} s", flush=True)
    plain, expected = timed(lambda: [plainly(model, rollout) for rollout in group[: arguments.fresh]])
    same = all(agree(one.masklets, other) for one, other in zip(tracked, expected, strict=False))
    fresh = plain / len(expected) * len(group)
    print(f"a fresh session each {fresh:.1f} s: {fresh / ours:.2f} times as much; same to the last bit: {same}")
    told = {**vars(arguments), "fresh_s": fresh, "ours_s": ours, "encoding_a_frame_s": encoding}
    print(json.dumps({**told, "ratio": fresh / ours, "same": same}))


def create(size: str) -> Any:
    """A SAM 2 with random weights that sees its objects in every frame."""
    torch.manual_seed(0)
    vision = {"model_type": "sam2_vision_model", **SIZES[size]}
    model = Sam2VideoModel(Sam2VideoConfig(vision_config=vision)).eval()
    with torch.no_grad():
        model.mask_decoder.pred_obj_score_head.proj_out.bias += 10
    return model


def attempts(num_frames: int, rollouts: int, distinct: int) -> list[Rollout]:
    """A group whose answers choose one of the frames shown in turn, and box the targets up to three pixels off."""
    sample = load("val", 0)
    prompt = Prompt(sample, sample_indices(len(sample.video), num_frames))
    seen = [frame for frame in prompt.shown if len(prompt.boxes[frame])]
    rng = np.random.default_rng(0)
    answers = []
    for number in range(distinct):
        keyframe = seen[number % len(seen)]
        boxes = prompt.boxes[keyframe] + rng.uniform(-3, 3, prompt.boxes[keyframe].shape).astype(np.float32)
        answers.append(Answer("", keyframe, boxes))
    chosen = [answers[number % distinct] for number in range(rollouts)]
    return [Rollout(prompt, Outcome(answer, None, ("",), answer.keyframe)) for answer in chosen]


def plainly(model: Any, rollout: Rollout) -> np.ndarray:
    """Masks bool (N, T, H, W) of one attempt from a session of its own, which is driven as its library tells."""
    prompt, answer = rollout.prompt, rollout.answer
    assert answer is not None
    assert answer.keyframe is not None  # an attempt boxes something
    frames = np.stack([*prompt.sample.video.read(prompt.shown)])
    height, width = frames.shape[1:3]
    session = Sam2VideoInferenceSession(
        video=normalised(squeezed(frames, 1024), model),
        video_height=height,
        video_width=width,
        inference_device=model.device,
        inference_state_device=model.device,
        video_storage_device=model.device,
        dtype=torch.float32,
    )
    keyframe = prompt.shown.index(answer.keyframe)
    boxes = in_order(np.clip(answer.boxes, 0, [width, height, width, height]))
    for number, box in enumerate(boxes):
        corners = torch.from_numpy(box).float().view(1, 1, 2, 2) * torch.tensor([1024 / width, 1024 / height])
        prompts = {"point_coords": corners, "point_labels": torch.tensor([[[2, 3]]], dtype=torch.int32)}
        session.add_point_inputs(session.obj_id_to_idx(number), keyframe, prompts)
    session.obj_with_new_inputs = list(range(len(boxes)))
    masks = np.zeros((len(boxes), len(frames), height, width), bool)
    model(inference_session=session, frame_idx=keyframe)
    for reverse in (False, True):
        for found in model.propagate_in_video_iterator(session, start_frame_idx=keyframe, reverse=reverse):
            large = interpolate(found.pred_masks, (height, width), mode="bilinear", align_corners=False)
            masks[:, found.frame_idx] = (large[:, 0] > 0).cpu().numpy()
    return masks


def in_order(boxes: np.ndarray) -> np.ndarray:
    """Boxes sorted by their corners, as a group's answers are before they are compared."""
    return boxes[np.lexsort(boxes.T[::-1])]


def agree(masklets: Masklets | None, masks: np.ndarray) -> bool:
    assert masklets is not None  # every attempt has boxes on the target
    return all(np.array_equal(masklets.masks(frame), masks[:, frame]) for frame in range(masks.shape[1]))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that something takes, and what came of it."""
    on_gpu = torch.cuda.is_available()
    clock = time.perf_counter if on_gpu else time.process_time
    started = clock()
    with torch.inference_mode():
        done = work()
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - started, done


if __name__ == "__main__":
    main()
