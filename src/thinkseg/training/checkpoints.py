"""The folder of a training run: its recipe, its checkpoints and its finished model."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from thinkseg.errors import SettingsError
from thinkseg.storage import outputs
from thinkseg.storage.atomic import new_folder, replace_json, replacing
from thinkseg.storage.fingerprint import Fingerprints
from thinkseg.storage.result_folder import check_no_result
from thinkseg.storage.run_folder import check_inputs, warn_unknown_inputs
from thinkseg.storage.settings_file import Settings
from thinkseg.training import distributed

STATE_FILE = "state.json"
"""The file of a checkpoint that is written last."""

_DISK_ERROR = re.compile(r"Error while serializing: I/O error|\[enforce fail at inline_container|basic_ios::clear")
"""How the errors of safetensors and torch.save begin if a file cannot be written."""


@contextmanager
def claimed(recipe: Settings, out: Path, inputs: Fingerprints) -> Iterator[None]:
    """Writes the recipe and the fingerprints of the inputs to the folder, or compares them with those there, and locks
    the folder during the block.

    inputs: of the initial "policy", the "data" and whatever else decides the result beside the recipe.
    Raises SettingsError if the folder belongs to another recipe or other inputs, is in use by another run, or cannot be
    written.
    """
    with outputs.writing(out), _saving(out), ExitStack() as undo:
        with distributed.main_process_first():
            if distributed.rank() == 0:
                undo.enter_context(outputs.claimed(out))
                check_no_result(out)
            _check_recipe(recipe, out, inputs)
        yield


@contextmanager
def _saving(out: Path) -> Iterator[None]:
    """Converts the errors of libraries that cannot write a checkpoint, which are no OSError."""
    try:
        yield
    except Exception as error:
        if not _DISK_ERROR.match(str(error)):
            raise
        message = f"{out}: a checkpoint cannot be written ({error}); free some space, and rerun to resume"
        raise SettingsError(message) from error


def _check_recipe(recipe: Settings, out: Path, inputs: Fingerprints) -> None:
    # Unset fields are omitted, so that runs of older recipes can resume.
    settings = recipe.model_dump_json(indent=2, exclude_none=True) + "\n"
    stamp, fingerprints = out / "recipe.json", out / "fingerprints.json"
    if stamp.exists() and stamp.read_bytes() != settings.encode():
        raise SettingsError(f"{out}: holds the run of another recipe; choose another folder, or remove it")
    if fingerprints.exists():
        check_inputs(out, _stored(fingerprints), inputs, {})
    else:
        if stamp.exists():
            warn_unknown_inputs(out)
        replace_json(inputs, fingerprints)
    if not stamp.exists():
        with replacing(stamp) as partial:
            partial.write_text(settings)


def _stored(fingerprints: Path) -> Fingerprints:
    """Reads the fingerprints of a run; none if the file is damaged."""
    try:
        found: Fingerprints = json.loads(fingerprints.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return found


def last_checkpoint(folder: Path) -> str | None:
    """Returns the newest complete checkpoint, if any. Removes incomplete ones, which an interrupted run leaves.

    Raises SettingsError for a checkpoint of transformers.Trainer, which earlier releases wrote.
    """
    with distributed.main_process_first():
        return _last_checkpoint(folder)


def _last_checkpoint(folder: Path) -> str | None:
    found = {int(step): path for path in folder.glob("checkpoint-*") if (step := path.name[11:]).isdecimal()}
    for _, checkpoint in sorted(found.items(), reverse=True):
        if (checkpoint / "trainer_state.json").exists():
            advice = "finish the run with that release, or remove the checkpoint to start its stage again"
            raise SettingsError(f"{checkpoint}: written by an earlier release in another format; {advice}")
        try:
            json.loads((checkpoint / STATE_FILE).read_bytes())["global_step"]
        except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
            shutil.rmtree(checkpoint)
        else:
            return str(checkpoint)
    return None


def run_stages(out: Path, names: Sequence[str], train_stage: Callable[[int, Path], None]) -> Path:
    """Runs the stages that are not finished yet. Returns the folder of the finished model.

    train_stage: called with the number and the folder of a stage; writes `model` into that folder.
    """
    for number, name in enumerate(names):
        folder = stage_folder(out, number, name)
        if not (folder / "model").is_dir():
            train_stage(number, folder)
    return _finish(out, stage_folder(out, len(names) - 1, names[-1]) / "model")


def stage_folder(out: Path, number: int, name: str) -> Path:
    """Returns the folder of a stage's checkpoints and model."""
    return out / "stages" / f"{number + 1:02d}-{name}"


def publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` to write a model to the folder atomically, then removes the checkpoints next to it."""
    with distributed.main_process_first():
        if not folder.is_dir():
            with new_folder(folder) as parts:
                write(parts)
                share_weights(parts)
            for checkpoint in folder.parent.glob("checkpoint-*"):
                shutil.rmtree(checkpoint)


def share_weights(folder: Path) -> None:
    """Gives weights the permissions of their folder: safetensors makes them readable by the owner only."""
    for weights in folder.glob("*.safetensors"):
        weights.chmod(folder.stat().st_mode & 0o666)


def _finish(out: Path, result: Path) -> Path:
    """Copies the finished model to `out`/model atomically."""
    final = out / "model"
    with distributed.main_process_first():
        if not final.is_dir():
            with new_folder(final) as parts:
                shutil.copytree(result, parts, dirs_exist_ok=True)
    return final
