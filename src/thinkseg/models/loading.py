"""Loads checkpoints in the `save_pretrained` layout, from a folder or the hub.

The caller lists the model types that it supports: `qwen` those of policies, `sam2` those of trackers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.devices import resolve_device
from thinkseg.models.hub import model_folder, quiet_libraries, without_progress_bars
from thinkseg.models.model_files import limited_size, read_config, reading, stored_numbers, weight_files

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

Precision = Literal["auto", "fp32", "bf16", "fp16", "stored"]


def model_type_of(name: str | Path, classes: Mapping[str, str], role: str) -> str:
    """The `model_type` of a checkpoint. Raises ModelError if it cannot be read or is not in `classes`.

    role: plural noun for such models in messages.
    """
    return str(load_config(name, classes, role).model_type)


def load_config(name: str | Path, classes: Mapping[str, str], role: str) -> PreTrainedConfig:
    """The configuration of a checkpoint, with each part in its own class. Raises ModelError, see `model_type_of`."""
    from transformers import AutoConfig

    folder = model_folder(name, weights=False)
    model_type = read_config(folder).get("model_type")
    if not isinstance(model_type, str) or model_type not in classes:
        raise ModelError(f"{name}: model type {model_type!r}; {role} must be one of {', '.join(sorted(classes))}")
    with reading(name, "read its config.json"), quiet_libraries():
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        for part, part_class in config.sub_configs.items():
            value = getattr(config, part)
            # transformers 5.19 reads the mask decoder of SAM 2 as a prompt encoder, without the defaults of a decoder.
            if part_class is not AutoConfig and not isinstance(value, part_class):
                setattr(config, part, part_class(**value.to_dict()))
    return config


def load_checkpoint(
    name: str | Path, classes: Mapping[str, str], role: str, precision: Precision, device: str | None
) -> PreTrainedModel:
    """Loads the model of a folder or hub name in evaluation mode.

    classes: the class in `transformers` per `model_type`. role: see `model_type_of`.
    precision: "stored" is the checkpoint's own; on a CPU, the weights are then pages of their files, which processes
        share. "auto" is "stored" on a GPU, and fp32 on a CPU. device: see `resolve_device`.
    Raises ModelError if the checkpoint is invalid or memory is exhausted, SettingsError for an unknown precision.
    """
    import torch
    import transformers

    if precision not in get_args(Precision):
        raise SettingsError(f"unknown precision {precision!r}: must be one of {', '.join(get_args(Precision))}")
    target = resolve_device(device)
    config = load_config(name, classes, role)
    dtypes: dict[str, Any] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "stored": "auto"}
    dtype = dtypes.get(precision, torch.float32 if target.type == "cpu" else "auto")
    model = _read_weights(name, getattr(transformers, classes[config.model_type]), config, dtype)
    try:
        return model.to(target).eval()
    except torch.OutOfMemoryError:
        raise ModelError(
            f"{name}: out of memory on {target} while loading; try --precision bf16, or the device cpu"
        ) from None


def _read_weights(name: str | Path, model_class: Any, config: PreTrainedConfig, dtype: Any) -> Any:
    """The model of a checkpoint on the CPU. Raises ModelError if weights are missing or memory does not suffice."""
    import torch

    folder = model_folder(name)
    with reading(name, "load its weights"), quiet_libraries(), without_progress_bars():
        with limited_size(name, stored_numbers(weight_files(folder))), torch.device("meta"):
            model_class(copy.deepcopy(config))
        model, report = model_class.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    # Missing and mismatched weights would stay random.
    if bad := sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])]):
        raise ModelError(f"{name}: {len(bad)} weights are missing or do not fit its config.json, e.g. {bad[0]}")
    return model


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch reports exhausted memory: by its type on a GPU, by its text on a CPU."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
