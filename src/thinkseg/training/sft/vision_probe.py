"""The vision probe: trains a vision tower from scratch to classify and locate objects.

Two linear heads predict, from each visual token of a frame, the color, the shape and the box of the object that covers
most of the token's cell. The heads are discarded afterwards. Without this stage, a model that is created from scratch
learns the language of the replies but ignores the images (docs/shapes.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.chains.frames import fit
from thinkseg.data.shapes import episode
from thinkseg.data.shapes.episodes import SOURCE_WH
from thinkseg.data.shapes.render import ShapesVideo, corners, label_map, visible_boxes
from thinkseg.data.shapes.simulation import COLORS, SHAPES
from thinkseg.models.policies.qwen.encoder import IGNORED, Encoder
from thinkseg.types import View

if TYPE_CHECKING:
    import torch
    from torch import nn

FRAMES_PER_CLIP = 4
MIN_COVERAGE = 0.08
"""Fraction of a cell that an object must cover to be its target."""


@dataclass(frozen=True, slots=True)
class VisionProbeData:
    """A map-style data set: frames of a clip with the object that covers most of each visual token's cell.

    An item holds F frames of C cells in reading order: `pixels` and `grids`, which are `pixel_values` and
    `image_grid_thw` of `EncodedDialogue`; `color` and `shape`, int64 (F, C), `IGNORED` on background; and `box`,
    float (F, C, 4), xyxy as fractions of the frame's sides.
    """

    encoder: Encoder
    view: View
    clip_offset: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        one = episode("train", self.clip_offset + index)
        video = ShapesVideo(one.clip, SOURCE_WH, one.id)
        frames = np.linspace(0, len(video) - 1, FRAMES_PER_CLIP).astype(int).tolist()
        pixels, grids = self.encoder.patches([fit(frame, self.view.frame_wh) for frame in video.read(frames)])
        outlines = corners(one.clip, self.view.frame_wh)
        palette = np.array([list(COLORS).index(c) for c in one.clip.colors])
        forms = np.array([SHAPES.index(s) for s in one.clip.shapes])
        color, shape, box = [], [], []
        for frame in frames:
            labels = label_map(outlines, frame, self.view.frame_wh)
            owner = self._owners(labels, one.clip.num_objects)
            boxes, _ = visible_boxes(labels, one.clip.num_objects)
            color.append(np.where(owner < 0, IGNORED, palette[owner]))
            shape.append(np.where(owner < 0, IGNORED, forms[owner]))
            box.append(boxes[owner] / np.array(self.view.frame_wh * 2))
        return {
            "pixels": pixels,
            "grids": grids,
            "color": np.stack(color),
            "shape": np.stack(shape),
            "box": np.stack(box),
        }

    def _owners(self, labels: np.ndarray, num_objects: int) -> np.ndarray:
        """Index of the object that covers most of each cell, -1 below `MIN_COVERAGE`."""
        side = self.encoder.size_multiple
        cells = labels.reshape(labels.shape[0] // side, side, -1, side).transpose(0, 2, 1, 3).reshape(-1, side * side)
        coverage = np.stack([(cells == i + 1).mean(1) for i in range(num_objects)], 1)
        return np.where(coverage.max(1) >= MIN_COVERAGE, coverage.argmax(1), -1)


def collate_cells(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Concatenates items of `VisionProbeData`. Cells of all frames are flattened, e.g. `box` to (cells, 4)."""
    import torch

    batch = {name: torch.cat([item[name] for item in items]) for name in ("pixels", "grids")}
    for name in ("color", "shape", "box"):
        stacked = np.concatenate([item[name].reshape(-1, *item[name].shape[2:]) for item in items])
        batch[name] = torch.from_numpy(stacked)
    batch["box"] = batch["box"].float()
    return batch


def probe(visual: nn.Module, width: int) -> nn.Module:
    """Adds the two heads to a vision tower. width: channels of its visual tokens.

    The module takes a batch of `collate_cells`. It returns the loss, the accuracy of color and shape together, and the
    mean absolute error of boxes, the latter two over cells with an object.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    class Probe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = visual
            self.what = nn.Linear(width, 1 + len(COLORS) + len(SHAPES))
            self.where = nn.Linear(width, 4)

        def forward(self, pixels: Any, grids: Any, color: Any, shape: Any, box: Any) -> dict[str, Any]:
            tokens = self.visual(pixels, grid_thw=grids).pooler_output
            presence, colors, shapes = self.what(tokens).float().split([1, len(COLORS), len(SHAPES)], -1)
            objects = color != IGNORED
            error = (self.where(tokens).float() - box)[objects].abs().mean()
            loss = (
                functional.binary_cross_entropy_with_logits(presence[:, 0], objects.float())
                + functional.cross_entropy(colors, color, ignore_index=IGNORED)
                + functional.cross_entropy(shapes, shape, ignore_index=IGNORED)
                + 10 * error
            )
            with torch.no_grad():
                accuracy = ((colors.argmax(-1) == color) & (shapes.argmax(-1) == shape))[objects].float().mean()
            return {"loss": loss, "accuracy": accuracy, "box_error": error.detach()}

    return Probe()
