"""Annotation with a failing server in a run that is killed, on a small scale."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "annotate_faults.py"


def test_annotate_faults_killed_run_resumes_to_same_set():
    command = [sys.executable, str(SCRIPT), "--kills", "1", "--count", "8", "--faults", "0.3", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["stored and requested again"] == 0
    assert all(report["same"].values())
    assert report["answers stored"] == report["counts"]["drawn"] == 8
