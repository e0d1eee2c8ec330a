"""Time and memory of a GRPO step at the size of the papers: `python benchmarks/real_size.py --folder DIR`.

Creates a Qwen2.5-VL-3B and a SAM 2.1 Hiera-L with random weights in the folder (8.5 GB) unless they are there, and runs
the parts of the first step of recipes/veason-3b.yaml on the CPU, with the packages that train:

    step       `thinkseg train grpo` with LoRA: load, 2 rollouts of 16 tokens, update
    sharded    the same with `sharding: full` on 2 processes, one frame, and given replies of 16 random tokens
    reward     R_u of 2 answers on 2 frames
    states     parts of the 7B on the first of 8 devices, from FSDP2 on the meta device

Prompts show clips of the shapes world with the frames and sizes of the recipe. The reward of a reply is pseudorandom.
Prints seconds, and peak memory beside the estimate of `thinkseg train plan`, and then one JSON line.

Memory is the resident set of a process at its peak, minus that after its imports, in GB (10^9 bytes). It includes pages
of the files of weights, unless the system has freed them for other work. Times are CPU seconds of one process with one
thread. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from thinkseg import console
from thinkseg.chains import get_chain
from thinkseg.models import load_tracker
from thinkseg.models.policies.qwen.checkpoint import (
    SPECIAL_TOKENS,
    create_encoder,
    create_model,
    create_tokenizer,
    save,
)
from thinkseg.rewards import REWARDS, Prompt, Reward
from thinkseg.rewards.groups import score_group
from thinkseg.training import distributed, memory_plan
from thinkseg.training.grpo import train as grpo_train
from thinkseg.training.grpo.recipe import GrpoRecipe
from thinkseg.training.grpo.step import GrpoStep
from thinkseg.training.loop.sharding import shard
from thinkseg.training.sft.data import corpus
from thinkseg.training.trainer import trainable
from thinkseg.types import Chain, Outcome, View

sys.path.append(str(Path(__file__).parent.parent / "tests" / "helpers"))

import qwensizes

RECIPES = Path(__file__).parent.parent / "recipes"

CHANGES: dict[str, Any] = {
    "model": {"train_vision": False, "lora": {"rank": 64, "alpha": 128}},
    "data": [{"name": "shapes"}],
    "rewards": {"consistency": 0.0},
    "steps": 1,
    "prompts_per_step": 1,
    "num_generations": 2,
    "max_new_tokens": 16,
    "log_rollouts_steps": 0,
    "report_to": [],
}
"""Of the recipe, in all parts."""

PARTS: dict[str, dict[str, Any]] = {
    "step": {},
    "sharded": {"sharding": "full", "prompts_per_step": 2, "num_frames": 1},
}
"""Further changes of the recipe."""

DEVICES = 8
"""Of the part "states"."""

ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "1000000", "OMP_NUM_THREADS": "1"}
"""The C library then returns the memory of a freed tensor, as it does not by default."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="folder of the created models")
    names = [*PARTS, "reward", "states"]
    parser.add_argument("--parts", nargs="+", choices=names, default=names, help="parts to run (default: all)")
    parser.add_argument("--child", choices=["models", *names], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        torch.set_num_threads(1)
        run_part(arguments.child, arguments.folder, arguments.out)
        return
    start("models", arguments.folder)
    rows = [row for part in arguments.parts for row in start(part, arguments.folder)]
    columns = ("part", "", "seconds", "memory", "plan", "difference")
    print(console.table(columns, [cells(row) for row in rows], numbers=range(2, 6)))
    print(json.dumps({"benchmark": "real_size", "device": "cpu", "rows": rows}))


def start(part: str, folder: Path) -> Any:
    """Runs a part in processes of its own and returns the object that it prints."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if part == "sharded" else []
    print(f"{part} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, *launcher, __file__, "--folder", str(folder), "--child", part, "--out", out]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | ENVIRONMENT)
    return json.loads(done.stdout.splitlines()[-1])


def cells(row: dict[str, Any]) -> list[str]:
    planned = (
        (f"{row['plan_gb']:.2f} GB", f"{row['memory_gb'] / row['plan_gb'] - 1:+.1%}") if row["plan_gb"] else ("", "")
    )
    return [row["part"], row["phase"], f"{row['seconds']:.1f}", f"{row['memory_gb']:.2f} GB", *planned]


def run_part(part: str, folder: Path, out: Path) -> None:
    """Prints the result of a part as JSON on the last line, in the main process."""
    result: Any = None
    if part == "models":
        create_models(folder)
    elif part == "reward":
        result = reward(folder / "sam2")
    elif part == "states":
        result = states(out)
    else:
        result = train(part, folder / "qwen", out / "run")
    if distributed.rank() == 0:
        print(json.dumps(result))


# ---- models


def create_models(folder: Path) -> None:
    """Writes the models that the folder lacks."""
    from sam2_reward import create

    if not (folder / "qwen" / "thinkseg.json").exists():
        view = View(6, (560, 560))
        tokenizer = create_tokenizer(corpus(view, 200), vocab_size=1500, max_integer_token=560, num_decimal_tokens=100)
        torch.set_default_dtype(torch.bfloat16)
        model = create_model(qwensizes.VISION, qwensizes.TEXT["3b"], tokenizer, seed=0)
        torch.set_default_dtype(torch.float32)
        save(model, create_encoder(tokenizer, qwensizes.VISION), folder / "qwen", view)
    if not (folder / "sam2" / "config.json").exists():
        create("hiera-large").save_pretrained(folder / "sam2")


# ---- measurement


@dataclass
class Meter:
    """Seconds and peak memory of the phases of this process, by name.

    baseline: memory before the first phase, in bytes.
    """

    baseline: int = field(default_factory=lambda: memory("VmRSS"))
    phases: dict[str, dict[str, float]] = field(default_factory=dict)
    _name: str = ""
    _started: float = 0.0

    def start(self, name: str) -> None:
        """Ends the current phase, and begins another."""
        self.stop()
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        self._name, self._started = name, time.process_time()

    def stop(self) -> None:
        if self._name:
            seconds, peak = time.process_time() - self._started, memory("VmHWM") - self.baseline
            self.phases[self._name] = {"seconds": seconds, "memory_gb": peak / 1e9}
            print(self._name, self.phases[self._name], file=sys.stderr, flush=True)
        self._name = ""


def memory(name: str) -> int:
    """Bytes of this process's resident set, now ("VmRSS") or at its peak ("VmHWM")."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


def row(part: str, phase: str, measured: dict[str, float], plan: float) -> dict[str, Any]:
    """plan: bytes; 0 if the plan does not count the part, as it does not count trackers."""
    return {"part": part, "phase": phase, **measured, "plan_gb": plan / 1e9}


# ---- a GRPO step


def train(part: str, model: Path, out: Path) -> list[dict[str, Any]]:
    """Runs `thinkseg train grpo` without saving its result."""
    meter = Meter()

    class Measured(GrpoStep):
        def micro_batches(self, step: int) -> Any:
            meter.start("rollout")
            found = super().micro_batches(step)
            meter.start("update")
            return found

        def _roll_out(
            self, prompts: Sequence[Prompt], indices: Sequence[int], step: int
        ) -> Iterable[tuple[int, list[Outcome]]]:
            if part == "step":
                return super()._roll_out(prompts, indices, step)
            return enumerate(random_group(prompt, self) for prompt in prompts)

        def metrics(self) -> dict[str, float]:
            meter.stop()
            return super().metrics()

    with (
        patch.dict(REWARDS, {"format": Reward(hash_reward, "", "")}),
        patch.object(grpo_train, "GrpoStep", Measured),
        patch.object(grpo_train, "restored"),
        patch.object(grpo_train, "publish"),
    ):
        recipe = memory_plan.load(RECIPES / "veason-3b.yaml", str(model), CHANGES, PARTS[part])
        assert isinstance(recipe, GrpoRecipe)
        meter.start("load")
        grpo_train.train(recipe, out)
    return rows_of(part, recipe, distributed.all_gather(meter.phases))


def rows_of(part: str, recipe: GrpoRecipe, phases: Sequence[dict[str, dict[str, float]]]) -> list[dict[str, Any]]:
    """phases: of each process."""
    devices = len(phases)
    (plan,) = memory_plan.plan(recipe, memory_plan.stats_of(recipe.model), devices)
    optimizer = plan.part(devices) * plan.states.optimizer  # exists from the end of the first update on
    passes = plan.activations + (plan.sharding.update if plan.sharding else 0)
    pages = (Path(str(recipe.model.name)) / "model.safetensors").stat().st_size if plan.sharding else 0
    planned = {
        "load": plan.part(devices) * plan.states.weights + pages,  # of the file, from which parts are copied
        "rollout": plan.rollout_bytes(devices) - optimizer,
        "update": plan.update_bytes(devices) - min(optimizer, passes),
    }
    found = []
    if part != "step":
        del planned["rollout"]  # replies are given
    for name, bytes_planned in planned.items():
        largest = max((one[name] for one in phases), key=lambda phase: phase["memory_gb"])
        found.append(row(part, name, largest, bytes_planned))
    return found


def hash_reward(rollout: Any) -> float:
    """A pseudorandom number in [0, 1]."""
    return zlib.crc32(np.array(rollout.outcome.dialogue[-1].token_ids).tobytes()) / 2**32


def random_group(prompt: Prompt, step: GrpoStep) -> list[Outcome]:
    """Outcomes whose replies are random tokens, in place of sampled ones."""
    recipe, encoder = step.recipe, step.encoder
    chain: Callable[..., Chain] = get_chain(recipe.chain)
    turn = next(chain(prompt.sample, step.view, indices=prompt.frame_indices))
    length, tokens = recipe.max_new_tokens, range(len(SPECIAL_TOKENS), len(encoder.tokenizer))
    ids = np.random.default_rng(0).choice(tokens, (recipe.num_generations, length)).tolist()
    texts = [encoder.generated_text(reply, reply) for reply in ids]
    return [Outcome(None, "truncated", (turn, text), truncated=True, num_tokens=length) for text in texts]


# ---- the reward


def reward(tracker: Path) -> list[dict[str, Any]]:
    """Scores a group as `GrpoStep` does."""
    from sam2_reward import rollouts_of

    meter = Meter()
    meter.start("load")
    loaded = load_tracker(tracker, device="cpu")
    meter.start("score")
    group = rollouts_of(num_frames=2, rollouts=2, distinct=2)
    score_group(group[0].prompt, [rollout.outcome for rollout in group], {"consistency": 1.0}, loaded)
    meter.stop()
    return [row("reward", phase, meter.phases[phase], 0) for phase in ("load", "score")]


# ---- states of the 7B


def states(folder: Path) -> list[dict[str, Any]]:
    """Compares the plan's states with those that FSDP2 makes of a 7B whose tensors have no data."""
    import torch.distributed as dist
    from torch.distributed.fsdp import FSDPModule
    from torch.testing._internal.distributed.fake_pg import FakeStore
    from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(DEVICES)}
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=DEVICES)
    recipe = memory_plan.load(RECIPES / "veason-7b.yaml", str(qwensizes.write_config("7b", folder)))
    assert isinstance(recipe, GrpoRecipe)
    stats = memory_plan.stats_of(recipe.model)
    (plan,) = memory_plan.plan(recipe, stats, DEVICES)
    started = time.process_time()
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(AutoConfig.from_pretrained(folder))
    whole = sum(parameter.numel() for parameter in model.parameters())
    sharded = shard(trainable(model, recipe.model, recipe.gradient_checkpointing), bf16=True)
    local = sum(padded(module) for module in sharded.modules() if isinstance(module, FSDPModule))
    seconds = time.process_time() - started
    pairs = {
        "weights of all devices": (4 * whole, 4 * stats.params),
        "weights": (4 * local, plan.part(DEVICES) * plan.states.weights),
        "gradients": (4 * local, plan.part(DEVICES) * plan.states.gradients),
        "optimizer": (8 * local, plan.part(DEVICES) * plan.states.optimizer),
        "reference": (2 * local, plan.part(DEVICES) * plan.states.reference),
    }
    return [
        row("states", name, {"seconds": seconds, "memory_gb": real / 1e9}, of_plan)
        for name, (real, of_plan) in pairs.items()
    ]


def padded(module: Any) -> int:
    """Numbers that this process stores of the parameters that FSDP2 gathers with a module."""
    group = module._get_fsdp_state()._fsdp_param_group
    return sum(one._sharded_param_data.numel() for one in group.fsdp_params) if group else 0


if __name__ == "__main__":
    main()
