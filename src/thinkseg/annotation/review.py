"""A set as a page to look at: verdicts in, one HTML file out that needs nothing beside it.

The page shows samples and rejected answers: the frames as a policy sees them, keyframe and true boxes, the thinking,
and what is against those that were rejected.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from thinkseg.annotation.verdicts import Verification, reasons
from thinkseg.annotation.verify import REASONS
from thinkseg.data.cot import sample_from_json
from thinkseg.report.page import webpage
from thinkseg.storage.atomic import replacing, writing

REVIEW = "review.html"

SHOWN = 40
"""Samples on a page, and as many rejected answers, spread over the set."""

JPEG_QUALITY = 80


def write_review(verdicts: Sequence[Verification], out: Path, title: str) -> Path:
    """Writes `out`/review.html and returns its path. Raises VideoError if frames of the set cannot be read."""
    kept = [one for one in verdicts if one.sample]
    rejected = [one for one in verdicts if not one.sample]
    contents = [
        f"<header><h1>{escape(title)}</h1>",
        f'<p class="facts">kept <b>{len(kept)}</b> · rejected <b>{len(rejected)}</b></p></header>',
        _counts(verdicts),
        *(_article(one, out) for one in _some(kept)),
        *(_article(one, out) for one in _some(rejected)),
    ]
    path = out / REVIEW
    with writing(out), replacing(path) as partial:
        partial.write_text(webpage(title, contents), "utf-8")
    return path


def _some(verdicts: Sequence[Verification]) -> list[Verification]:
    """Evenly spread ones, so that the choice is nobody's."""
    step = max(1, -(-len(verdicts) // SHOWN))
    return list(verdicts[::step])


def _counts(verdicts: Sequence[Verification]) -> str:
    cells = (
        f'<div title="{escape(REASONS[reason])}"><dt>{escape(reason)}</dt><dd>{count}</dd></div>'
        for reason, count in reasons(verdicts).items()
    )
    return f'<dl class="totals">{"".join(cells)}</dl>'


def _article(one: Verification, out: Path) -> str:
    row = one.row
    verdict = "kept" if one.sample else f"rejected: {', '.join(one.reasons)}"
    text = one.sample.thinking if one.sample else row.get("reply", "")
    picture = "" if "unusable" in row else f'<div class="strips">{_strip(one, out)}</div>'
    return "\n".join(
        [
            f'<article><header><span class="chip">{escape(one.candidate.stratum)}</span>',
            f"<h2>“{escape(row['query'])}”</h2>",
            f'<p class="verdict {"good" if one.sample else "bad"}">{escape(verdict)}</p>',
            f'<span class="chip">{escape(one.candidate.id)}</span></header>',
            f'{picture}<div style="padding: 16px"><blockquote>{escape(text)}</blockquote></div></article>',
        ]
    )


def _strip(one: Verification, out: Path) -> str:
    """The frames with the true boxes on the keyframe."""
    from PIL import Image

    from thinkseg.ops import draw
    from thinkseg.ops.video import FrameFolder

    draft = sample_from_json({**one.row, "thinking": ""}, one.candidate.id)
    folder = FrameFolder([out / name for name in draft.frames])
    scale = np.array(folder.size_wh * 2) / np.array(draft.size_wh * 2)
    picture = draw.film_strip(
        list(folder.read(range(len(folder)))),
        [f"{label} s" if draft.clock == "seconds" else f"frame {label}" for label in draft.labels],
        highlight=None if draft.keyframe is None else draft.indices.index(draft.keyframe),
        boxes=draft.boxes * scale,
        width=1200,
    )
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
    data = base64.b64encode(file.getvalue()).decode()
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="frames with the true boxes on the keyframe"></figure>'
    )
