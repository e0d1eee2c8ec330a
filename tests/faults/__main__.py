"""Strikes runs at random moments: `python tests/faults [SUBJECT ...] [--scale 1.0] [--seed 0] [--case N]`.

A case interrupts a run up to three times, by a signal, a full disk or another fault, and then runs the same command to
its end. Its files must be those of a run that nobody disturbed: the same rows in the same order, scores, masks and
parameters bit by bit, and nothing left over. Prints one JSON line per fault and a table, and ends with status 1 if
anything was lost, doubled or corrupt. A case depends on the seed and its number, as far as the clock lets it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from random import Random

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)

from reporting import Fault, HarmError, SkippedError, Subject, table
from running import prepare

SUBJECTS = {
    "segment": "resumed.Segment",
    "evaluate": "resumed.Evaluate",
    "annotate": "resumed.Annotate",
    "folders": "folders.Folders",
    "sft": "trainings.Sft",
    "grpo": "trainings.Grpo",
    "grpo-sharded": "trainings.GrpoSharded",
    "grpo-vllm": "trainings.GrpoVllm",
    "app": "services.App",
    "reward-server": "services.RewardServer",
}
"""Modules and classes. A command that resumes extends `Resumed`; one whose workers are struck sets `program`."""


def main() -> int:
    options = _options()
    names = options.subjects or list(SUBJECTS)
    subjects = [_subject(name) for name in names]
    prepare(sorted({program for subject in subjects for program in subject.modules}))
    faults: list[Fault] = []
    skipped: dict[str, str] = {}
    for subject in subjects:
        started = time.monotonic()
        faults += _run(subject, options, skipped)
        print(f"{subject.name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    print(table(faults, skipped))
    return 1 if any(fault.details for fault in faults) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subjects", nargs="*", choices=[*SUBJECTS, []], metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the cases to run")
    parser.add_argument("--count", type=int, help="cases per subject, instead of the share")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="run this case alone")
    return parser.parse_args()


def _subject(name: str) -> Subject:
    """Returns a subject. Only its module is imported, which may need torch."""
    module, _, kind = SUBJECTS[name].partition(".")
    subject: Subject = getattr(import_module(module), kind)()
    return subject


def _run(subject: Subject, options: argparse.Namespace, skipped: dict[str, str]) -> list[Fault]:
    """Runs the cases of a subject. skipped: gets what this machine does not permit."""
    count = options.count or max(1, round(subject.count * options.scale))
    cases = range(count) if options.case is None else [options.case]
    faults = []
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)  # for cases that run as another user
        subject.prepare(Path(name))
        for case in cases:
            try:
                faults += _run_case(subject, options.seed, case, Path(name) / "case")
            except SkippedError as error:
                skipped[f"{subject.name} {case}"] = str(error)
    return faults


def _run_case(subject: Subject, seed: int, case: int, folder: Path) -> list[Fault]:
    struck: list[tuple[str, str]] = []
    harm: tuple[str, ...] = ()
    folder.mkdir()
    try:
        subject.run(Random(f"{subject.name} {seed} {case}"), folder, struck)
    except HarmError as error:
        harm = (error.harm, str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    faults = [Fault(subject.name, case, *one) for one in struck]
    if harm:
        kind, when = struck[-1] if struck else ("none", "")
        faults = [*faults[:-1], Fault(subject.name, case, kind, when, *harm)]
    for fault in faults:
        print(fault.to_json(), flush=True)
    return faults


if __name__ == "__main__":
    sys.exit(main())
