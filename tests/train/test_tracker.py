import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from thinkseg.errors import SettingsError
from thinkseg.models import load_tracker
from thinkseg.models.session import Found
from thinkseg.train.tracker import loss_of, pupil, train
from thinkseg.train.tracker_model import create_tracker
from thinkseg.train.tracker_recipe import TrackerRecipe, TrackerStage
from thinkseg.train.tracklets import Tracklets
from tinytrackers import SIZES, footage, tracked

RECIPE = TrackerRecipe(
    create=SIZES,
    stages=(
        TrackerStage("draw", frames=1, steps=2, batch=2, learning_rate=1e-3, workers=0),
        TrackerStage("follow", frames=3, steps=3, batch=2, learning_rate=1e-3, workers=0, save_every=1),
    ),
)


def test_a_run_leaves_a_tracker(tmp_path: Path) -> None:
    model = train(RECIPE, tmp_path / "run")
    assert model == tmp_path / "run" / "model"
    masks = tracked(load_tracker(str(model)), footage(4), 1)
    assert masks.shape[:2] == (2, 4)
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(r["stage"], r["step"]) for r in records if "loss" in r] == [("draw", 2), ("follow", 3)]
    assert train(RECIPE, tmp_path / "run") == model
    with pytest.raises(SettingsError, match="another recipe"):
        train(replace(RECIPE, seed=1), tmp_path / "run")


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of its second stage, it ends with the weights of one that was not."""
    straight = train(RECIPE, tmp_path / "straight")
    plain = Tracklets.__getitem__

    def stopping(self: Tracklets, index: int) -> dict[str, torch.Tensor]:
        if self.count == 3 and index >= 4:
            raise KeyboardInterrupt
        return plain(self, index)

    with monkeypatch.context() as patched:
        patched.setattr(Tracklets, "__getitem__", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(RECIPE, tmp_path / "killed")
    assert (tmp_path / "killed" / "stages" / "02-follow" / "checkpoint-1").is_dir()
    resumed = train(RECIPE, tmp_path / "killed")
    first, second = (load_tracker(str(folder)).model.state_dict() for folder in (straight, resumed))  # type: ignore[attr-defined]
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)


@pytest.mark.parametrize("frames", [1, 3])
def test_everything_that_is_used_is_trained(frames: int) -> None:
    """A clip of one frame reads no memory; one of three reads what was remembered, pointers and all."""
    torch.manual_seed(0)
    model: Any = create_tracker(SIZES)
    model.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(10.0)  # only what is seen leaves a pointer
    trained = pupil(model).train()
    data = Tracklets(SIZES.side, frames, 0, 4)
    trained(**default_collate([data[i] for i in range(4)]))["loss"].backward()
    still = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    used = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"vision_encoder", "mask_decoder", "prompt_encoder"} <= used
    remembering = {"memory_attention", "memory_encoder", "memory_temporal_positional_encoding", "object_pointer_proj"}
    assert (remembering <= used) == (frames == 3)
    assert "mask_downsample" in still, "which is for prompts that are masks"


def test_rows_of_a_batch_learn_as_by_themselves() -> None:
    """Clips of a batch are strangers to one another."""
    torch.manual_seed(0)
    trained = pupil(create_tracker(SIZES)).eval()
    data = Tracklets(SIZES.side, 3, 0, 2)
    seen = [default_collate([data[i]]) for i in (0, 1)]
    with torch.no_grad():
        alone = [trained(**one)["loss"] for one in seen]
        both = trained(**default_collate([data[0], data[1]]))["loss"]
    if all(one["masks"].flatten(2).any(2).all() for one in seen):
        assert torch.allclose(both, torch.stack(alone).mean(), rtol=1e-3)
    else:
        pytest.fail("choose clips that show their objects throughout")


def found(drawn: np.ndarray, score: float, quality: float = 1.0) -> Found:
    logits = torch.tensor(drawn, dtype=torch.float32)[None, None]
    one = torch.tensor([score])
    return Found(logits, logits, logits, torch.tensor([quality]), one.view(1, 1, 1), torch.zeros(1, 1, 2))


TRUTH = np.zeros((4, 4), bool)
TRUTH[1:3, 1:3] = True


def test_the_truth_costs_nothing() -> None:
    right = loss_of(found(np.where(TRUTH, 40.0, -40.0), 40.0), torch.from_numpy(TRUTH)[None])
    assert right.item() == pytest.approx(0, abs=1e-5)
    nothing = loss_of(found(np.where(TRUTH, 40.0, -40.0), -40.0), torch.zeros(1, 4, 4, dtype=torch.bool))
    assert nothing.item() == pytest.approx(0, abs=1e-5), "what is drawn of an object that is not seen does not count"


@pytest.mark.parametrize(
    ("drawn", "score", "quality", "loss"),
    [
        # Half of the object: focal -> 20 * 0.25 * 2/16 * 40, dice 1 - (4+1)/(2+4+1), IoU 0.5 where 1 was expected.
        (np.where(TRUTH & (np.arange(4) < 2), 40.0, -40.0), 40.0, 1.0, 25.0 + 2 / 7 + 0.5),
        # The whole frame: focal -> 20 * 0.75 * 12/16 * 40, dice 1 - 9/21, IoU 4/16.
        (np.full((4, 4), 40.0), 40.0, 0.25, 450.0 + 12 / 21),
        # Said not to be seen.
        (np.where(TRUTH, 40.0, -40.0), -40.0, 1.0, 40.0),
    ],
)
def test_losses_by_hand(drawn: np.ndarray, score: float, quality: float, loss: float) -> None:
    assert loss_of(found(drawn, score, quality), torch.from_numpy(TRUTH)[None]).item() == pytest.approx(loss, rel=1e-5)
