"""A few faults do no harm; and harm is found."""

import os
import subprocess
import sys
from pathlib import Path

FAULTS = Path(__file__).parent


def run(*arguments, **environment):
    found = os.environ | {"PYTHONPATH": str(FAULTS.parents[1] / "src")} | environment
    return subprocess.run([sys.executable, FAULTS, *arguments], capture_output=True, text=True, env=found)


def test_faults_of_segment_do_no_harm():
    done = run("segment", "--count", "1", "--seed", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith("| 0 |")
    assert '"harm": "recovered"' in done.stdout


COMPARE = """
import sys
sys.path[:0] = [{faults!r}]
from reporting import HarmError, compare

for rows, more in (([1, 2], {{}}), ([1, 2, 3, 3], {{}}), ([1, 4, 3], {{}}), ([1, 2, 3], {{".partial": b""}})):
    try:
        compare({{"rows": [1, 2, 3]}}, {{"rows": rows, **more}})
    except HarmError as error:
        print(error.harm)
"""


def test_comparison_names_each_harm():
    command = [sys.executable, "-c", COMPARE.format(faults=str(FAULTS))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["lost", "doubled", "corrupt", "left", "over"]
