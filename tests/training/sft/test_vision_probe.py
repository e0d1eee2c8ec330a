from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from thinkseg.data.shapes import episode
from thinkseg.data.shapes.render import ShapesVideo, corners, label_map
from thinkseg.data.shapes.simulation import COLORS, SHAPES
from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import IGNORED, Encoder
from thinkseg.training.sft.vision_probe import FRAMES_PER_CLIP, MIN_COVERAGE, VisionProbeData, collate_cells, probe
from thinkseg.types import View

VIEW = View(4, (112, 84))
COLUMNS, ROWS, SIDE = 4, 3, 28


@pytest.fixture(scope="module")
def cells(encoder: Encoder) -> VisionProbeData:
    return VisionProbeData(encoder, VIEW, clip_offset=20, length=9)


def test_getitem_depends_on_index_only(encoder: Encoder, cells: VisionProbeData) -> None:
    assert len(cells) == 9
    one, again, shifted = cells[3], cells[3], VisionProbeData(encoder, VIEW, clip_offset=22, length=9)[1]
    for name, value in one.items():
        assert np.array_equal(value, again[name])
        assert np.array_equal(value, shifted[name])
    assert not np.array_equal(one["pixels"], cells[4]["pixels"])


def test_getitem_has_expected_shapes(cells: VisionProbeData) -> None:
    item = cells[0]
    assert item["grids"].tolist() == [[1, 2 * ROWS, 2 * COLUMNS]] * FRAMES_PER_CLIP
    assert item["color"].shape == item["shape"].shape == (FRAMES_PER_CLIP, ROWS * COLUMNS)
    assert item["box"].shape == (FRAMES_PER_CLIP, ROWS * COLUMNS, 4)


def test_getitem_targets_are_objects_that_cover_most_of_each_cell(cells: VisionProbeData) -> None:
    """Compares with plain loops over cells."""
    named = 0
    for index in range(3):
        item, one = cells[index], episode("train", 20 + index)
        outlines = corners(one.clip, VIEW.frame_wh)
        frames = np.linspace(0, len(ShapesVideo(one.clip, (8, 8), "")) - 1, FRAMES_PER_CLIP).astype(int)
        for number, frame in enumerate(frames):
            labels = label_map(outlines, int(frame), VIEW.frame_wh)
            for cell in range(ROWS * COLUMNS):
                y, x = SIDE * (cell // COLUMNS), SIDE * (cell % COLUMNS)
                inside = labels[y : y + SIDE, x : x + SIDE]
                counts = [(inside == obj + 1).sum() for obj in range(one.clip.num_objects)]
                most = int(np.argmax(counts))
                color, shape = item["color"][number, cell], item["shape"][number, cell]
                if counts[most] < MIN_COVERAGE * SIDE**2:
                    assert color == shape == IGNORED
                    continue
                named += 1
                assert (list(COLORS)[color], SHAPES[shape]) == (one.clip.colors[most], one.clip.shapes[most])
                ys, xs = np.nonzero(labels == most + 1)
                box = np.array([xs.min() / 112, ys.min() / 84, (xs.max() + 1) / 112, (ys.max() + 1) / 84])
                assert np.allclose(item["box"][number, cell], box)
    assert named > 20


def test_cells_have_the_order_of_visual_tokens(encoder: Encoder, qwen2_5: Path) -> None:
    """A change in one cell changes only the patches of the visual token with the same index."""
    plain = np.full((84, 112, 3), 90, np.uint8)
    for cell in (0, 1, 5, 11):
        marked = plain.copy()
        y, x = SIDE * (cell // COLUMNS), SIDE * (cell % COLUMNS)
        marked[y : y + SIDE, x : x + SIDE] = 200
        before, _ = encoder.patches([plain])
        after, _ = encoder.patches([marked])
        changed = (before != after).any(1).reshape(-1, 4).any(1)
        assert np.flatnonzero(changed).tolist() == [cell]


def batch_of(cells: VisionProbeData) -> dict[str, torch.Tensor]:
    return collate_cells([cells[0], cells[1]])


def test_collate_cells_concatenates_clips(cells: VisionProbeData) -> None:
    batch = batch_of(cells)
    tokens = 2 * FRAMES_PER_CLIP * ROWS * COLUMNS
    assert batch["color"].shape == batch["shape"].shape == (tokens,)
    assert batch["box"].shape == (tokens, 4)
    assert batch["box"].dtype == torch.float32
    assert len(batch["pixels"]) == 4 * tokens
    assert len(batch["grids"]) == 2 * FRAMES_PER_CLIP
    assert batch["color"][: tokens // 2].tolist() == cells[0]["color"].ravel().tolist()


def test_probe_training_lowers_loss_and_changes_tower(qwen2_5: Path, cells: VisionProbeData) -> None:
    """Trains for a few steps on one batch."""
    model = load_model(qwen2_5, "fp32")
    torch.manual_seed(0)
    probed: Any = probe(model.model.visual, width=model.config.text_config.hidden_size)
    batch, before = batch_of(cells), model.model.visual.patch_embed.proj.weight.clone()
    optimizer = torch.optim.AdamW(probed.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        outputs = probed(**batch)
        outputs["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(outputs["loss"].item())
    assert losses[-1] < 0.7 * losses[0]
    assert not torch.equal(before, model.model.visual.patch_embed.proj.weight)
    assert 0 <= outputs["accuracy"] <= 1
    assert outputs["box_error"] < 0.5


def test_probe_loss_equals_value_by_hand(qwen2_5: Path) -> None:
    """The classes are predicted perfectly, so that the loss is the error of boxes."""

    class Tower(torch.nn.Module):
        def forward(self, pixels: torch.Tensor, grid_thw: torch.Tensor) -> Any:
            return type("Out", (), {"pooler_output": pixels})

    probed: Any = probe(Tower(), width=2)
    with torch.no_grad():
        for head in (probed.what, probed.where):
            head.weight.zero_()
            head.bias.zero_()
        probed.what.weight[0] = torch.tensor([50.0, -50.0])  # an object where the first feature is on
        probed.what.bias[1 + 2] = probed.what.bias[1 + len(COLORS) + 3] = 50.0  # always yellow, always a star
        probed.where.bias[:] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    pixels = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    color, shape = torch.tensor([2, IGNORED]), torch.tensor([3, IGNORED])
    box = torch.tensor([[0.2, 0.2, 0.3, 0.6], [0.0, 0.0, 0.0, 0.0]])
    outputs = probed(pixels, torch.zeros(1, 3), color, shape, box)
    assert outputs["loss"].item() == pytest.approx(10 * (0.1 + 0.2) / 4, abs=1e-4)
    assert outputs["box_error"].item() == pytest.approx(0.075)
    assert outputs["accuracy"].item() == 1
