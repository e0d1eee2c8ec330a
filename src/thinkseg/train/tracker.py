"""Teaching a small SAM 2 from nothing on the shapes world: a recipe in, a folder that `--tracker` takes out.

    out/recipe.json          the settings of the run, defaults included
    out/log.jsonl            one line per logged step
    out/tensorboard/         the same for TensorBoard
    out/stages/NN-name/      checkpoints of a stage while it runs; `model/` once it is done
    out/model/               the result, in the ordinary layout

A box on the first frame of a clip, masks on all of them: what is remembered on the way are the model's own masks, as
when it is used. The losses and their weights are SAM 2's (arXiv 2408.00714, appendix D).

Killed at any moment and started again with the same recipe and folder, a run goes on from its last checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.models.sam2 import normalised
from thinkseg.models.session import Followed, Found
from thinkseg.train import processes, run
from thinkseg.train.sft import STAGE_STRIDE, stage_trainer
from thinkseg.train.tracker_recipe import Sizes, TrackerRecipe
from thinkseg.train.tracklets import Tracklets

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

FOCAL, DICE, QUALITY, SEEN = 20.0, 1.0, 1.0, 1.0
"""Weights of the losses: of the mask, twice; of the IoU the model expects; of whether the object is seen."""

PLACE_GAIN, FEATURE_GAIN = 2.0, 0.3
"""How much larger first weights are: of queries and keys where prompts and pictures attend to each other, and of what
makes the features of pictures. With 1.0 for the latter masks are empty after 240 steps of 8 pictures, with these their
IoU is 0.49 after 200.
"""

ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss (arXiv 1708.02002)."""


def train(recipe: TrackerRecipe, out: Path) -> Path:
    """Runs all stages of a recipe, going on where an earlier call stopped. Returns the folder of the finished model.

    Raises SettingsError if `out` holds the run of another recipe.
    """
    processes.check_devices()
    run.claim(recipe, out)

    def teach(number: int, folder: Path) -> None:
        model = _start(recipe, out, number)
        _run_stage(recipe, number, model, folder, out)
        run.publish(folder / "model", model.save_pretrained)

    return run.in_stages(out, [stage.name for stage in recipe.stages], teach)


def _start(recipe: TrackerRecipe, out: Path, number: int) -> PreTrainedModel:
    """The model a stage begins with: a fresh one, or the one before's."""
    import torch

    torch.manual_seed(recipe.seed)
    if not number:
        return create_tracker(recipe.create)
    from transformers import Sam2VideoModel

    before = run.stage_folder(out, number - 1, recipe.stages[number - 1].name) / "model"
    model: PreTrainedModel = Sam2VideoModel.from_pretrained(before, dtype=torch.float32)
    return model


def create_tracker(sizes: Sizes) -> PreTrainedModel:
    """A SAM 2 with random weights, all of its parts there. It draws one mask where the published ones draw three."""
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


def _run_stage(recipe: TrackerRecipe, number: int, model: PreTrainedModel, folder: Path, out: Path) -> None:
    from torch.utils.data import default_collate

    stage = recipe.stages[number]
    offset, length = recipe.first_clip + number * STAGE_STRIDE, stage.steps * stage.batch
    data = Tracklets(recipe.create.side, stage.frames, offset, length)
    trainer = stage_trainer(
        recipe,
        stage,
        folder,
        out,
        pupil(model),
        data,
        default_collate,
        "adamw",
        per_device_train_batch_size=processes.share(stage.batch, "batch"),
        ddp_find_unused_parameters=True,  # what remembers is idle in pictures alone, and prompts are never masks
    )
    trainer.train(resume_from_checkpoint=run.last_checkpoint(folder))


def pupil(model: Any) -> nn.Module:
    """The model as it is trained; called with a batch of `Tracklets` it returns {"loss": ...}."""
    from torch import nn

    class Pupil(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tracker = model

        def forward(self, frames: Any, masks: Any, box: Any) -> dict[str, Any]:
            clips, count = frames.shape[:2]
            seen = self.tracker.get_image_features(normalised(frames.flatten(0, 1), self.tracker), return_dict=True)
            levels = [level.unflatten(1, (clips, count)) for level in seen.fpn_hidden_states]
            position = seen.fpn_position_encoding[-1][:, :1]
            followed = Followed(self.tracker, count, 0, box.view(clips, 1, 2, 2))
            found = [followed.look(t, [level[:, :, t] for level in levels], position, False) for t in range(count)]
            return {"loss": sum(loss_of(one, masks[:, t]) for t, one in enumerate(found)) / count}

    return Pupil()


def loss_of(found: Found, truth: torch.Tensor) -> torch.Tensor:
    """What a model made of a frame against the truth, bool (n, side, side); masks count where there is an object."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

    there = truth.flatten(1).any(1)
    seen = binary_cross_entropy_with_logits(found.score[:, 0, 0].float(), there.float())
    if not there.any():
        return SEEN * seen
    drawn = interpolate(found.drawn[there].float(), truth.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    drawn, wanted = drawn.flatten(1), truth[there].flatten(1).float()
    likely = drawn.sigmoid()
    miss = likely + wanted - 2 * likely * wanted  # 1 - p of what is right
    weight = (1 - ALPHA) + (2 * ALPHA - 1) * wanted
    entropy = binary_cross_entropy_with_logits(drawn, wanted, reduction="none")
    focal = (weight * miss**GAMMA * entropy).mean()
    dice = 1 - (2 * (likely * wanted).sum(1) + 1) / (likely.sum(1) + wanted.sum(1) + 1)
    with torch.no_grad():
        inside, right = drawn > 0, wanted > 0
        iou = (inside & right).sum(1) / (inside | right).sum(1)
    quality = (found.quality[there].float() - iou).abs()
    return FOCAL * focal + DICE * dice.mean() + QUALITY * quality.mean() + SEEN * seen
