"""Fingerprints of checkpoints, see `thinkseg.storage.fingerprint`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from thinkseg.models.hub import DESCRIPTION, WEIGHTS, model_folder
from thinkseg.storage.fingerprint import file_fingerprint


def checkpoint_fingerprint(name: str | Path) -> dict[str, str]:
    """Returns the fingerprints of all files that loading a folder or hub name may read. Raises ModelError."""
    folder = model_folder(name)
    paths = sorted({path for pattern in (*DESCRIPTION, *WEIGHTS) for path in folder.glob(pattern)})
    return {path.name: file_fingerprint(path) for path in paths}


def fingerprint_of(model: object) -> Mapping[str, str]:
    """Returns the fingerprints of a policy, a tracker or an annotator, its attribute `fingerprint`; {} without one."""
    found: Mapping[str, str] = getattr(model, "fingerprint", {})
    return found
