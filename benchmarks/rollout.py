"""Speed of rollouts by engine: `python benchmarks/rollout.py --attempts 16 128 --vllm-env DIR`.

Samples replies to questions about shapes with a policy, a group per question and all groups at once:

    engine     the engine in this process, as `thinkseg train grpo` uses it
    generate   `generate` of transformers, with `num_return_sequences`
    vllm       a vLLM server, as `rollout: {engine: vllm}` uses it; with --vllm or --vllm-env

All get the same questions, temperature and limit of tokens. Each number of attempts has its own questions, so that no
cache has them. Times include the encoding of the prompts. Tokens are those that were sampled, with the end of a reply.

CPU seconds are those of the processes of an engine, each on one thread, which other work on the machine does not change
much; they are unknown for a server that runs already (--vllm). Prints a table and ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig

from thinkseg.chains.frames import show
from thinkseg.chains.veason import ask
from thinkseg.cli.parsers import count
from thinkseg.console import say, table
from thinkseg.data import shapes
from thinkseg.models import resolve_model
from thinkseg.models.policies.qwen.policy import QwenPolicy
from thinkseg.models.policies.qwen.prefix_sharing import ChatGenerator
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.models.policies.vllm import GENERATE
from thinkseg.training.grpo.servers import ServerPool
from thinkseg.training.grpo.serving import ServerCommand, ServerProcess
from thinkseg.training.grpo.vllm_rollouts import VllmRollouts
from thinkseg.types import Reply, Turn

Sample = Callable[[list[Turn]], int]
"""Samples a reply to each turn of a list, in which the turns of a group are the same. Returns the number of tokens."""

Engine = tuple[Sample, Callable[[], float]]
"""With the function that returns its CPU seconds until now."""

VARIABLES = {
    "VLLM_CPU_KVCACHE_SPACE": "4",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}

TICKS_PER_SECOND = 100
"""Unit of times in /proc."""

WARM_UP = 100_000
"""Index of a question that is not measured."""


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    sampling = SamplingParams(arguments.temperature, arguments.tokens)
    policy = QwenPolicy.load(resolve_model(arguments.policy), "fp32", "cpu")
    made: dict[str, Any] = {
        "engine": (with_engine(policy, sampling), time.process_time),
        "generate": (with_generate(policy, sampling), time.process_time),
    }
    with vllm_server(arguments, policy) as (url, cpu_seconds):
        if url:
            made["vllm"] = (with_vllm(url, policy, sampling), cpu_seconds)
        engines = {name: made[name] for name in made if name in arguments.engines}
        report(arguments, measure(engines, policy, arguments))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default="shapes", help="folder or hub name (default: shapes)")
    many = "attempts at once (default: 16 32 64 128 256 512)"
    parser.add_argument("--attempts", type=count, nargs="+", default=[16, 32, 64, 128, 256, 512], help=many)
    parser.add_argument("--group", type=count, default=8, help="attempts per question (default: 8)")
    parser.add_argument("--tokens", type=count, default=256, help="limit of a reply (default: 256)")
    parser.add_argument("--temperature", type=float, default=1.0, help="default: 1")
    names = ["engine", "generate", "vllm"]
    parser.add_argument("--engines", nargs="+", default=names, choices=names, help="default: all there are")
    parser.add_argument("--vllm", metavar="URL", default="", help="a server that serves the policy")
    parser.add_argument("--vllm-env", metavar="DIR", default="", help="environment of vLLM, to start a server from")
    arguments = parser.parse_args()
    if any(attempts % arguments.group for attempts in arguments.attempts):
        parser.error(f"--attempts: must be multiples of --group, {arguments.group}")
    return arguments


def measure(engines: dict[str, Engine], policy: QwenPolicy, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per number of attempts and engine."""
    for sample, _ in engines.values():
        sample([turn_of(policy, WARM_UP)] * 2)
    rows, first = [], 0
    for attempts in arguments.attempts:
        questions = [turn_of(policy, first + number) for number in range(attempts // arguments.group)]
        turns = [turn for turn in questions for _ in range(arguments.group)]
        first += len(questions)
        for name, (sample, cpu_seconds) in engines.items():
            cpu, wall = cpu_seconds(), time.perf_counter()
            tokens = sample(turns)
            cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
            rows.append({"engine": name, "attempts": attempts, "tokens": tokens, "cpu_s": cpu, "wall_s": wall})
            say(f"{name}, {attempts} attempts: {tokens:,} tokens, CPU {cpu:.1f} s, wall clock {wall:.1f} s")
    return rows


def turn_of(policy: QwenPolicy, index: int) -> Turn:
    sample = shapes.load("train", index, policy.view.frame_wh)
    return ask(sample.query, *show(sample.video, policy.view), policy.view)


def with_engine(policy: QwenPolicy, sampling: SamplingParams) -> Sample:
    @torch.no_grad()
    def sample(turns: list[Turn]) -> int:
        engine = policy._engine
        engine.vision.clear()
        replies = ChatGenerator(engine, sampling).reply([(turn,) for turn in turns], range(len(turns)))
        return num_sampled(replies)

    return sample


def num_sampled(replies: list[Reply]) -> int:
    """Tokens of replies, with those that end them."""
    return sum(reply.num_tokens + (not reply.truncated) for reply in replies)


def with_generate(policy: QwenPolicy, sampling: SamplingParams) -> Sample:
    encoder = policy.encoder

    @torch.no_grad()
    def sample(turns: list[Turn]) -> int:
        groups = list({id(turn): turn for turn in turns}.values())
        encoded = encoder.encode_group([(turn,) for turn in groups])
        ids = [torch.from_numpy(one.input_ids) for one in encoded]
        padded = pad_sequence(ids, batch_first=True, padding_value=encoder.pad_id, padding_side="left")
        settings = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=True,
            temperature=sampling.temperature,
            top_k=0,
            num_return_sequences=len(turns) // len(groups),
            eos_token_id=encoder.end_id,
            pad_token_id=encoder.pad_id,
            suppress_tokens=encoder.suppressed_ids(),
        )
        written = policy.model.generate(
            input_ids=padded,
            attention_mask=pad_sequence([torch.ones_like(one) for one in ids], batch_first=True, padding_side="left"),
            mm_token_type_ids=(padded == encoder.image_pad_id).int(),
            pixel_values=torch.cat([one.pixel_values for one in encoded]),
            image_grid_thw=torch.cat([one.image_grid_thw for one in encoded]),
            generation_config=settings,
        )
        has_ended = (written[:, padded.shape[1] :] == encoder.end_id).cumsum(1) > 0
        return int((~has_ended).sum() + has_ended[:, -1].sum())

    return sample


def with_vllm(url: str, policy: QwenPolicy, sampling: SamplingParams) -> Sample:
    pool = ServerPool([url], [GENERATE], timeout=3600)

    def sample(turns: list[Turn]) -> int:
        rollouts = VllmRollouts(SimpleNamespace(pool=pool), policy.encoder, policy.view, sampling)  # type: ignore[arg-type]
        replies = rollouts.reply([(turn,) for turn in turns])
        return num_sampled(replies)

    return sample


@contextmanager
def vllm_server(arguments: argparse.Namespace, policy: QwenPolicy) -> Iterator[tuple[str, Callable[[], float]]]:
    """The URL of a server, empty if none is asked for, and the function that returns its CPU seconds."""
    if not arguments.vllm_env:
        yield arguments.vllm, lambda: float("nan")
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ServerCommand(f"http://127.0.0.1:{port}", VARIABLES, vllm_arguments(arguments, policy.name, port))
    with tempfile.NamedTemporaryFile(suffix=".log", delete=False) as log:
        say(f"starting vLLM, which writes to {log.name}")
        server = ServerProcess(command, log)
    try:
        while not server.is_up():
            time.sleep(1)
        yield command.url, lambda: session_cpu_seconds(server._process.pid)
    finally:
        server.stop()


def vllm_arguments(arguments: argparse.Namespace, policy: str, port: int) -> tuple[str, ...]:
    return (
        *(str(Path(arguments.vllm_env) / "bin" / "vllm"), "serve", policy, "--host", "127.0.0.1", "--port", str(port)),
        *("--max-model-len", "2048", "--max-num-seqs", str(max(arguments.attempts)), "--generation-config", "vllm"),
        *("--enable-scale-out", "--enforce-eager", "--logprobs-mode", "processed_logprobs"),
        *("--limit-mm-per-prompt", '{"image": 32}'),
    )


def session_cpu_seconds(session: int) -> float:
    """CPU seconds until now of all processes of a session, which has the number of its first process."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(fields[3]) == session:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def report(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(row["engine"] for row in rows))
    lines = []
    for attempts in arguments.attempts:
        of_engine = {row["engine"]: row for row in rows if row["attempts"] == attempts}
        speeds = [of_engine[name]["tokens"] / of_engine[name][clock] for clock in ("cpu_s", "wall_s") for name in names]
        lines.append([str(attempts), *(f"{speed:,.0f}" for speed in speeds)])
    columns = ["attempts", *(f"{name} ({clock})" for clock in ("CPU", "wall") for name in names)]
    print("tokens per second", table(columns, lines, numbers=range(len(columns))), sep="\n")
    settings = {name: value for name, value in vars(arguments).items() if not name.startswith("vllm")}
    print(json.dumps({"benchmark": "rollout", "device": "cpu", "precision": "fp32", **settings, "rows": rows}))


if __name__ == "__main__":
    main()
