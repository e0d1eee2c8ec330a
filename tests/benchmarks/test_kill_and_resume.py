"""An evaluation that is killed a few times comes to what one left alone comes to; see the script for more kills."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_and_resume.py"


def test_killed_and_started_again():
    command = [sys.executable, str(SCRIPT), "--kills", "2", "--clips", "8", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kills"] == 2
    assert told["same"] == {"rows": True, "scores": True, "masks": True}
