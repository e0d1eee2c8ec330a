"""LLaMA-Factory's ShareGPT rows: questions with their true replies in; rows, an entry and a configuration out.

    train.jsonl         {"messages": [{"role": "user", "content": "...<image>..."}, ...], "images": ["...png", ...]}
    dataset_info.json   the entry that tells LLaMA-Factory how to read it
    sft.yaml            for `llamafactory-cli train`

The entry may instead be added to a dataset_info.json that is there already (`add_entry`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from thinkseg.errors import SettingsError
from thinkseg.export.common import messages_of, prompt_tokens, response_tokens
from thinkseg.export.job import Job, write_lines
from thinkseg.export.questions import Question
from thinkseg.storage.atomic import replace_json, writing

INFO, ROWS, CONFIG = "dataset_info.json", "train.jsonl", "sft.yaml"

ROLES = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}

TEMPLATES = {"pixels": "qwen2_vl", "normalized_1000": "qwen3_vl_nothink"}
"""LLaMA-Factory's name for the chat template of Qwen2.5-VL and Qwen3-VL, told apart by how they write boxes."""

SETTINGS = """\
# llamafactory-cli train {config}        from the folder this file is in
model_name_or_path: {model}
trust_remote_code: false
image_max_pixels: {pixels}   # what is larger would be shrunk, and boxes would no longer be where they are said to be
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
freeze_vision_tower: true
dataset_dir: {info}
dataset: {name}
template: {template}
cutoff_len: {tokens}   # frames and words of a whole dialogue; what is longer would be cut
output_dir: {output}
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-5
num_train_epochs: 2.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
logging_steps: 10
save_steps: 500
"""


def write(questions: Iterable[Question], job: Job) -> None:
    """Writes the rows and a configuration, and beside them an entry, unless it is to be added elsewhere."""
    prefix = "" if job.info is None else prefix_of(job.info, job.out)
    write_lines((_row(question, prefix) for question in questions), job.folder / ROWS)
    if job.info is None:
        (job.folder / INFO).write_text(json.dumps({job.name: entry(ROWS)}, indent=2) + "\n", "utf-8")
    (job.folder / CONFIG).write_text(_settings(job), "utf-8")


def entry(file_name: str) -> dict[str, Any]:
    """What dataset_info.json tells of rows in a file."""
    return {
        "file_name": file_name,
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": ROLES,
    }


def prefix_of(info: Path, out: Path) -> str:
    """What leads from the folder of a dataset_info.json to the one of an export."""
    return f"{_way(info.parent, out)}/"


def check_entry(info: Path, name: str, out: Path) -> dict[str, Any]:
    """What a dataset_info.json will hold with the entry of an export; the file is left as it is.

    Raises SettingsError if it is none, or has an entry of that name which leads elsewhere.
    """
    added = entry(f"{prefix_of(info, out)}{ROWS}")
    try:
        entries = json.loads(info.read_text("utf-8")) if info.exists() else {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{info} is not a dataset_info.json that can be read: {error}") from None
    if not isinstance(entries, dict):
        raise SettingsError(f"{info} is not a dataset_info.json: it holds no object of data sets by name")
    if name in entries and entries[name] != added:
        raise SettingsError(f"{info} has another data set called {name!r}: choose a --name")
    return {**entries, name: added}


def add_entry(info: Path, name: str, out: Path) -> None:
    """Adds the entry of an export to a dataset_info.json, made if need be; all others stay. See `check_entry`."""
    with writing(info.parent):
        replace_json(check_entry(info, name, out), info)


def _row(question: Question, prefix: str) -> dict[str, Any]:
    images = [f"{prefix}{name}" for turn in question.pictures for name in turn]
    return {"messages": messages_of(question.dialogue), "images": images}


def _settings(job: Job) -> str:
    asking = job.asking
    views = [asking.first_view, asking.view.closeup] if asking.chain == "revseg" else [asking.view]
    return SETTINGS.format(
        config=CONFIG,
        model=_quoted(job.model),
        name=_quoted(job.name),
        output=_quoted(f"saves/{job.name}"),
        info=_quoted("." if job.info is None else _way(job.out, job.info.parent)),
        pixels=max(view.frame_wh[0] * view.frame_wh[1] for view in views),
        template=TEMPLATES[asking.view.coordinates],
        tokens=prompt_tokens(asking, job.size_multiple) + response_tokens(asking, job.size_multiple),
    )


def _quoted(value: str) -> str:
    """A YAML scalar that reads back as this text, also where it looks like a number."""
    return json.dumps(value, ensure_ascii=False)


def _way(start: Path, end: Path) -> str:
    """The path that leads from one folder to another, with slashes."""
    return Path(os.path.relpath(end.resolve(), start.resolve())).as_posix()
