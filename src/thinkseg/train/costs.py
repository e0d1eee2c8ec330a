"""What training costs, as formulas: sizes of a model and of its rows in, bytes and operations out.

Bytes that a layer keeps for the backward pass were counted in Qwen2.5-VL's layers by the tensors that autograd saves
(transformers 5.23, SDPA); a test counts them again. Operations are multiplications and additions, two for each weight
and token in a forward pass, and as many again for the gradient of what goes in and for the gradient of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from thinkseg.train.anatomy import Anatomy, Tower
from thinkseg.train.gpus import Gpu

# Bytes a token and a channel: of a layer's width, and of the inside of its feed-forward part.
KEPT_FP32, KEPT_BF16 = (52, 16), (38, 8)
STREAM = 4
"""Bytes of a channel between layers, which is where gradient checkpointing keeps something."""

LOGIT = 16
"""Bytes for each of the logits that are made at a time: themselves, their logarithms and gradients."""

UTILISED, STREAMED = 0.4, 0.6
"""Shares of the peak operations and of the peak bytes a second that are reckoned with."""

LAUNCH_S = 0.6e-3
"""Least time that one layer takes in one pass, however small: that of starting its kernels from Python."""


@dataclass(frozen=True, slots=True)
class Work:
    """A pass that is made `times` times. flops: operations; read: bytes moved; layers: that are run through, each."""

    flops: float
    read: float
    layers: int
    times: float = 1

    def seconds(self, gpu: Gpu) -> float:
        """How long it takes: as long as the slowest of arithmetic, memory and starting kernels."""
        arithmetic = self.flops / (gpu.tflops * 1e12 * UTILISED)
        memory = self.read / (gpu.gb_s * 1e9 * STREAMED)
        return self.times * max(arithmetic, memory, self.layers * LAUNCH_S)


def seconds(work: Sequence[Work], gpu: Gpu) -> float:
    return sum(one.seconds(gpu) for one in work)


def forward(tower: Tower, tokens: int, context: int) -> float:
    """Operations of a forward pass over tokens that see `context` of each other where they see all."""
    seen = tower.whole * context + (tower.layers - tower.whole) * min(tower.window, context)
    return 2.0 * tower.weights * tokens + 4.0 * tower.attended * tokens * seen


def head(model: Anatomy, tokens: int) -> float:
    """Operations of the logits of some tokens."""
    return 2.0 * model.language.width * model.vocabulary * tokens


def activations(tower: Tower, tokens: int, bf16: bool, checkpointing: bool) -> int:
    """Bytes that a forward pass keeps for the backward pass."""
    of_width, of_inner = KEPT_BF16 if bf16 else KEPT_FP32
    layer = tokens * (of_width * max(tower.width, tower.attended) + of_inner * tower.inner)
    return layer + tokens * STREAM * tower.width * tower.layers if checkpointing else layer * tower.layers


def passing(tower: Tower, tokens: int, bf16: bool) -> int:
    """Bytes that a forward pass needs at a time if it keeps nothing."""
    number = 2 if bf16 else 4
    return tokens * (2 * STREAM * tower.width + number * (3 * tower.inner + 4 * tower.attended))
