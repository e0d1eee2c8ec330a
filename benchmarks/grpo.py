"""Compares the cost of a GRPO step with that of TRL: `python benchmarks/grpo.py`.

Trains a Qwen2.5-VL with random weights twice: with the GRPOTrainer of TRL, and as `thinkseg train grpo` does. Both have
the same weights, prompts (token for token), group size and completion length (the end token is never sampled), a full
reference model, a frozen vision tower and a reward of no cost. Prints the cost of a step and of its two phases, and
then one JSON line:

    rollout   prompts to completions: `GrpoStep._roll_out` here, `GRPOTrainer._generate` in TRL
    update    the rest of the step: reference pass, policy pass, gradient, optimizer

Values are medians over the steps after the first. On a CPU they are seconds of process time on one thread, which other
work on the machine does not change; on a GPU, wall-clock seconds and peak memory.

    python benchmarks/grpo.py --model 3b --size 560x560 --prompts 16 --tokens 512 --bf16 --checkpointing   # on a GPU
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from thinkseg.chains.frames import show
from thinkseg.chains.veason import ask
from thinkseg.cli.parsers import count, size
from thinkseg.data import shapes
from thinkseg.export.common import content_parts
from thinkseg.models.policies.qwen.checkpoint import create_encoder, create_model, create_tokenizer, load_model, save
from thinkseg.models.policies.qwen.encoder import Encoder
from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.ops.video import ArrayFrames
from thinkseg.rewards import REWARDS, Prompt, Reward
from thinkseg.training.grpo import step as grpo_step
from thinkseg.training.grpo.prompt_sampler import PromptDataset
from thinkseg.training.grpo.recipe import GrpoRecipe, PromptSource
from thinkseg.training.grpo.step import GrpoStep
from thinkseg.training.loop.log import RunLog
from thinkseg.training.loop.run import train
from thinkseg.training.recipes import ModelRecipe
from thinkseg.training.sft.data import corpus
from thinkseg.training.trainer import trainable
from thinkseg.types import Turn, View

sys.path.append(str(Path(__file__).parent.parent / "tests" / "helpers"))

from trl_processor import processor_of

MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # In the proportions of the 3B model: vision has a fifth of the parameters of language, and full attention in one
    # layer of four.
    "tiny": (
        {"depth": 4, "hidden_size": 160, "intermediate_size": 448, "num_heads": 4, "fullatt_block_indexes": [3]},
        {
            "hidden_size": 256,
            "intermediate_size": 1024,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
    ),
    # The config.json of Qwen/Qwen2.5-VL-3B-Instruct.
    "3b": (
        {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        {
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "max_position_embeddings": 128000,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]},
        },
    ),
}

PHASES = ("step", "rollout", "update")
BETA, LEARNING_RATE, WEIGHT_DECAY = 5e-3, 1e-6, 0.01


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    cost = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        view = View(arguments.frames, arguments.size)
        make_model(arguments.model, folder, view)
        encoder = Encoder.load(folder)
        prompts = make_prompts(view, arguments.prompts * arguments.steps)
        length = check_prompts(encoder, prompts, view)
        for name, train in (("trl", with_trl), ("thinkseg", with_thinkseg)):
            cost[name] = measure(train, arguments, folder, prompts)
    report(arguments, length, cost)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(MODELS), default="tiny", help="size (default: tiny)")
    parser.add_argument("--prompts", type=count, default=2, metavar="N", help="groups per step (default: 2)")
    parser.add_argument("--rollouts", type=count, default=8, metavar="N", help="per group (default: 8)")
    parser.add_argument("--frames", type=count, default=6, metavar="N", help="per prompt (default: 6)")
    parser.add_argument("--size", type=size, default=(280, 280), metavar="WxH", help="of frames (default: 280x280)")
    parser.add_argument("--tokens", type=count, default=96, metavar="N", help="per completion (default: 96)")
    parser.add_argument("--steps", type=count, default=3, metavar="N", help="2 or more (default: 3)")
    parser.add_argument("--bf16", action="store_true", help="compute in bf16")
    parser.add_argument("--checkpointing", action="store_true", help="use gradient checkpointing")
    arguments = parser.parse_args()
    if arguments.steps < 2:
        parser.error("--steps: must be >= 2, because the first step is not counted")
    return arguments


def make_model(name: str, folder: Path, view: View) -> None:
    """Saves a model with random weights, and a tokenizer for the prompts."""
    vision, text = MODELS[name]
    vision = {"patch_size": 14, **vision}
    tokenizer = create_tokenizer(corpus(view, 200), vocab_size=1500, max_integer_token=560, num_decimal_tokens=100)
    model = create_model(vision, text, tokenizer, seed=0)
    model = model.bfloat16() if name != "tiny" else model  # half the disk space; training is in fp32 nevertheless
    save(model, create_encoder(tokenizer, vision), folder, view)


def make_prompts(view: View, number: int) -> list[Prompt]:
    """Returns prompts with clips of the shapes world, held in memory at the size in which they are shown."""
    prompts = []
    for index in range(number):
        sample = shapes.load("train", index, view.frame_wh)
        _, images = show(sample.video, view)
        video = ArrayFrames(np.stack(images), fps=1.0, name=sample.id)
        prompts.append(Prompt(replace(sample, video=video), tuple(range(view.num_frames))))
    return prompts


def turn_of(prompt: Prompt, view: View) -> Turn:
    shown, images = show(prompt.sample.video, view, prompt.frame_indices)
    return ask(prompt.sample.query, shown, images, view)


class Endless(Engine):
    """Never samples the end token."""

    def _pick(self, logits: torch.Tensor, *settings: Any) -> torch.Tensor:
        logits = logits.clone()
        logits[:, self.encoder.end_id] = -torch.inf
        return super()._pick(logits, *settings)


def hash_reward(tokens: Sequence[int], length: int) -> float:
    """Returns a pseudorandom reward in [0, 1]. Raises ValueError if there are not `length` tokens."""
    if len(tokens) != length:
        raise ValueError(f"a completion of {len(tokens)} tokens, not {length}")
    return zlib.crc32(np.array(tokens).tobytes()) / 2**32


class Costs(TrainerCallback):
    """Records the seconds of each step of a training and of each call of its rollout phase."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.rollouts: list[float] = []
        self._mark = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._mark = now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        before, self._mark = self._mark, now()
        self.steps.append(self._mark - before)

    def timed_rollout(self, phase: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            started = now()
            result = phase(*arguments)
            self.rollouts.append(now() - started)
            return result

        return timed


class TimedLog(RunLog):
    """Reports the start and the steps of our training loop to `Costs`."""

    def __init__(self, out: Path, costs: Costs) -> None:
        super().__init__(out, "grpo", out / "tensorboard")
        self._costs = costs

    def begin(self, step: int, num_steps: int, losses: Sequence[float] = ()) -> None:
        super().begin(step, num_steps, losses)
        self._costs.on_train_begin()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        super().add(step, values)
        self._costs.on_step_end()


def now() -> float:
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(
    train: Callable[..., None], arguments: argparse.Namespace, folder: Path, prompts: list[Prompt]
) -> dict[str, float]:
    """Trains for some steps and returns the median cost of one by phase."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    costs = Costs()
    train(arguments, folder, prompts, costs)
    step, rollout = np.array(costs.steps[1:]), np.array(costs.rollouts[1:])
    found = {"step_s": median(step), "rollout_s": median(rollout), "update_s": median(step - rollout)}
    if torch.cuda.is_available():
        found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return {name: round(float(value), 3) for name, value in found.items()}


def recipe_of(arguments: argparse.Namespace, folder: Path) -> GrpoRecipe:
    """The reward "hash" must be in `REWARDS`."""
    return GrpoRecipe(
        model=ModelRecipe(name=str(folder)),
        data=(PromptSource(name="shapes"),),
        rewards={"hash": 1.0},
        steps=arguments.steps,
        num_frames=arguments.frames,
        frame_wh=arguments.size,
        prompts_per_step=arguments.prompts,
        num_generations=arguments.rollouts,
        beta=BETA,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        max_new_tokens=arguments.tokens,
        gradient_checkpointing=arguments.checkpointing,
        save_steps=arguments.steps + 1,
        log_rollouts_steps=0,
        precision="bf16" if arguments.bf16 else "fp32",
    )


def with_thinkseg(arguments: argparse.Namespace, folder: Path, prompts: list[Prompt], costs: Costs) -> None:
    def reward(rollout: Any) -> float:
        return hash_reward(rollout.outcome.dialogue[-1].token_ids, arguments.tokens)

    rewards = {"hash": Reward(reward, "", "")}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, reference = (load_model(folder, "fp32", device) for _ in range(2))
    reference.requires_grad_(False)
    with patch.dict(REWARDS, rewards), patch.object(grpo_step, "Engine", Endless), tempfile.TemporaryDirectory() as out:
        recipe = recipe_of(arguments, folder)
        trained = trainable(model, recipe.model, recipe.gradient_checkpointing)
        source = PromptDataset(recipe.data, recipe.num_frames, recipe.seed)
        step = GrpoStep(recipe, source, trained, reference, Encoder.load(folder), recipe.view, Path(out))
        vars(step).update(prompts=prompts, _roll_out=costs.timed_rollout(step._roll_out))
        train(step, recipe, Path(out), TimedLog(Path(out), costs), recipe.seed)


def with_trl(arguments: argparse.Namespace, folder: Path, prompts: list[Prompt], costs: Costs) -> None:
    view, encoder = View(arguments.frames, arguments.size), Encoder.load(folder)
    model = load_model(folder, "fp32")
    model.model.visual.requires_grad_(False)

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
        return [hash_reward(tokens, arguments.tokens) for tokens in completion_ids]

    with tempfile.TemporaryDirectory() as out:
        settings = GRPOConfig(
            output_dir=out,
            max_steps=arguments.steps,
            per_device_train_batch_size=arguments.rollouts,
            gradient_accumulation_steps=arguments.prompts,
            num_generations=arguments.rollouts,
            max_completion_length=arguments.tokens,
            generation_kwargs={"suppress_tokens": [*encoder.suppressed_ids(), encoder.end_id]},
            beta=BETA,
            loss_type="grpo",
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            weight_decay=WEIGHT_DECAY,
            bf16=arguments.bf16,
            gradient_checkpointing=arguments.checkpointing,
            use_cpu=not torch.cuda.is_available(),
            shuffle_dataset=False,
            save_strategy="no",
            report_to=[],
            logging_steps=1,
            disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=reward,
            args=settings,
            train_dataset=Dataset.from_list([row_of(turn_of(prompt, view)) for prompt in prompts]),
            processing_class=processor_of(encoder),
            callbacks=[costs],
        )
        vars(trainer)["_generate"] = costs.timed_rollout(trainer._generate)
        trainer.train()


def row_of(turn: Turn) -> dict[str, Any]:
    """Converts a turn to the format of TRL: a message with image placeholders, and the images."""
    return {
        "prompt": [{"role": "user", "content": content_parts(turn)}],
        "images": [Image.fromarray(one) for one in turn.images],
    }


def check_prompts(encoder: Encoder, prompts: list[Prompt], view: View) -> float:
    """Returns the mean prompt length in tokens. Raises ValueError if the processor of TRL gives other tokens."""
    lengths = []
    for prompt in prompts:
        turn = turn_of(prompt, view)
        ours = encoder.encode((turn,)).input_ids.tolist()
        row = row_of(turn)
        text = encoder.tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        theirs = processor_of(encoder)(images=row["images"], text=[text])["input_ids"][0]
        if ours != list(theirs):
            raise ValueError(f"prompt {prompt.sample.id} has other tokens in TRL")
        lengths.append(len(ours))
    return float(np.mean(lengths))


def report(arguments: argparse.Namespace, length: float, cost: dict[str, dict[str, float]]) -> None:
    ours, theirs = cost["thinkseg"], cost["trl"]
    ratios = {f"{phase}_ratio": round(theirs[f"{phase}_s"] / ours[f"{phase}_s"], 2) for phase in PHASES}
    clock = "GPU" if torch.cuda.is_available() else "CPU, one thread"
    print(
        f"{arguments.prompts} prompts of {length:.0f} tokens, {arguments.rollouts} rollouts of {arguments.tokens} "
        f"tokens each; seconds on the {clock}"
    )
    for phase in PHASES:
        print(
            f"{phase:8}  TRL {theirs[f'{phase}_s']:8.2f}  ThinkSeg {ours[f'{phase}_s']:8.2f}  "
            f"{ratios[f'{phase}_ratio']:6.1f} times as cheap"
        )
    width, height = arguments.size
    settings = vars(arguments) | {"size": [width, height], "prompt_tokens": length}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(json.dumps({"benchmark": "grpo", "device": device, **settings, **cost, **ratios}))


if __name__ == "__main__":
    main()
