"""EasyR1's rows: questions whose truth is known in; rows, a reward module and a script out.

train.jsonl           {"problem": "...<image>...", "images": ["...png", ...], "answer": the truth as JSON}
thinkseg_rewards.py   `compute_scores`
run.sh                trains with both
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

from thinkseg.export.common import copy_kit, prompt_tokens, response_tokens, text_of, truth_of, write_script
from thinkseg.export.job import Job, write_lines
from thinkseg.export.questions import Question

ROWS = "train.jsonl"

SCRIPT = """\
#!/usr/bin/env bash
# GRPO with EasyR1, from a checkout of it on a machine with GPUs:
#
#   cd EasyR1 && MODEL=path/to/model path/to/this/run.sh trainer.n_gpus_per_node=4 ...
#
# Whatever is given after the script's name comes after its own settings, and so replaces them.
set -euo pipefail
here=$(CDPATH= cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")" && pwd)
model={model}

# format_prompt would add an instruction of another task, and pictures outside min_pixels..max_pixels would be resized.
python3 -m verl.trainer.main \\
    config=examples/config.yaml \\
    data.train_files="$here/{rows}" \\
    data.val_files="${{VAL:-$here/{rows}}}" \\
    data.image_dir="$here" \\
    data.prompt_key=problem \\
    data.answer_key=answer \\
    data.image_key=images \\
    data.format_prompt=null \\
    data.min_pixels={pixels} \\
    data.max_pixels={pixels} \\
    data.max_prompt_length={prompt_tokens} \\
    data.max_response_length={response_tokens} \\
    worker.reward.reward_function="$here/thinkseg_rewards.py:compute_scores" \\
    worker.actor.model.model_path="${{MODEL:-$model}}" \\
    worker.rollout.limit_images={images} \\
    trainer.experiment_name={name} \\
    "$@"
"""


def write(questions: Iterable[Question], job: Job) -> None:
    """Writes the rows and what goes with them."""
    copy_kit(job.folder, "thinkseg_rewards.py")
    write_script(_script(job), job.folder / "run.sh")
    write_lines(map(_row, questions), job.folder / ROWS)


def _row(question: Question) -> dict[str, Any]:
    return {
        "problem": text_of(question.turns[0]),
        "images": list(question.pictures[0]),
        "answer": truth_of(question),
    }


def _script(job: Job) -> str:
    width, height = job.asking.view.frame_wh
    return SCRIPT.format(
        rows=ROWS,
        pixels=width * height,
        prompt_tokens=prompt_tokens(job.asking, job.size_multiple),
        response_tokens=response_tokens(job.asking, job.size_multiple),
        images=job.asking.view.num_frames,
        model=shlex.quote(job.model),
        name=shlex.quote(job.name),
    )
