"""Declares operators of torchvision that its import needs and only its library for CUDA defines.

Copied into the environment of `install_vllm.py`, where every interpreter imports it at its start.
"""

import importlib.abc
import sys
from typing import Any

SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Finds no module; torch is loaded only if torchvision is."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            # The declarations last as long as the library.
            self.library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                self.library.define(f"{operator}{SIGNATURE}")
            _KEPT.append(self)


_KEPT: list[_BeforeTorchvision] = []
sys.meta_path.insert(0, _BeforeTorchvision())
