"""A page of an annotated set: one self-contained HTML file with samples and rejected answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.annotation.answers import Verification, count_reasons
from thinkseg.annotation.prompts import frame_phrase
from thinkseg.annotation.verify import REASONS
from thinkseg.data.cot import sample_from_json
from thinkseg.report.page import PageImage, jpeg_url, write_html
from thinkseg.storage.outputs import writing

REVIEW = "review.html"

MAX_SHOWN = 40
"""Samples per page, and as many rejected answers, evenly spaced over the set."""


def write_review(verifications: Sequence[Verification], out: Path, title: str) -> Path:
    """Writes `out`/review.html and returns its path.

    Raises VideoError if frames of the set cannot be read, SettingsError if `out` is not writable.
    """
    kept = [one for one in verifications if one.sample]
    rejected = [one for one in verifications if not one.sample]
    items = [_article(one, out) for one in (*_evenly_spaced(kept), *_evenly_spaced(rejected))]
    facts = {"kept": len(kept), "rejected": len(rejected)}
    path = out / REVIEW
    with writing(out):
        write_html(
            path,
            "review.html.j2",
            title=title,
            facts=facts,
            reasons=count_reasons(verifications),
            hints=REASONS,
            items=items,
        )
    return path


def _evenly_spaced(verifications: Sequence[Verification]) -> Sequence[Verification]:
    step = max(1, -(-len(verifications) // MAX_SHOWN))
    return verifications[::step]


def _article(one: Verification, out: Path) -> dict[str, Any]:
    """Returns the variables of one article of the template."""
    return {
        "id": one.candidate.id,
        "category": one.candidate.stratum,
        "query": one.row["query"],
        "verdict": "kept" if one.sample else f"rejected: {', '.join(one.reasons)}",
        "good": one.sample is not None,
        "image": None if "skipped" in one.row else _image(one, out),
        "text": one.sample.thinking if one.sample else one.row.get("reply", ""),
    }


def _image(one: Verification, out: Path) -> PageImage:
    """Draws the frames of a sample with the ground-truth boxes on its keyframe."""
    from thinkseg.ops import draw
    from thinkseg.ops.video import FrameFolder

    draft = sample_from_json({**one.row, "thinking": ""}, one.candidate.id)
    folder = FrameFolder([out / name for name in draft.frames])
    scale = np.array(folder.size_wh * 2) / np.array(draft.size_wh * 2)
    strip = draw.film_strip(
        list(folder.read(range(len(folder)))),
        [frame_phrase(label, draft.label_unit) for label in draft.labels],
        highlight=None if draft.keyframe is None else draft.indices.index(draft.keyframe),
        boxes=draft.boxes * scale,
        width=1200,
    )
    return PageImage(jpeg_url(strip), "Frames with the ground-truth boxes on the keyframe")
