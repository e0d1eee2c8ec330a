"""What every way of training does with its folder and its model: a recipe in, a run that can be resumed out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from thinkseg.errors import SettingsError
from thinkseg.storage.atomic import replacing
from thinkseg.storage.run_folder import locked
from thinkseg.training import distributed
from thinkseg.training.recipes import Settings

LOG_FILE = "log.jsonl"
"""The log of a run in its folder: one JSON object for each logged step."""


@contextmanager
def claimed(recipe: Settings, out: Path) -> Iterator[None]:
    """Marks the folder as this recipe's, or checks that it is, and keeps other runs out for the while.

    Raises SettingsError if it is another recipe's, or another run is at work in it.
    """
    with distributed.main_process_first():
        _claim(recipe, out)
    with locked(out) if distributed.rank() == 0 else nullcontext():
        yield


def _claim(recipe: Settings, out: Path) -> None:
    # Unset fields are omitted, so that runs of older recipes can resume.
    settings = recipe.model_dump_json(indent=2, exclude_none=True) + "\n"
    stamp = out / "recipe.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if stamp.exists() and stamp.read_text() != settings:
            raise SettingsError(f"{out} holds the run of another recipe; choose another folder, or remove it")
        if not stamp.exists():
            with replacing(stamp) as partial:
                partial.write_text(settings)
    except OSError as error:
        raise SettingsError(f"{out}: cannot be written: {error.strerror}; choose another folder") from None


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole. A half-written one, left by a kill, is removed."""
    with distributed.main_process_first():
        return _last_checkpoint(folder)


def _last_checkpoint(folder: Path) -> str | None:
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    for checkpoint in reversed(found):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())  # written last
        except (FileNotFoundError, ValueError):
            shutil.rmtree(checkpoint)
        else:
            return str(checkpoint)
    return None


def in_stages(out: Path, names: Sequence[str], teach: Callable[[int, Path], None]) -> Path:
    """Runs the stages of these names that are not done yet, and returns the folder of the finished model.

    teach: called with the number of a stage and its folder, where it leaves `model` once that is done.
    """
    for number, name in enumerate(names):
        folder = stage_folder(out, number, name)
        if not (folder / "model").is_dir():
            teach(number, folder)
    return _finish(out, stage_folder(out, len(names) - 1, names[-1]) / "model")


def stage_folder(out: Path, number: int, name: str) -> Path:
    """Where a stage keeps its checkpoints, and then its model."""
    return out / "stages" / f"{number + 1:02d}-{name}"


def publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Has a model written to a folder that has its name only once it is complete; drops the checkpoints beside it."""
    with distributed.main_process_first():
        if not folder.is_dir():
            parts = folder.with_suffix(".part")
            write(parts)
            for weights in parts.glob("*.safetensors"):  # which are written for their owner alone
                weights.chmod(parts.stat().st_mode & 0o666)
            parts.rename(folder)
            for checkpoint in folder.parent.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)


def _finish(out: Path, result: Path) -> Path:
    """Copies the finished model to `out`/model, under that name only once it is complete."""
    final = out / "model"
    with distributed.main_process_first():
        if not final.is_dir():
            parts = final.with_suffix(".part")
            shutil.copytree(result, parts, dirs_exist_ok=True)
            parts.rename(final)
    return final
