"""SAM 2, EdgeTAM and SAM 3 models small enough for a test: real classes, random weights, the real layout on disk."""

from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.ops.video import ArrayFrames
from thinkseg.types import Tracker

SIDE = 64
"""Side of the square a tiny SAM 2 sees."""

CHANNELS = 128
"""Channels of features. Twice those of memories, as in the real ones, so that object pointers are split in two."""

WIDTH, HEIGHT = 80, 60
BOXES = np.array([[5, 5, 30, 30], [40, 20, 70.5, 55]], np.float32)


def footage(num_frames: int, size_wh: tuple[int, int] = (WIDTH, HEIGHT), seed: int = 0) -> ArrayFrames:
    """Large colored squares that drift down and to the right."""
    width, height = size_wh
    squares = np.random.default_rng(seed).integers(0, 256, (-(-height // 10), -(-width // 10), 3))
    picture = np.kron(squares, np.ones((10, 10, 1)))[:height, :width].astype(np.uint8)
    return ArrayFrames(np.stack([np.roll(picture, (i, 2 * i), (0, 1)) for i in range(num_frames)]))


def tracked(tracker: Tracker, video: ArrayFrames, keyframe: int, boxes: np.ndarray = BOXES) -> np.ndarray:
    """Masks bool (N, T, H, W)."""
    found = tracker.track(video, keyframe, boxes)
    return np.stack([found.masks(frame) for frame in range(len(video))], axis=1)


def save_sam2(folder: Path, seed: int = 0) -> Path:
    """A SAM 2 with every part of a real one: four stages, memory, object pointers, occlusion embedding."""
    create_sam2(seed).save_pretrained(folder)
    return folder


MEMORY = {
    "memory_attention_hidden_size": CHANNELS,
    "memory_encoder_hidden_size": CHANNELS,
    "mask_downsampler_embed_dim": CHANNELS,
    "memory_fuser_embed_dim": CHANNELS,
    "memory_fuser_intermediate_dim": 48,
}
"""Sizes of the memory in all models."""

COMMON = MEMORY | {
    "prompt_encoder_config": {"hidden_size": CHANNELS, "image_size": SIDE},
    "mask_decoder_config": {
        "hidden_size": CHANNELS,
        "mlp_dim": 48,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": CHANNELS,
    },
    "image_size": SIDE,
    "memory_attention_rope_feat_sizes": [SIDE // 16] * 2,
}
"""Configuration that SAM 2 and EdgeTAM share."""


def create_sam2(seed: int = 0) -> Any:
    import torch
    from transformers import Sam2VideoConfig, Sam2VideoModel
    from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig
    from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoMaskDecoderConfig

    vision = Sam2VisionConfig(
        backbone_config=Sam2HieraDetConfig(
            hidden_size=8,
            image_size=[SIDE, SIDE],
            blocks_per_stage=[1, 1, 3, 1],
            embed_dim_per_stage=[8, 16, 32, 64],
            num_attention_heads_per_stage=[1, 1, 2, 2],
            window_size_per_stage=[4, 4, 4, 2],
            global_attention_blocks=[3],
        ),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2],
        fpn_hidden_size=CHANNELS,
    )
    # As an object: transformers 5.19 takes a dict for the configuration of a prompt encoder.
    decoder = Sam2VideoMaskDecoderConfig(**COMMON["mask_decoder_config"])
    config = Sam2VideoConfig(
        vision_config=vision,
        **COMMON | {"mask_decoder_config": decoder},
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=48,
        memory_encoder_output_channels=64,
    )
    torch.manual_seed(seed)
    return stirred(Sam2VideoModel(config).eval())


def save_edgetam(folder: Path) -> Path:
    """An EdgeTAM with the image encoder of a SAM 2."""
    import torch
    from transformers import EdgeTamVideoConfig, EdgeTamVideoModel

    config = EdgeTamVideoConfig(
        vision_config=create_sam2().config.vision_config,
        **COMMON,
        memory_attention_mlp_hidden_size=48,
        memory_attention_rope_k_sizes=[2, 2],
        perceiver_resampler_num_latents=4,
        perceiver_resampler_num_latents_2d=4,
        perceiver_resampler_mlp_intermediate_size=32,
    )
    torch.manual_seed(0)
    stirred(EdgeTamVideoModel(config).eval()).save_pretrained(folder)
    return folder


def save_sam3(folder: Path, complete: bool) -> Path:
    """The tracker of a SAM 3. complete: with the configuration of a complete SAM 3, as published."""
    import torch
    from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel, Sam3VideoConfig

    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 56,
        "pretrain_image_size": 56,
        "window_size": 2,
        "global_attn_indexes": [1],
    }
    config = Sam3TrackerVideoConfig(
        vision_config={"model_type": "sam3_vision_model", "fpn_hidden_size": CHANNELS, "backbone_config": backbone},
        prompt_encoder_config={"hidden_size": CHANNELS},
        mask_decoder_config={
            "hidden_size": CHANNELS,
            "mlp_dim": 48,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": CHANNELS,
        },
        image_size=56,
        **MEMORY,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=48,
    )
    torch.manual_seed(0)
    stirred(Sam3TrackerVideoModel(config).eval()).save_pretrained(folder)
    if complete:
        Sam3VideoConfig(tracker_config=config.to_dict()).save_pretrained(folder)
    return folder


def stirred(model: Any) -> Any:
    """The model with larger weights, so that its masks depend on the image, the box and the memories.

    Initial weights are so small that memories hardly count, and embeddings are zero.
    """
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and not name.startswith("vision_encoder"):
                weight.copy_(torch.randn_like(weight) * 2 / max(weight[0].numel(), 16) ** 0.5)
            elif not weight.any():
                weight.copy_(torch.randn_like(weight) * 0.1)
        # Most objects are visible in most frames.
        model.mask_decoder.pred_obj_score_head.proj_out.bias += 3
    return model
