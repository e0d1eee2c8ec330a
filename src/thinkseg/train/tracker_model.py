"""A SAM 2 with first weights: its sizes in, an untrained model with all of its parts out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thinkseg.train.tracker_recipe import Sizes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PLACE_GAIN, FEATURE_GAIN = 2.0, 0.3
"""How much larger first weights are: of queries and keys where prompts and pictures attend to each other, and of what
makes the features of pictures. With 1.0 for the latter masks are empty after 240 steps of 8 pictures, with these their
IoU is 0.49 after 200.
"""


def create_tracker(sizes: Sizes) -> PreTrainedModel:
    """A SAM 2 from which it can be learned what a box means. It draws one mask where the published ones draw three."""
    from transformers import Sam2VideoConfig, Sam2VideoModel
    from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig

    side, channels = sizes.side, sizes.channels
    widths = [sizes.width * 2**stage for stage in range(4)]
    heads = [max(width // 32, 1) for width in widths]
    encoder = Sam2HieraDetConfig(
        hidden_size=sizes.width,
        num_attention_heads=heads[0],
        image_size=[side, side],
        blocks_per_stage=list(sizes.blocks),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=heads,
        window_size_per_stage=[8, 4, 8, 4],
        global_attention_blocks=[sum(sizes.blocks[:3]) - 1],
    )
    vision = Sam2VisionConfig(
        backbone_config=encoder,
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[side // scale] * 2 for scale in (4, 8, 16)],
        fpn_hidden_size=channels,
    )
    config = Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": channels, "image_size": side},
        mask_decoder_config={
            "hidden_size": channels,
            "mlp_dim": 2 * channels,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": channels,
            "dynamic_multimask_via_stability": False,
        },
        image_size=side,
        multimask_output_in_sam=False,
        memory_attention_hidden_size=channels,
        memory_attention_num_layers=sizes.memory_layers,
        memory_attention_feed_forward_hidden_size=2 * channels,
        memory_attention_dropout=0.0,
        memory_attention_rope_dropout=0.0,
        memory_attention_rope_feat_sizes=[side // 16] * 2,
        memory_encoder_hidden_size=channels,
        memory_encoder_output_channels=64,  # the only number that the attention to memories takes
        mask_downsampler_embed_dim=channels,
        memory_fuser_embed_dim=channels,
        memory_fuser_intermediate_dim=2 * channels,
    )
    model = Sam2VideoModel(config)
    _set_first_weights(model)
    return model


def _set_first_weights(model: Any) -> None:
    """First weights from which it is soon learned what a box means.

    `transformers` has others, made for models that go on from published weights: gradients through the normalisations
    of the memory encoder explode, and a prompt and a picture tell the same place by two different codes.
    """
    import torch
    from torch import nn

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
                module.reset_parameters()  # PyTorch's own, as in the released code
        for name, module in model.named_modules():
            if name.endswith(("attn_token_to_image", "attn_image_to_token")):
                # Attention begins with what is at one place.
                module.q_proj.weight.mul_(PLACE_GAIN)
                module.k_proj.weight.copy_(module.q_proj.weight)
            elif isinstance(module, nn.Conv2d) and name.startswith("vision_encoder.neck"):
                module.weight.mul_(FEATURE_GAIN)  # places stay visible beside them
        code = model.prompt_encoder.shared_embedding.positional_embedding
        model.shared_image_embedding.positional_embedding.copy_(code)
