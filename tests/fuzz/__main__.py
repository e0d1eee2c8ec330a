"""Runs the fuzzers: `python tests/fuzz [SUBJECT ...] [--scale 1.0] [--seed 0] [--case N] [--findings FILE]`.

Ends with status 1 if there are findings. --case runs one case in this process, with its traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import scipy.optimize  # noqa: F401, before processes are forked, which would load it one by one

from checkpoints import Checkpoints
from commands import Commands
from fuzzing import Finding, Subject, run_case, run_subject, to_json
from prompts import PromptFiles
from recipes import Recipes
from replies import Replies
from results import Results
from runlengths import RunLengths
from servers import Servers
from trees import Trees
from uses import Uses
from videos import Videos
from web_requests import AppRequests, RewardRequests

KINDS: tuple[type[Subject], ...] = (
    *(RunLengths, Replies, Servers, Recipes, PromptFiles, Results, Trees, Uses, Videos, Commands, Checkpoints),
    *(AppRequests, RewardRequests),
)
SUBJECTS = {subject.name.replace(" ", "-"): subject for subject in KINDS}


def main() -> int:
    options = _options()
    if options.case is not None:
        _run_one(SUBJECTS[options.subjects[0]](), options.seed, options.case)
        return 0
    found = [finding for name in options.subjects or SUBJECTS for finding in _run(name, options.seed, options.scale)]
    if options.findings:
        options.findings.write_text("".join(f"{to_json(finding)}\n" for finding in found), "utf-8")
    print(f"{len(found)} findings")
    return 1 if found else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="*", choices=[*SUBJECTS, []], metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the cases to run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="run this case alone")
    parser.add_argument("--findings", type=Path, help="write the findings to a file, one per line")
    return parser.parse_args()


def _run(name: str, seed: int, scale: float) -> list[Finding]:
    subject = SUBJECTS[name]
    count, started = max(1, round(subject.count * scale)), time.monotonic()
    found = run_subject(subject, seed, count)
    print(f"{name}: {count} cases, seed {seed}, {time.monotonic() - started:.0f} s, {len(found)} findings", flush=True)
    for finding in found:
        print(f"  {finding.kind} at {finding.where}: python tests/fuzz {name} --seed {seed} --case {finding.case}")
        print(f"    {finding.details.strip().splitlines()[-1][:300]}", flush=True)
    return found


def _run_one(subject: Subject, seed: int, case: int) -> None:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        subject.prepare(Path(folder))
        run_case(subject, seed, case, Path(folder) / "case")
    print("no finding")


if __name__ == "__main__":
    sys.exit(main())
