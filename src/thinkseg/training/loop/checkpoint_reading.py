"""Reads a checkpoint of torch.distributed.checkpoint without running code that its files may name.

The library reads its index and all values that are no tensors with `pickle`, which calls whatever a file names. Here,
the index may name the classes of an index only, and the values are what `torch.load` reads with `weights_only`.
"""

from __future__ import annotations

import pathlib
import pickle
from io import BytesIO
from typing import Any

import torch
from torch.distributed.checkpoint import DefaultLoadPlanner, FileSystemReader, filesystem, metadata


class DataReader(FileSystemReader):
    """Reads the index as data. Raises UnpicklingError for one that names anything else."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> metadata.Metadata:
        """Returns the index. Overrides that of the library."""
        with self.fs.create_stream(self._get_metadata_path(kwargs.get("rank")), "rb") as file:
            index: metadata.Metadata = _IndexUnpickler(file).load()
        index.storage_meta = index.storage_meta or metadata.StorageMeta()
        index.storage_meta.load_id = self.load_id
        return index


class DataPlanner(DefaultLoadPlanner):
    """Reads values that are no tensors as data. Raises UnpicklingError for others."""

    def load_bytes(self, read_item: Any, value: BytesIO) -> None:
        """Stores a value. Overrides that of the library, which would call what the value names."""
        torch.load(value, weights_only=True)
        value.seek(0)
        super().load_bytes(read_item, value)


class _IndexUnpickler(pickle.Unpickler):
    """Names in an index: classes of `metadata`, types of tensors, and the path of the checkpoint."""

    def find_class(self, module: str, name: str) -> Any:
        if module == metadata.__name__ and isinstance(getattr(metadata, name, None), type):
            return getattr(metadata, name)
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        try:
            return _OTHERS[module.partition(".")[0] if module.startswith("pathlib.") else module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"its index names {module}.{name}") from None


_OTHERS = {
    ("torch", "Size"): torch.Size,
    ("torch.serialization", "_get_layout"): torch.serialization._get_layout,
    (filesystem.__name__, "_StorageInfo"): filesystem._StorageInfo,
    ("pathlib", "PosixPath"): pathlib.PosixPath,
}
