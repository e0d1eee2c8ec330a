"""SAM 2 models small enough to be made in a test: real classes, random weights, the real layout on disk."""

from pathlib import Path
from typing import Any

SIDE = 64
"""Side of the square the tiny models see."""


def save_sam2(folder: Path, seed: int = 0) -> Path:
    """A SAM 2 with every part of a real one: four stages, memory, object pointers, occlusion embedding."""
    create_sam2(seed).save_pretrained(folder)
    return folder


def create_sam2(seed: int = 0) -> Any:
    import torch
    from transformers import Sam2VideoConfig, Sam2VideoModel
    from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig

    width = 128
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
        fpn_hidden_size=width,
    )
    config = Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": width, "image_size": SIDE},
        mask_decoder_config={
            "hidden_size": width,
            "mlp_dim": 48,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": width,
        },
        image_size=SIDE,
        memory_attention_hidden_size=width,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=48,
        memory_attention_rope_feat_sizes=[SIDE // 16] * 2,
        memory_encoder_hidden_size=width,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=48,
    )
    torch.manual_seed(seed)
    return stirred(Sam2VideoModel(config).eval())


def stirred(model: Any) -> Any:
    """The model with its weights enlarged, so that its masks depend on the picture, the box and what it remembers.

    Fresh weights are so small that memories hardly count, and embeddings start out as zeros.
    """
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and not name.startswith("vision_encoder"):
                weight.copy_(torch.randn_like(weight) * 2 / max(weight[0].numel(), 16) ** 0.5)
            elif not weight.any():
                weight.copy_(torch.randn_like(weight) * 0.1)
        # Most objects are seen in most frames.
        model.mask_decoder.pred_obj_score_head.proj_out.bias += 3
    return model
