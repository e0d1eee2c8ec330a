"""How far a model has read a prompt, reported from within its forward pass.

On a CPU, a forward pass over a long prompt takes minutes. A callback that raises an exception leaves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from thinkseg.types import ProgressCallback


@contextmanager
def layer_progress(model: Any, progress: ProgressCallback | None) -> Iterator[None]:
    """Calls `progress` before each linear layer of a model, which costs microseconds.

    It receives the number of layers in front of that one, in the order of the model, and of all layers. The number does
    not decrease. The vision tower comes first, and is skipped if the features of all images are cached.
    """
    if progress is None:
        yield
        return
    from torch.nn import Linear

    layers = [module for module in model.modules() if isinstance(module, Linear)]
    reached = 0

    def before(position: int, *_: object) -> None:
        nonlocal reached
        reached = max(reached, position)
        progress(reached, len(layers))

    hooks = [layer.register_forward_pre_hook(partial(before, i)) for i, layer in enumerate(layers)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
