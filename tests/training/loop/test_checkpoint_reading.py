"""Checkpoints that name code: nothing of it is called, and the error is one line."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint import FileSystemReader

from thinkseg.errors import ModelError
from thinkseg.training.loop.checkpoint import load_checkpoint, save_checkpoint


class Touch:
    """An object whose pickle creates a file when it is read."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A model in two precisions after one step."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1).to(torch.bfloat16))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.25)
    model[1](model[0](torch.ones(1, 3)).bfloat16()).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    model, optimizer = trained()
    save_checkpoint(tmp_path, 1, model, [optimizer])
    return tmp_path / "checkpoint-1"


def fails(folder: Path) -> None:
    model, optimizer = trained()
    with pytest.raises(ModelError, match=r"checkpoint-1: cannot resume .*pathlib|checkpoint-1: cannot .*Weights only"):
        load_checkpoint(folder, model, [optimizer])
    assert not (folder / "touched").exists()


def test_load_checkpoint_restores_parameters_and_optimizer(checkpoint: Path) -> None:
    (saved, steps), (model, optimizer) = trained(), trained()
    save_checkpoint(checkpoint.parent, 2, saved, [steps], [0.5])
    optimizer.param_groups[0]["lr"] = 9.0
    assert load_checkpoint(checkpoint.parent, model, [optimizer]) == (2, [0.5])
    assert all(torch.equal(one, other) for one, other in zip(saved.parameters(), model.parameters(), strict=True))
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_load_checkpoint_index_that_names_code_raises(checkpoint: Path) -> None:
    index = FileSystemReader(checkpoint).read_metadata()
    index.planner_data = Touch(checkpoint.parent / "touched")
    (checkpoint / ".metadata").write_bytes(pickle.dumps(index))
    fails(checkpoint.parent)


def test_load_checkpoint_value_that_names_code_raises(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, touch = torch.save, Touch(checkpoint.parent / "touched")

    def hostile(value: Any, file: Any, *rest: Any, **how: Any) -> None:
        save(value if isinstance(value, torch.Tensor) else touch, file, *rest, **how)

    monkeypatch.setattr(torch, "save", hostile)
    model, optimizer = trained()
    save_checkpoint(checkpoint.parent, 1, model, [optimizer])
    fails(checkpoint.parent)
