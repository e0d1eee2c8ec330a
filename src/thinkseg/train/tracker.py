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
from thinkseg.train.tracker_model import create_tracker
from thinkseg.train.tracker_recipe import TrackerRecipe
from thinkseg.train.tracklets import Tracklets

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

FOCAL, DICE, QUALITY, SEEN = 20.0, 1.0, 1.0, 1.0
"""Weights of the losses: of the mask, twice; of the IoU the model expects; of whether the object is seen."""

ALPHA, GAMMA = 0.25, 2.0
"""Of the focal loss (arXiv 1708.02002)."""


def train(recipe: TrackerRecipe, out: Path) -> Path:
    """Runs all stages of a recipe, going on where an earlier call stopped. Returns the folder of the finished model.

    Raises SettingsError if `out` holds the run of another recipe, or is in use.
    """
    processes.check_devices()

    def teach(number: int, folder: Path) -> None:
        model = _start(recipe, out, number)
        _run_stage(recipe, number, model, folder, out)
        run.publish(folder / "model", model.save_pretrained)

    with run.claimed(recipe, out):
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
