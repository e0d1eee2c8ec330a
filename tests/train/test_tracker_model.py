from typing import Any

import torch

from thinkseg.train.tracker_model import create_tracker
from tinytrackers import SIZES


def test_prompts_and_pictures_tell_places_by_one_code() -> None:
    model: Any = create_tracker(SIZES)
    grid = model.get_image_wide_positional_embeddings()
    column, row = 2, 1
    point = torch.tensor([[[[16.0 * column + 8, 16.0 * row + 8]]]])
    told = model.prompt_encoder.shared_embedding(point, (SIZES.side, SIZES.side))
    assert torch.allclose(told.flatten(), grid[0, :, row, column], atol=1e-5)
    assert not torch.allclose(told.flatten(), grid[0, :, column, row], atol=0.1)
