"""Renders the chat template of a model in a process of its own, with limits.

A template is a program in jinja. The sandbox of `transformers` keeps it from files and from Python, but not from
endless loops and texts that fill the memory. `check_template` is called in the process that loads a model; this module,
run as a script, is the other process.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from thinkseg.errors import ModelError

CPU_SECONDS = 2
WALL_SECONDS = 120.0
"""For the import of `transformers` on a busy machine, and for a process that waits."""
MEMORY_BYTES = 4 << 30
MAX_CHARACTERS = 200_000
"""The template of Qwen3-VL has 5,000, and renders fewer."""

DIALOGUE = [
    {
        "role": "user",
        "content": [
            *({"type": "text", "text": "0.0 s:"}, {"type": "image"}) * 16,
            {"type": "text", "text": "Where is it?"},
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "<think>There.</think>"}]},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "And here?"}]},
]
FAILED = 3


def check_template(name: str | Path, template: str) -> None:
    """Raises ModelError unless a template renders one turn and two turns within the limits of this module.

    A template that raises an error passes: it raises the same error where it is used.
    """
    complaint = f"{name}: its chat template takes too much time or memory; give a model with another template"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if len(template) > MAX_CHARACTERS:
        raise ModelError(complaint)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            input=template.encode(errors="replace"),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=WALL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(complaint) from None
    if done.returncode == FAILED or done.returncode < 0:
        raise ModelError(complaint)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace"))


def _render(template: str) -> int:
    """The exit status of the other process."""
    from transformers.utils.chat_template_utils import render_jinja_template

    # From here on: importing takes seconds and gigabytes of addresses.
    seconds = int(time.process_time()) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        dialogues: Any = [DIALOGUE[:1], DIALOGUE]
        rendered: Any = render_jinja_template(dialogues, chat_template=template, add_generation_prompt=True)
    except MemoryError:
        return FAILED
    except Exception:
        return 0
    return FAILED if max(map(len, rendered[0])) > MAX_CHARACTERS else 0


if __name__ == "__main__":
    sys.exit(_render(sys.stdin.buffer.read().decode()))
