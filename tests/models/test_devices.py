from types import SimpleNamespace
from typing import Any

import pytest
import torch

from thinkseg import models
from thinkseg.errors import ModelError
from thinkseg.models.devices import device_of, resolve_device

# Names that torch.device accepts or rejects, none of which a machine can have.
ABSENT = (
    "cuda:63",
    "cuda:-1",
    "cpu:3",
    "cpu:999",
    "meta",
    "hip",
    "vulkan",
    "xla",
    "hpu",
    "gpu",
    "",
    "opengl",
    "mtia:99",
)


@pytest.mark.parametrize("name", ABSENT)
def test_resolve_device_absent_raises_one_line(name: str) -> None:
    with pytest.raises(ModelError, match=f"^device '{name}': .*give cpu$|^device '{name}': .*try cpu$") as caught:
        resolve_device(name)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="the machine has this device")
def test_resolve_device_mps_without_it_raises() -> None:
    with pytest.raises(ModelError, match="device 'mps': PyTorch cannot use it here"):
        resolve_device("mps")


@pytest.mark.parametrize("load", [models.load_policy, models.load_tracker])
def test_load_absent_device_raises(load: Any, qwen2_5: Any) -> None:
    with pytest.raises(ModelError, match="device 'cuda:63'"):
        load(str(qwen2_5), device="cuda:63")


def test_resolve_device_names_the_one_used() -> None:
    assert str(resolve_device("cpu")) == "cpu"
    assert str(resolve_device(None)) == ("cuda:0" if torch.cuda.is_available() else "cpu")


def test_device_of_is_that_of_the_first_local_model() -> None:
    served, local = SimpleNamespace(name="served"), SimpleNamespace(device=torch.device("cuda", 1))
    assert device_of(served, local) == "cuda:1"
    assert device_of(served) is None
    assert device_of(models.load_tracker("flow")) == "cpu"
