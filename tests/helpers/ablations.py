"""Small files of ablations, with recipes of one step for models of a few layers."""

from pathlib import Path
from typing import Any

import yaml

BUNDLED = sorted((Path(__file__).parents[2] / "recipes" / "ablations").glob("*.yaml"))
"""The files that ship."""

GRPO: dict[str, Any] = {
    "model": {"name": "nobody"},
    "data": [{"name": "shapes"}],
    "rewards": {"format": 1, "keyframe": 1},
    "steps": 1,
    "num_frames": 2,
    "frame_wh": [56, 56],
    "prompts_per_step": 1,
    "num_generations": 2,
    "max_new_tokens": 4,
    "log_rollouts_steps": 0,
    "precision": "fp32",
}
SFT: dict[str, Any] = {
    "model": {"create": {"vision": {}, "text": {}}},
    "num_frames": 2,
    "frame_wh": [56, 56],
    "precision": "fp32",
    "stages": [
        {
            "name": "a",
            "objective": "causal_lm",
            "steps": 1,
            "batch_size": 1,
            "learning_rate": 0.001,
            "data": {"answers": 1},
        }
    ],
}


def bundled(name: str) -> Path:
    """A file that ships."""
    return next(path for path in BUNDLED if path.stem == name)


def written(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> Path:
    """Writes a table on two samples of shapes, and the recipes sft.yaml and grpo.yaml beside it."""
    (folder / "grpo.yaml").write_text(yaml.safe_dump(GRPO))
    (folder / "sft.yaml").write_text(yaml.safe_dump(SFT))
    table = {"title": "T", "columns": ["x"], "data": {"name": "shapes", "limit": 2}, "max_new_tokens": 4, "rows": rows}
    path = folder / "ablation.yaml"
    path.write_text(yaml.safe_dump({**table, **settings}))
    return path


def three_rows(start: str) -> list[dict[str, Any]]:
    """A policy as it is, after SFT, and after SFT and GRPO."""
    tuned = {"method": "sft", "recipe": "sft.yaml", "overrides": {"model": {"create": None}}}
    weighed = {"method": "grpo", "recipe": "grpo.yaml", "overrides": {"rewards": {"keyframe": 0}}}
    return [
        {"name": "before", "title": "before", "init_policy": start},
        {"name": "tuned", "title": "tuned", "init_policy": start, "runs": [tuned], "paper": [38.3]},
        {"name": "both", "title": "tuned + GRPO", "init_policy": start, "runs": [tuned, weighed], "paper": [61]},
    ]


def one_run(**settings: Any) -> dict[str, Any]:
    """The rows of an ablation of one row with one run."""
    return {"rows": [{"name": "a", "title": "a", "runs": [settings]}]}
