"""Checks of a model folder before a library reads it: such a folder may come from anywhere.

It must not name code that a library would run, and must not request more memory than its weights take.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.errors import ModelError, ThinkSegError

if TYPE_CHECKING:
    from torch import nn

ATTENTION = (None, "eager", "sdpa")
"""Implementations that are part of PyTorch. Others come from packages, or as compiled kernels from the hub."""

MAX_COUNT = 10_000
"""Layers, heads, labels, ... of a model. The largest of a supported one is 2,304 positions of Qwen3-VL."""

MAX_INTEGER = 10**9

SPARE = 20_000_000
"""Numbers that a model may hold besides its weights: position encodings, which are computed."""


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json. Raises ModelError if it is invalid or names code, kernels or quantized weights."""
    path = folder / "config.json"
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder}: holds an adapter, not a model; merge it into its base model with peft's merge_and_unload and"
            " save_pretrained"
        )
    if not path.is_file():
        raise ModelError(f"{folder}: not a model folder: it has no config.json")
    config = read_object(path)
    if "quantization_config" in config:
        raise ModelError(f"{path}: the weights are quantized; give the original model")
    for depth, key, value in _fields(config):
        if complaint := _complaint(depth, key, value):
            raise ModelError(f"{path}: {key} is {str(value)[:80]!r}; {complaint}")
    return config


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file. Raises ModelError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read: {summary(error)}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path}: must be a JSON object, not {type(content).__name__}")
    return content


def _fields(part: Any, depth: int = 0) -> Iterator[tuple[int, str, Any]]:
    """All fields of a configuration with the depth of their object; an element of a list has the key of the list."""
    for key, value in part.items():
        values = value if isinstance(value, list) else [value]
        for one in values:
            yield depth, key, one
            if isinstance(one, dict):
                yield from _fields(one, depth + 1)


def _complaint(depth: int, key: str, value: Any) -> str:
    """What is wrong with a field and what to do, or nothing."""
    if key == "auto_map" and depth:
        return "code of a model's part is never run; remove the field"
    if key.endswith("_implementation") and (isinstance(value, dict) or value not in ATTENTION):
        return "must be eager or sdpa; remove the field"
    if key == "architecture" and ":" in str(value):
        return "must be the name of an architecture, not of a model elsewhere"
    if isinstance(value, int) and abs(value) > (MAX_COUNT if _is_count(key) else MAX_INTEGER):
        return "is too large"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    return ""


def _is_count(key: str) -> bool:
    return key.startswith("num_") or any(word in key for word in ("_num_", "depth", "layers", "per_stage"))


def weight_files(folder: Path) -> list[Path]:
    """The files of a model's weights. Raises ModelError unless they are complete and in the format safetensors."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if not index.exists():
        pickled = [path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern)]
        if pickled:
            raise ModelError(
                f"{folder}: cannot load its weights: {min(pickled)} may run code when it is read; convert it to"
                " model.safetensors with save_pretrained where you trust it"
            )
        raise ModelError(f"{folder}: cannot load its weights: it has no model.safetensors")
    names = read_object(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ModelError(f"{index}: has no weight_map with names of files")
    return [_part(folder, index, name) for name in {str(name): None for name in names.values()}]


def _part(folder: Path, index: Path, name: str) -> Path:
    if Path(name).name != name or not (folder / name).is_file():
        raise ModelError(f"{index}: names weights in {name!r}, which is not a file of this folder")
    return folder / name


def stored_numbers(files: list[Path]) -> int:
    """How many numbers the weights in safetensors files are, from the headers."""
    from safetensors import safe_open

    total = 0
    for path in files:
        with safe_open(path, framework="numpy") as tensors:
            total += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total


@contextmanager
def limited_size(name: str | Path, stored: int) -> Iterator[None]:
    """Raises ModelError in the block once a model that is made there has far more numbers than are stored.

    Weights that are tied to others count, because they are made first.
    """
    from torch.nn.modules import module as hooks

    limit, made = 2 * stored + SPARE, 0

    def count(_owner: nn.Module, _name: str, tensor: Any) -> None:
        nonlocal made
        made += 0 if tensor is None else tensor.numel()
        if made > limit:
            raise ModelError(f"{name}: its config.json describes a larger model than its weights, {stored} numbers")

    handles = [hooks.register_module_parameter_registration_hook(count)]
    handles.append(hooks.register_module_buffer_registration_hook(count))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def reading(name: str | Path, action: str) -> Iterator[None]:
    """Turns any error of a library that reads a model folder into a ModelError. action: e.g. "load its weights".

    The only such place in the package: for a broken folder, libraries raise whatever the first wrong value leads to
    (ZeroDivisionError, KeyError, ...), and the panics of `tokenizers` are not even an Exception. The block contains
    calls of a library with the folder, or the first run of the model, on input of this package.
    """
    try:
        yield
    except ThinkSegError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"{name}: cannot {action}: {type(error).__name__}: {summary(error)}") from error


def check_finite(name: str | Path, finite: bool) -> None:
    """Raises ModelError if the trial of a model gave other numbers than finite ones: its results would be empty."""
    if not finite:
        raise ModelError(f"{name}: computes numbers that are not finite; try another precision, or other weights")


def summary(error: BaseException) -> str:
    """A library's error message on one line of limited length."""
    return " ".join(str(error).split())[:300] or "no message"
