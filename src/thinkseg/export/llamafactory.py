"""The ShareGPT format of LLaMA-Factory:

    train.jsonl         {"messages": [{"role": "user", "content": "...<image>..."}, ...], "images": ["...png", ...]}
    dataset_info.json   the entry of the data set
    sft.yaml            a configuration for `llamafactory-cli train`

`add_entry` adds the entry to another dataset_info.json instead.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from thinkseg.errors import SettingsError
from thinkseg.export.common import messages_of, prompt_tokens, response_tokens, write_lines
from thinkseg.export.job import ExportJob
from thinkseg.export.samples import ExportSample
from thinkseg.storage.atomic import replacing, write_json
from thinkseg.storage.outputs import writing

INFO, ROWS, CONFIG = "dataset_info.json", "train.jsonl", "sft.yaml"

ROLES = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}

TEMPLATES = {"pixels": "qwen2_vl", "normalized_1000": "qwen3_vl_nothink"}
"""LLaMA-Factory's chat templates of Qwen2.5-VL and Qwen3-VL, by the coordinates of these families."""

THINKING_TEMPLATE = "qwen3_vl"
"""Its chat template of Qwen3-VL models whose own template opens the thinking."""

SETTINGS = """\
# Rank, learning rate, schedule, accumulation and epoch are those of Veason-R1 (arXiv 2508.11538).
# llamafactory-cli train {config}        from the folder this file is in
model_name_or_path: {model}
trust_remote_code: false
image_max_pixels: {pixels}   # larger images would be resized, which would move the boxes
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_alpha: 16
lora_target: all
freeze_vision_tower: true
dataset_dir: {info}
dataset: {name}
template: {template}
cutoff_len: {tokens}   # frames and text of a complete dialogue; longer ones would be truncated
output_dir: {output}
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 1.0
lr_scheduler_type: cosine
warmup_ratio: 0.05
weight_decay: 0.01
bf16: true
logging_steps: 10
save_steps: 500
"""


def write(samples: Iterable[ExportSample], job: ExportJob) -> None:
    """Writes all files of the format; no dataset_info.json if the job names one."""
    prefix = "" if job.info is None else prefix_of(job.info, job.out)
    write_lines((_row(sample, prefix) for sample in samples), job.folder / ROWS)
    if job.info is None:
        (job.folder / INFO).write_text(json.dumps({job.name: entry(ROWS)}, indent=2) + "\n", "utf-8")
    (job.folder / CONFIG).write_text(_settings(job), "utf-8")


def entry(file_name: str) -> dict[str, Any]:
    """Returns the entry of dataset_info.json for a file of rows."""
    return {
        "file_name": file_name,
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": ROLES,
    }


def prefix_of(info: Path, out: Path) -> str:
    """Returns the relative path from the folder of a dataset_info.json to an export, with a slash at the end."""
    return f"{_relative(info.parent, out)}/"


def check_entry(info: Path, name: str, out: Path) -> dict[str, Any]:
    """Returns the content of a dataset_info.json with the entry of an export; does not write it.

    Raises SettingsError if the file is invalid or has a different entry of that name.
    """
    added = entry(f"{prefix_of(info, out)}{ROWS}")
    try:
        entries = json.loads(info.read_text("utf-8")) if info.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{info}: not a valid dataset_info.json: {error}") from None
    if not isinstance(entries, dict):
        raise SettingsError(f"{info}: not a valid dataset_info.json: must be an object of data sets by name")
    if name in entries and entries[name] != added:
        raise SettingsError(f"{info}: has another data set {name!r}; choose another --name")
    return {**entries, name: added}


def add_entry(info: Path, name: str, out: Path) -> None:
    """Adds the entry of an export to a dataset_info.json, which is created if missing. See `check_entry`."""
    # The file is read under the lock, so that no entry of a concurrent export is lost.
    with writing(info), replacing(info) as partial:
        write_json(check_entry(info, name, out), partial)


def _row(sample: ExportSample, prefix: str) -> dict[str, Any]:
    images = [f"{prefix}{name}" for turn in sample.images for name in turn]
    return {"messages": messages_of(sample.dialogue), "images": images}


def _settings(job: ExportJob) -> str:
    settings = job.settings
    template = TEMPLATES[settings.view.coordinates]
    if settings.opening and settings.view.coordinates == "normalized_1000":
        template = THINKING_TEMPLATE
    views = [settings.first_view, settings.view.closeup] if settings.chain == "revseg" else [settings.view]
    return SETTINGS.format(
        config=CONFIG,
        model=_quoted(job.model),
        name=_quoted(job.name),
        output=_quoted(f"saves/{job.name}"),
        info=_quoted("." if job.info is None else _relative(job.out, job.info.parent)),
        pixels=max(view.frame_wh[0] * view.frame_wh[1] for view in views),
        template=template,
        tokens=prompt_tokens(settings, job.size_multiple) + response_tokens(settings, job.size_multiple),
    )


def _quoted(value: str) -> str:
    """Returns a YAML string, also for text that looks like a number."""
    return json.dumps(value, ensure_ascii=False)


def _relative(start: Path, end: Path) -> str:
    """Returns the relative path from one folder to another, with slashes."""
    return Path(os.path.relpath(end.resolve(), start.resolve())).as_posix()
