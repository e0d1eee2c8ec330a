"""The reward service under load: `python benchmarks/reward_server.py`.

Starts `thinkseg reward-server` on shapes, and posts the replies of a step (16 prompts, 8 rollouts) with one request
each, all at once and in random order, as a trainer does. The scores must equal those of the same replies in process,
bit for bit. Prints the times and ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.chains import veason
from thinkseg.chains.frames import Shown, sample_indices, select_frames
from thinkseg.chains.parsing import write_answer
from thinkseg.data import open_benchmark
from thinkseg.export.images import ImageWriter
from thinkseg.export.kit import thinkseg_client
from thinkseg.export.samples import ExportSettings, ground_truth
from thinkseg.models import load_tracker
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.pipeline import run_chains
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import score_group
from thinkseg.types import Tracker, View

WEIGHTS = {"format": 1.0, "keyframe": 1.0, "boxes": 1.0, "consistency": 1.0}
Score = tuple[float, dict[str, float | None]]
Group = tuple[Prompt, dict[str, Any], list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=16, help="prompts of the step (default: 16)")
    parser.add_argument("--rollouts", type=int, default=8, help="replies to each (default: 8)")
    parser.add_argument("--frames", type=int, default=8, help="frames shown (default: 8)")
    parser.add_argument("--tracker", default="flow", help="flow, or a SAM 2 by folder or hub name (default: flow)")
    arguments = parser.parse_args()
    groups = step(arguments.prompts, arguments.rollouts, arguments.frames)
    # The first call compiles or loads, which is not timed.
    tracker = load_tracker(arguments.tracker)
    score(groups[0], tracker)
    started = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        expected = list(pool.map(lambda group: score(group, tracker), groups))
    in_process = time.perf_counter() - started
    found, seconds, latencies = served(groups, arguments.tracker)
    same = found == expected
    median, last = float(np.median(latencies)), max(latencies)
    print(f"{len(groups)} prompts x {arguments.rollouts} replies with {arguments.tracker}; bit-identical: {same}")
    print(f"in process {in_process:.2f} s, served {seconds:.2f} s; median reply {median:.2f} s, last {last:.2f} s")
    result = {"prompts": len(groups), "rollouts": arguments.rollouts, "frames": arguments.frames}
    timing = {"in_process_s": in_process, "served_s": seconds, "median_request_s": median, "last_request_s": last}
    print(json.dumps({**result, "tracker": arguments.tracker, **timing, "same": same}))


def step(num_prompts: int, num_rollouts: int, num_frames: int) -> list[Group]:
    """Prompts with their ground truth in an export, and replies: the true answer, with boxes more and more wrong."""
    benchmark = open_benchmark("shapes", split="train", limit=2 * num_prompts)
    settings = ExportSettings("veason", View(num_frames, (224, 224)), ImageWriter(Path()), for_sft=False, for_rl=True)
    rng, groups = np.random.default_rng(0), []
    for sample in benchmark.samples():
        prompt = Prompt(sample, sample_indices(len(sample.video), num_frames))
        if prompt.shows_target:
            shown = select_frames(sample.video, settings.view, prompt.frame_indices)
            truth = ground_truth(benchmark.key, prompt, shown, settings)
            groups.append((prompt, truth, [reply(prompt, shown, 2.0 * n, rng) for n in range(num_rollouts)]))
    return groups[:num_prompts]


def reply(prompt: Prompt, shown: Shown, noise: float, rng: np.random.Generator) -> str:
    """The true answer on the best frame, its boxes moved by about `noise` pixels."""
    keyframe = max(prompt.areas, key=prompt.areas.__getitem__)
    boxes = prompt.boxes[keyframe] + rng.normal(0, noise, 4)
    boxes = np.clip(np.sort(boxes.reshape(-1, 2, 2), axis=1).reshape(-1, 4), [0, 0, 8, 8], [216, 216, 224, 224])
    return write_answer("", keyframe, boxes, shown)


def score(group: Group, tracker: Tracker) -> list[Score]:
    """Total and terms of each reply to a prompt, in process."""
    prompt, _, replies = group
    view = View(len(prompt.frame_indices), (224, 224))
    chains = [veason(prompt.sample, view, prompt.frame_indices) for _ in replies]
    outcomes = run_chains(chains, ScriptedPolicy(replies))
    return [(one.total, dict(one.terms)) for one in score_group(prompt, outcomes, WEIGHTS, tracker)]


def served(groups: list[Group], tracker: str) -> tuple[list[list[Score]], float, list[float]]:
    """The same from a server, with one request each. Also returns the seconds of the step and of each request."""
    command = [sys.executable, "-m", "thinkseg", "reward-server", "shapes:train", "--port", "0", "--tracker", tracker]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            os.environ["THINKSEG_REWARD_URL"] = server.stdout.readline().split()[-1]
            # The first request compiles or loads, which is not timed.
            request(groups[0][1], groups[0][2][0])
            return _load(groups)
        finally:
            server.terminate()


def _load(groups: list[Group]) -> tuple[list[list[Score]], float, list[float]]:
    asked = [(number, position) for number, group in enumerate(groups) for position in range(len(group[2]))]
    random.Random(0).shuffle(asked)
    started = time.perf_counter()
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda at: request(groups[at[0]][1], groups[at[0]][2][at[1]]), asked))
    seconds = time.perf_counter() - started
    by_place = dict(zip(asked, answers, strict=True))
    scores = [[by_place[n, i][0] for i in range(len(group[2]))] for n, group in enumerate(groups)]
    return scores, seconds, [latency for _, latency in answers]


def request(truth: dict[str, Any], reply: str) -> tuple[Score, float]:
    """One request of the kit, with its seconds."""
    started = time.perf_counter()
    return thinkseg_client.score([reply], truth, WEIGHTS), time.perf_counter() - started


if __name__ == "__main__":
    main()
