"""Fingerprints of files and texts, by which a run that resumes notices that its inputs have changed.

A fingerprint depends on content alone, so that a copied or moved file keeps its own. A small file is read completely,
of a large one a block every few megabytes: enough for weights, which training changes everywhere, and for files whose
size changes with their content, such as videos and lists of masks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Fingerprints = Mapping[str, Mapping[str, str]]
"""Per input of a run, such as "policy", the fingerprints of its parts, such as "model.safetensors"."""

EXACT_BYTES = 64 << 20
"""Size up to which one of few files is read completely; that takes 50 ms."""

SMALL_BYTES = 16 << 10
"""The same for one of many files."""

BLOCK_BYTES, STRIDE_BYTES = 4 << 10, 4 << 20
"""Of larger files, one block per stride is read: 30 ms for 15 GB that were loaded before."""

MISSING = "missing"


def text_fingerprint(*texts: str) -> str:
    """Returns the fingerprint of a sequence of texts."""
    return _short(hashlib.sha256("".join(f"{len(text)}:{text}" for text in texts).encode("utf-8", "surrogatepass")))


def file_fingerprint(path: Path, exact_bytes: int = EXACT_BYTES) -> str:
    """Returns the fingerprint of a file, or `MISSING` if it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= exact_bytes:
                return _short(hashlib.sha256(file.read()))
            digest = hashlib.sha256(str(size).encode())
            for position in (*range(0, size, STRIDE_BYTES), size - BLOCK_BYTES):
                digest.update(os.pread(file.fileno(), BLOCK_BYTES, position))
            return _short(digest)
    except OSError:
        return MISSING


def sample_fingerprint(paths: Sequence[Path], most: int) -> str:
    """Returns the fingerprint of at most `most` of many files, evenly spaced, whose names do not count."""
    chosen = paths[:: max(1, -(-len(paths) // most))]
    return text_fingerprint(str(len(paths)), *(file_fingerprint(path, SMALL_BYTES) for path in chosen))


def first_change(before: Fingerprints, now: Fingerprints) -> tuple[str, str] | None:
    """Returns an input that has changed, and its parts that differ, as text; None if all are equal."""
    before = _mapping(before)
    for name in {**before, **now}:
        if parts := changed_parts(before.get(name), now.get(name)):
            return name, parts
    return None


def changed_parts(before: Any, now: Any) -> str:
    """Returns the parts of an input whose fingerprints differ, as text; "" if all are equal."""
    old, new = _mapping(before), _mapping(now)
    parts = sorted(part for part in {**old, **new} if old.get(part) != new.get(part))
    return ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")


def _mapping(stored: Any) -> Mapping[str, Any]:
    """A stored value, which may be damaged."""
    return stored if isinstance(stored, Mapping) else {}


def _short(digest: hashlib._Hash) -> str:
    return digest.hexdigest()[:16]
