"""The fuzzers run, at a hundredth of their scale, without a finding; and they find what they are made for."""

import os
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parent


def run(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(FUZZ.parents[1] / "src")}
    return subprocess.run([sys.executable, FUZZ, *arguments], capture_output=True, text=True, env=environment)


def test_fuzzers_at_small_scale_find_nothing():
    done = run("--scale", "0.01")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "0 findings"


SUBJECT = """
import os, sys, time
sys.path.insert(0, {helpers!r})
import fuzzing
from thinkseg.errors import DatasetError
from thinkseg.rle import decode

def refuse():
    raise DatasetError("refused")

FAULTS = [
    refuse,
    lambda: decode(None),
    lambda: fuzzing.check_message("x" * 5000),
    lambda: bytearray(1 << 26),
    lambda: time.sleep(60),
    os.abort,
]

class Subject:
    name = "subject"

    def prepare(self, folder):
        pass

    def run(self, rng, folder):
        with fuzzing.allowing(DatasetError):
            rng.choice(FAULTS)()

fuzzing.MAX_CLOCK_SECONDS, fuzzing.MAX_BYTES = 0.3, 1 << 24
for one in fuzzing.run_subject(Subject, 0, 20):
    print(one.kind, "at", one.where, one.details.splitlines()[-1])
"""


def test_runner_reports_each_kind_of_finding_once():
    code = SUBJECT.format(helpers=str(FUZZ.parent / "helpers"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    found = sorted(done.stdout.splitlines())
    assert [line.partition(" at ")[0] for line in found] == [
        "ValueError",
        "WrongError",
        "WrongError",
        "hang",
        "process ended with -6",
    ]
    assert "rle.py" in found[0]
