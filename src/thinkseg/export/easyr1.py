"""The format of EasyR1:

train.jsonl           {"problem": "...<image>...", "images": ["...png", ...], "answer": the ground truth as JSON}
thinkseg_rewards.py   `compute_scores`
thinkseg_client.py    its connection to a reward server
run.sh                GRPO with both
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

from thinkseg.export.common import (
    copy_kit,
    prompt_tokens,
    response_tokens,
    truth_json,
    write_lines,
    write_script,
)
from thinkseg.export.job import ExportJob
from thinkseg.export.samples import ExportSample, turn_text

ROWS = "train.jsonl"

SCRIPT = """\
#!/usr/bin/env bash
# GRPO with EasyR1, from a checkout of it on a machine with GPUs:
#
#   cd EasyR1 && MODEL=path/to/model path/to/this/run.sh trainer.n_gpus_per_node=4 ...
#
# Arguments override the settings below.
set -euo pipefail
here=$(CDPATH= cd -- "$(dirname -- "${{BASH_SOURCE[0]}}")" && pwd)
model={model}
# A reward server that cannot score is reported before anything is loaded.
if [ -n "${{THINKSEG_REWARD_URL:-}}" ]; then python3 "$here/thinkseg_client.py" {dataset}; fi

# No format_prompt: its instruction is for another task. Images outside min_pixels..max_pixels would be resized.
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


def write(samples: Iterable[ExportSample], job: ExportJob) -> None:
    """Writes all files of the format."""
    copy_kit(job.folder, "thinkseg_rewards.py", "thinkseg_client.py")
    write_script(_script(job), job.folder / "run.sh")
    write_lines(map(_row, samples), job.folder / ROWS)


def _row(sample: ExportSample) -> dict[str, Any]:
    return {
        "problem": turn_text(sample.turns[0]),
        "images": list(sample.images[0]),
        "answer": truth_json(sample),
    }


def _script(job: ExportJob) -> str:
    width, height = job.settings.view.frame_wh
    return SCRIPT.format(
        rows=ROWS,
        pixels=width * height,
        prompt_tokens=prompt_tokens(job.settings, job.size_multiple),
        response_tokens=response_tokens(job.settings, job.size_multiple),
        images=job.settings.view.num_frames,
        dataset=shlex.quote(job.source),
        model=shlex.quote(job.model),
        name=shlex.quote(job.name),
    )
