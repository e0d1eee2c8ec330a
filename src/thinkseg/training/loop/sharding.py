"""Full sharding: every process holds an equal part of each parameter, of its gradient and of its optimizer state.

PyTorch's FSDP2 gathers the parameters of one layer at a time, in bf16, when its forward or backward pass begins, and
frees them at the end. Gradients are reduced in fp32, to the part that a process holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from thinkseg.training import distributed

if TYPE_CHECKING:
    import torch

LAYER = re.compile(r"(?:language_model\.layers|visual\.blocks)\.\d+$")
"""How the names of the modules end that are gathered one at a time."""


def shard(model: Any, bf16: bool, cpu_offload: bool = False) -> Any:
    """Shards a model in place over all processes and moves it to their devices. Returns it.

    model: a Qwen-VL on the CPU, equal in all processes, with or without a LoRA adapter; or a vision probe. Its weights
    may be in any precision, as pages of the file that they are read from: each process copies only its part.
    bf16: whether to compute in bf16. Trained parameters are then fp32, frozen ones bf16; otherwise all are fp32.
    cpu_offload: keeps the parts in the memory of the CPU, where the optimizer runs too.
    """
    import torch
    from torch.distributed.fsdp import CPUOffloadPolicy, register_fsdp_forward_method

    settings: dict[str, Any] = {"mesh": _mesh()}
    if cpu_offload:
        settings["offload_policy"] = CPUOffloadPolicy(pin_memory=torch.cuda.is_available())
    for name, module in model.named_modules():
        if LAYER.search(name):
            _shard(module, bf16, mp_policy=_precision(bf16, cast_inputs=False), **settings)
    visual = next(module for name, module in model.named_modules() if re.search(r"\bvisual$", name))
    _shard(visual, bf16, mp_policy=_precision(bf16), **settings)
    # A backward pass begins with the parameters with which the forward pass ends.
    is_trained = any(parameter.requires_grad for parameter in model.parameters())
    _shard(model, bf16, mp_policy=_precision(bf16), reshard_after_forward=not is_trained, **settings)
    if hasattr(model, "get_image_features"):
        # The vision tower is also called alone; FSDP2 must see that call begin at its outermost module.
        register_fsdp_forward_method(model, "get_image_features")
    return model


def _shard(module: Any, bf16: bool, **settings: Any) -> None:
    """Shards the parameters of a module that are not sharded yet, in their precision in training."""
    import torch
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    for parameter in module.parameters():
        if not isinstance(parameter, DTensor):
            parameter.data = parameter.data.to(
                torch.bfloat16 if bf16 and not parameter.requires_grad else torch.float32
            )
    fully_shard(module, **settings)


def _mesh() -> Any:
    from torch.distributed import init_device_mesh

    distributed.connect(always=True)
    return init_device_mesh(distributed.device().split(":")[0], (distributed.world_size(),))


def _precision(bf16: bool, cast_inputs: bool = True) -> Any:
    """cast_inputs: not for layers, whose rotary embeddings stay fp32."""
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if not bf16:
        return MixedPrecisionPolicy()
    return MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=cast_inputs)


def is_sharded(model: Any) -> bool:
    from torch.distributed.fsdp import FSDPModule

    return isinstance(model, FSDPModule)


@contextmanager
def gathered(model: Any) -> Iterator[None]:
    """Keeps the parameters that a forward pass gathers until the end of the block; for many passes without an update.

    Processes may then run different numbers of passes, once each has run every part of the model. No effect on a model
    that is not sharded.
    """
    if not is_sharded(model):
        yield
        return
    model.set_reshard_after_forward(False)
    try:
        yield
    finally:
        model.set_reshard_after_forward(True)
        model.set_reshard_after_forward(False, recurse=False)  # as `shard` does
        for module in model.modules():
            if is_sharded(module):
                module.reshard()


def restored(model: Any, prepare: Callable[[], Any]) -> Any:
    """Returns a trained model with whole parameters in the main process, None in the others. All must call it.

    prepare: returns the model as it was before `shard`. A model that is not sharded is returned as it is.
    """
    if not is_sharded(model):
        return model
    state = whole_state(model, trained_only=True)
    if distributed.rank():
        return None
    whole = prepare()
    whole.load_state_dict(state, strict=False)
    return whole


def whole_state(model: Any, trained_only: bool = False) -> dict[str, torch.Tensor]:
    """Returns a model's state dict, that of a sharded model on the CPU in the main process, empty in the others.

    All processes must call it. trained_only: omits what is frozen (sharded models only).
    """
    if not is_sharded(model):
        return dict(model.state_dict())
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=trained_only)
    state: dict[str, Any] = get_model_state_dict(model, options=options)
    return state
