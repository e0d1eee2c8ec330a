"""Imported by the process from which runs are forked: it runs a command once, so that all is imported and compiled."""

from __future__ import annotations

import os
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from footage import clip
from programs import commands

with tempfile.TemporaryDirectory() as name, open(os.devnull, "w") as nowhere:
    words = ["segment", str(clip(Path(name), count=2)), "--query", "it", "--policy", commands.POLICY]
    with redirect_stdout(nowhere), redirect_stderr(nowhere):
        commands.run([*words, "--tracker", "flow", "--save", "masks,csv", "--out", f"{name}/out"])
