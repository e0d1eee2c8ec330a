"""Versions of the policy in training, written to a folder that its vLLM servers read.

A version has a name of its own in every run, because vLLM caches prefixes by the name of an adapter.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from thinkseg.models.hub import without_progress_bars
from thinkseg.models.policies.vllm import VllmServer
from thinkseg.storage.atomic import new_folder, partial_path
from thinkseg.training import distributed
from thinkseg.training.checkpoints import share_weights
from thinkseg.training.grpo.servers import ServerPool
from thinkseg.training.loop.sharding import whole_state

if TYPE_CHECKING:
    import torch

PREFIX = "policy-"
"""Start of the names of the folders, so that nothing else is ever removed."""

ONE_FILE = "1000TB"
"""Size of a shard. Without an index of shards, vLLM reads all files of weights in the folder."""

HEAD = "lm_head.weight"
"""Name of the output layer."""


class WeightSync:
    """Loads the policy on servers, as an adapter or as complete weights.

    folder: for this run alone, under the same path on the servers. adapter: whether the model is a LoRA adapter.
    bf16: whether complete weights are written in bf16; for servers that compute in it.
    """

    def __init__(self, pool: ServerPool, folder: Path, adapter: bool, bf16: bool = False) -> None:
        self.pool = pool
        self.folder = folder.absolute()
        self.adapter = adapter
        self.bf16 = bf16 and not adapter
        self._run = distributed.all_gather(uuid4().hex[:8])[0]
        self._folders: list[Path] = []

    def update(self, model: Any, step: int) -> None:
        """Writes the weights at the start of a step, and returns once the servers that are up have them."""
        version = f"{PREFIX}{self._run}-{step}"
        folder = self.folder / version
        state = whole_state(model, trained_only=self.adapter)
        with distributed.main_process_first():
            if distributed.rank() == 0:
                self._write(model, state, folder)

            async def load(server: VllmServer) -> None:
                await (server.load_adapter if self.adapter else server.load_weights)(version, folder)

            self.pool.load(load)

    def close(self) -> None:
        """Removes the folders, and closes the connections."""
        self.pool.close()
        if distributed.rank() == 0:
            self._remove(keep=())
            with suppress(OSError):  # it is not there, or has other files
                self.folder.rmdir()

    def _write(self, model: Any, state: dict[str, torch.Tensor], folder: Path) -> None:
        # Other processes may still load the previous version on a server that was down.
        self._folders = [*self._folders[-1:], folder]
        self._remove(keep=self._folders)
        if self.bf16:
            state = {name: value.bfloat16() for name, value in state.items()}
        with new_folder(folder) as parts, without_progress_bars():
            if not self.adapter and model.config.get_text_config().tie_word_embeddings:
                _write_head(state.pop(HEAD), parts)
            model.save_pretrained(parts, state_dict=state, max_shard_size=ONE_FILE)
            share_weights(parts)

    def _remove(self, keep: Any) -> None:
        incomplete = self.folder.glob(partial_path(Path(f"{PREFIX}*")).name)  # of a run that was killed
        for folder in {*self.folder.glob(f"{PREFIX}*"), *incomplete} - set(keep):
            shutil.rmtree(folder, ignore_errors=True)


def _write_head(weight: torch.Tensor, folder: Path) -> None:
    """Writes the output layer of a model whose embeddings are tied to it, which `save_pretrained` omits.

    vLLM's CPU backend has a copy of its own, which it replaces only if the layer is in the checkpoint.
    """
    from safetensors.torch import save_file

    save_file({HEAD: weight}, folder / "lm_head.safetensors")
