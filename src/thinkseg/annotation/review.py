"""A page of an annotated set: one self-contained HTML file with samples and rejected answers.

In: the folder of a set, as `annotation.build` leaves it. Out: a page beside it, or anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.annotation.answers import REJECTED
from thinkseg.annotation.prompts import frame_phrase
from thinkseg.annotation.verify import REASONS
from thinkseg.data.cot import CotSample, read_cot_set, sample_from_json
from thinkseg.data.readers.json_tree import JsonNode, read_lines
from thinkseg.report.page import PageImage, jpeg_url, write_html
from thinkseg.selection.strata import NO_TARGET_STRATUM
from thinkseg.storage.outputs import writing

REVIEW = "review.html"

MAX_SHOWN = 40
"""Samples per page, and as many rejected answers, evenly spaced over the set."""


@dataclass(frozen=True, slots=True, eq=False)
class ReviewItem:
    """A question of a set. reasons: against its answer, () if it is kept. draft: None if it was not prompted."""

    id: str
    category: str
    query: str
    text: str
    reasons: Sequence[str]
    draft: CotSample | None


def write_review(root: Path, path: Path, title: str | None = None) -> Path:
    """Writes a page about the set in the folder `root`, and returns its path. title: (default: names the annotator).

    Raises DatasetError if the set is damaged, VideoError if its frames cannot be read, SettingsError if the page cannot
    be written.
    """
    cot_set = read_cot_set(root)
    kept = [_kept(sample) for sample in cot_set.samples]
    rejected = [_rejected(row) for _, row in read_lines(root / REJECTED)] if (root / REJECTED).exists() else []
    counts = Counter(reason for one in rejected for reason in one.reasons)
    values = {
        "title": title or f"Reasoning of {root.resolve().name}, by {cot_set.settings.get('annotator', 'an annotator')}",
        "facts": {"kept": len(kept), "rejected": len(rejected)},
        "reasons": {reason: counts[reason] for reason in REASONS if counts[reason]},
        "hints": REASONS,
        "items": [_article(one, root) for one in (*_evenly_spaced(kept), *_evenly_spaced(rejected))],
    }
    with writing(path.parent):
        write_html(path, "review.html.j2", **values)
    return path


def _kept(sample: CotSample) -> ReviewItem:
    return ReviewItem(sample.id, _stratum(sample.type, sample.targets), sample.query, sample.thinking, (), sample)


def _rejected(row: JsonNode) -> ReviewItem:
    """Returns the item of a line of rejected.jsonl. Raises DatasetError if it is damaged."""
    name, category = row["id"].text(), _stratum(row["type"].string(), row["targets"].string())
    reasons = [reason.string() for reason in row["reasons"].items()]
    skipped = "skipped" in row
    draft = None if skipped else sample_from_json({**row.value, "thinking": ""}, name)
    return ReviewItem(name, category, row["query"].string(), "" if skipped else row["reply"].string(), reasons, draft)


def _stratum(type: str, targets: str) -> str:
    return NO_TARGET_STRATUM if targets == "none" else f"{type}, {targets}"


def _evenly_spaced(items: Sequence[ReviewItem]) -> Sequence[ReviewItem]:
    step = max(1, -(-len(items) // MAX_SHOWN))
    return items[::step]


def _article(one: ReviewItem, root: Path) -> dict[str, Any]:
    """Returns the variables of one article of the template."""
    return {
        "id": one.id,
        "category": one.category,
        "query": one.query,
        "verdict": f"rejected: {', '.join(one.reasons)}" if one.reasons else "kept",
        "good": not one.reasons,
        "image": _image(one.draft, root) if one.draft else None,
        "text": one.text,
    }


def _image(draft: CotSample, root: Path) -> PageImage:
    """Draws the frames of a sample with the ground-truth boxes on its keyframe."""
    from thinkseg.ops import draw
    from thinkseg.ops.video import FrameFolder

    folder = FrameFolder([root / name for name in draft.frames])
    scale = np.array(folder.size_wh * 2) / np.array(draft.size_wh * 2)
    strip = draw.film_strip(
        list(folder.read(range(len(folder)))),
        [frame_phrase(label, draft.label_unit) for label in draft.labels],
        highlight=None if draft.keyframe is None else draft.indices.index(draft.keyframe),
        boxes=draft.boxes * scale,
        width=1200,
    )
    return PageImage(jpeg_url(strip), "Frames with the ground-truth boxes on the keyframe")
