"""Checkpoints in the ordinary layout: a folder or a hub name in, its kind or its model out, whichever kind it is.

Which kinds there are is for the caller to say: policies are listed in `qwen`, trackers in `sam2`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from thinkseg.errors import ModelError, SettingsError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

Precision = Literal["auto", "fp32", "bf16", "fp16"]


def kind_of(name: str | Path, classes: Mapping[str, str], role: str) -> str:
    """The `model_type` of a checkpoint. Raises ModelError if there is none or it is none of `classes`.

    role: what such models are called in messages, in the plural.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    if str(name).count("/") > 1 and not os.path.isdir(name):
        raise ModelError(f"{name}: there is no such folder, and a name on the hub is owner/model")
    try:
        kind = AutoConfig.from_pretrained(name).model_type
    except ImportError as error:
        # EdgeTAM's image encoder, for one, is in a package of its own.
        raise ModelError(f"{name}: a package it is made with is not installed: {first_line(error)}") from None
    except (OSError, ValueError, StrictDataclassError) as error:
        raise ModelError(
            f"{name}: not a model folder, nor a hub name that can be reached: {first_line(error)}"
        ) from None
    if kind not in classes:
        raise ModelError(f"{name}: a {kind} model; the {role} supported are {', '.join(sorted(classes))}")
    return kind


def load_checkpoint(
    name: str | Path, classes: Mapping[str, str], role: str, precision: Precision, device: str
) -> PreTrainedModel:
    """The model of a folder or hub name, ready to be run. Raises ModelError saying what is missing.

    classes: for each `model_type`, the class in `transformers` that loads it. role: see `kind_of`.
    precision: "auto" keeps what the checkpoint was saved in on a GPU, and computes in fp32 on a CPU.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    if precision not in get_args(Precision):
        raise SettingsError(f"no precision {precision!r}; there are {', '.join(get_args(Precision))}")
    place = _checked_device(device)
    kind = kind_of(name, classes, role)
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    dtype: Any = dtypes.get(precision, torch.float32 if place.type == "cpu" else "auto")
    try:
        model, report = getattr(transformers, classes[kind]).from_pretrained(
            name, config=_config_of(name), dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{name}: its weights could not be loaded: {first_line(error)}") from None
    # Left alone, what is missing or of another shape would be random numbers.
    if bad := sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]):
        raise ModelError(f"{name}: {len(bad)} weights are missing or do not fit its config.json, {bad[0]} for one")
    try:
        return model.to(place).eval()
    except torch.OutOfMemoryError:
        raise ModelError(f"{name}: out of memory while its weights were moved to {device}; try cpu, or bf16") from None


def _config_of(name: str | Path) -> PreTrainedConfig:
    """The configuration of a checkpoint, each part of it of its own class."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name)
    for part, kind in config.sub_configs.items():
        value = getattr(config, part)
        # transformers 5.19 reads the mask decoder of SAM 2 as a prompt encoder, without the defaults of a decoder.
        if kind is not AutoConfig and not isinstance(value, kind):
            setattr(config, part, kind(**value.to_dict()))
    return config


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch says that memory does not suffice. A GPU's has a type of its own, a CPU's does not."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _checked_device(name: str) -> torch.device:
    """A device that is there. Raises ModelError."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"no device {name!r}; try cpu, cuda or cuda:0") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"no device {name!r}: PyTorch finds {torch.cuda.device_count()} GPUs here; try cpu")
    return device


def first_line(error: Exception) -> str:
    """What a library says went wrong, without its page of advice."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
