"""Fingerprints of checkpoints, see `thinkseg.storage.fingerprint`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from thinkseg.storage.fingerprint import file_fingerprint

SUFFIXES = (".json", ".safetensors", ".bin", ".jinja", ".txt", ".model")
"""Of the files that loading a checkpoint reads."""

UNREAD = ("trainer_state.json", "training_args.bin", "scheduler.bin", "optimizer.bin")


def checkpoint_fingerprint(name: str | Path) -> dict[str, str]:
    """Returns the fingerprints of a checkpoint's files, and of those of the base of an adapter.

    For a hub name, it is the commit that was loaded; {} if there is no such checkpoint.
    """
    found = _files(name)
    if "adapter_config.json" in found and (base := _base_of(Path(name))):
        found |= {f"{part} of {base}": value for part, value in _files(base).items()}
    return found


def fingerprint_of(model: object) -> Mapping[str, str]:
    """Returns the fingerprints of a policy, a tracker or an annotator, its attribute `fingerprint`; {} without one."""
    found: Mapping[str, str] = getattr(model, "fingerprint", {})
    return found


def _files(name: str | Path) -> dict[str, str]:
    if not Path(name).is_dir():
        return _revision(str(name))
    paths = sorted(path for path in Path(name).iterdir() if path.suffix in SUFFIXES and path.name not in UNREAD)
    return {path.name: file_fingerprint(path) for path in paths}


def _base_of(adapter: Path) -> str | None:
    try:
        return str(json.loads((adapter / "adapter_config.json").read_bytes())["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _revision(name: str) -> dict[str, str]:
    """The commit of a model in the cache of the hub."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return {}
    return {"revision": Path(path).parent.name} if isinstance(path, str) else {}
