"""A real vLLM server, started with the command of `thinkseg train servers`."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from thinkseg.models import bundled_policy_for
from thinkseg.training.grpo.recipe import GrpoRecipe, PromptSource, Rollout
from thinkseg.training.grpo.serving import ServerProcess, server_commands
from thinkseg.training.memory_plan import stats_of
from thinkseg.training.recipes import Lora, ModelRecipe

ENVIRONMENT = "THINKSEG_ENGINES"
"""Variable with the environment that `tests/engines/install_vllm.py` makes."""

START_SECONDS = 900

VARIABLES = {
    "VLLM_SERVER_DEV_MODE": "1",  # for all weights, beside the adapters of the recipe
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "HF_HUB_OFFLINE": "1",
}
ARGUMENTS = ("--served-model-name", "shapes", "--enforce-eager", "--max-num-seqs", "64")


def engine_recipe(url: str) -> GrpoRecipe:
    """The largest prompts of the tests."""
    return GrpoRecipe(
        model=ModelRecipe(name=bundled_policy_for("veason"), lora=Lora(rank=8)),
        data=(PromptSource(name="shapes"),),
        chain="revseg",
        rewards={"format_graded": 1.0},
        num_frames=4,
        frame_wh=(112, 112),
        closeup_wh=(224, 224),
        steps=1,
        max_new_tokens=400,
        precision="fp32",
        rollout=Rollout(engine="vllm", servers=(url,), sync="adapter"),
    )


@contextmanager
def running_server(log: Path) -> Iterator[ServerProcess]:
    """A server on a free port that is up."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        recipe = engine_recipe(f"http://127.0.0.1:{free.getsockname()[1]}")
    program = Path(os.environ[ENVIRONMENT]).absolute() / "bin" / "vllm"
    (command,) = server_commands(recipe, stats_of(recipe.model), str(program), extra=ARGUMENTS)
    with log.open("ab") as output:
        server = ServerProcess(replace(command, variables={**command.variables, **VARIABLES}), output)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not server.is_up():
                assert time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(1)
            yield server
        finally:
            server.stop()
