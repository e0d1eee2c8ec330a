"""Evaluations on the disk, made without a model."""

import json

import numpy as np

from thinkseg.data.benchmarks.fingerprint import DataFingerprint
from thinkseg.evaluation.predictions import rle_path, write_masklets
from thinkseg.evaluation.sample_metrics import sample_row
from thinkseg.evaluation.scores import aggregate
from thinkseg.ops.masks import empty
from thinkseg.types import Answer, Outcome, Segmentation, View

VIEW = View(num_frames=4, frame_wh=(112, 112))

SETTINGS = {
    "data": "shapes",
    "split": "val",
    "category_weights": {},
    "chain": "veason",
    "policy": "<p>",
    "tracker": "t",
}

THINKING = "I & you <b>see</b> </script><script>alert(1)</script> it."


def write_evaluation(folder, benchmark, expressions, right=True, **settings):
    """Writes the folder of an evaluation. right: whether the answers are the truth, or replies that cannot be read."""
    folder.mkdir()
    data, rows = DataFingerprint(benchmark), []
    for expression in expressions:
        result = _result(benchmark.sample(expression), right)
        row = sample_row(result, VIEW, benchmark, expression)
        rows.append({**row, "fingerprint": data.of(expression)})
        if result.answer:
            write_masklets(result.masklets, rle_path(folder, expression))
    (folder / "settings.json").write_text(json.dumps({**SETTINGS, "view": {"num_frames": 4}, **settings}))
    write_rows(folder, rows)
    (folder / "scores.json").write_text(json.dumps(aggregate(benchmark, rows)))
    return folder


def write_rows(folder, rows):
    """Writes results.jsonl."""
    (folder / "results.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def read_rows(folder):
    """Reads results.jsonl."""
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def _result(sample, right):
    """The right answer to a question, or a reply that cannot be read."""
    reply = f"<think>{THINKING}</think><answer>...</answer>"
    if not right:
        return Segmentation(
            sample, Outcome(None, "invalid_json", (reply,)), empty(sample.video.size_wh, len(sample.video))
        )
    frames = [frame for frame in range(len(sample.video)) if len(sample.truth.boxes(frame))]
    keyframe = frames[-1] if frames else None
    boxes = sample.truth.boxes(keyframe) if frames else np.zeros((0, 4), np.float32)
    answer = Answer(THINKING, keyframe, boxes)
    return Segmentation(sample, Outcome(answer, None, (reply,), keyframe, seconds={"policy": 0.5}), sample.truth)
