"""Rollouts as a page to look at: groups in, one HTML file out that needs nothing beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from thinkseg.report.page import webpage
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import Group, RolloutScore
from thinkseg.storage.atomic import replacing
from thinkseg.types import Outcome

GROUPS = 6
"""Groups on one page: the first ones of a step, so that the choice is nobody's."""

JPEG_QUALITY = 80


def write_rollouts(groups: Sequence[Group], step: int, folder: Path) -> Path:
    """Writes `folder`/step-NNNNNN.html and returns its path. Attempts are sorted by what they are worth."""
    title = f"Rollouts of step {step}"
    contents = [f"<header><h1>{title}</h1></header>", *(_article(group) for group in groups[:GROUPS])]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:06d}.html"
    with replacing(path) as partial:
        partial.write_text(webpage(title, contents), "utf-8")
    return path


def _article(group: Group) -> str:
    sample = group.prompt.sample
    frames = list(sample.video.read(group.prompt.shown))
    order = np.argsort([-score.total for score in group.scores], kind="stable")
    lines = [
        f'<article><header><span class="chip">{escape(sample.category)}</span>',
        f'<h2>“{escape(sample.query)}”</h2><p class="verdict">{_spread(group)}</p></header>',
        f'<div class="strips">{_strip(group.prompt, frames, None)}</div>',
    ]
    shown: set[tuple[str, ...]] = set()
    for number in order:
        outcome = group.outcomes[number]
        if outcome.replies in shown:
            continue
        shown.add(outcome.replies)
        copies = sum(other.replies == outcome.replies for other in group.outcomes)
        lines += _attempt(group.prompt, frames, outcome, group.scores[number], group.advantages[number], copies)
    return "\n".join([*lines, "</article>"])


def _attempt(
    prompt: Prompt,
    frames: Sequence[np.ndarray],
    outcome: Outcome,
    score: RolloutScore,
    advantage: float,
    copies: int,
) -> list[str]:
    terms = ", ".join(f"{name} {'–' if term is None else f'{term:.2f}'}" for name, term in score.terms.items())
    often = f" · {copies} times" if copies > 1 else ""
    failure = f" · unusable: {escape(outcome.failure)}" if outcome.failure else ""
    kind = "good" if advantage > 0 else "bad"
    drawn = "" if outcome.answer is None else f'<div class="strips">{_strip(prompt, frames, outcome)}</div>'
    said = "\n\n".join(outcome.replies)
    return [
        f'<header><p class="verdict {kind}">{score.total:.2f} ({advantage:+.2f})</p><p>{terms}{often}{failure}</p>'
        "</header>",
        f'{drawn}<div style="padding: 0 16px"><pre>{escape(said)}</pre></div>',
    ]


def _spread(group: Group) -> str:
    totals = [score.total for score in group.scores]
    return f"rewards {min(totals):.2f} to {max(totals):.2f}"


def _strip(prompt: Prompt, frames: Sequence[np.ndarray], outcome: Outcome | None) -> str:
    """The frames shown, with an answer's boxes on its keyframe; without an answer, with the true masks below them."""
    from PIL import Image

    from thinkseg.ops import draw

    video, truth = prompt.sample.video, prompt.sample.truth
    times = [video.time_of(frame) for frame in prompt.shown]
    labels = [
        f"frame {frame}" if time is None else f"{time:.1f} s" for frame, time in zip(prompt.shown, times, strict=True)
    ]
    answer = outcome.answer if outcome else None
    keyframe = answer.keyframe if answer else None
    masks = None
    if outcome is None and truth is not None:
        masks = [truth.masks(frame) for frame in prompt.shown]
    picture = draw.film_strip(
        frames,
        labels,
        highlight=None if keyframe is None else prompt.shown.index(keyframe),
        boxes=answer.boxes if answer else None,
        masks=masks,
        width=1200,
    )
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
    data = base64.b64encode(file.getvalue()).decode()
    caption = "truth" if outcome is None else "answer"
    return (
        f'<figure><figcaption>{caption}</figcaption><img src="data:image/jpeg;base64,{data}" alt="{caption}"></figure>'
    )
