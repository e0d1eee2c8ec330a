"""The device that a model runs on, from its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thinkseg.errors import ModelError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str | None) -> torch.device:
    """The device of a name, with its index; without a name, a GPU if there is one, else the CPU.

    Raises ModelError if PyTorch does not know the device or cannot compute on it here.
    """
    import torch

    name = ("cuda" if torch.cuda.is_available() else "cpu") if name is None else name
    try:
        # Computes, because a name without its hardware, driver or build is valid. Each kind of device then raises an
        # error of its own, "meta" only once a value is read.
        value = torch.zeros(1, device=name)
        value.item()
    except (RuntimeError, AssertionError, ImportError, TypeError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ModelError(f"device {name!r}: PyTorch cannot use it here ({reason}); try cpu") from None
    if value.device.type == "cpu" and name not in ("cpu", "cpu:0"):
        raise ModelError(f"device {name!r}: there is one CPU; give cpu")
    return value.device


def available_devices() -> list[str]:
    """Returns the devices that models can run on here, GPUs first."""
    import torch

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [*gpus, "cpu", *(["mps"] if torch.backends.mps.is_available() else [])]


def device_of(*models: Any) -> str | None:
    """The device that the first local model among policies and trackers runs on; None if all are served."""
    return next((str(model.device) for model in models if getattr(model, "device", None) is not None), None)
