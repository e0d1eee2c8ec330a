"""A page of GRPO rollouts: one self-contained HTML file per step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.chains.parsing import REASONS
from thinkseg.report.film_strips import frame_labels
from thinkseg.report.page import PageImage, jpeg_url, write_html
from thinkseg.rewards import REWARDS, Prompt
from thinkseg.rewards.groups import Group
from thinkseg.types import Answer

MAX_GROUPS = 6
"""Groups per page. The first ones of a step are shown, so that the choice does not depend on rewards."""

STRIP_WIDTH = 1200


def write_rollouts(groups: Sequence[Group], step: int, folder: Path) -> Path:
    """Writes `folder`/step-NNNNNN.html and returns its path. Rollouts are sorted by reward, highest first."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:06d}.html"
    articles = [_article(group) for group in groups[:MAX_GROUPS]]
    write_html(path, "rollouts.html.j2", title=f"Rollouts of step {step}", groups=articles)
    return path


def _article(group: Group) -> dict[str, Any]:
    """Returns the variables of one group of the template."""
    prompt, totals = group.prompt, [score.total for score in group.scores]
    frames = list(prompt.sample.video.read(prompt.frame_indices))
    return {
        "category": prompt.sample.category,
        "query": prompt.sample.query,
        "rewards": f"rewards {min(totals):.2f} to {max(totals):.2f}",
        "image": _truth_image(prompt, frames),
        "rollouts": [_rollout(group, number, frames) for number in _distinct(group)],
    }


def _distinct(group: Group) -> Iterator[int]:
    """Yields the indices of rollouts with distinct replies, highest reward first."""
    shown: set[tuple[str, ...]] = set()
    for number in np.argsort([-score.total for score in group.scores], kind="stable"):
        replies = group.outcomes[number].replies
        if replies not in shown:
            shown.add(replies)
            yield int(number)


def _rollout(group: Group, number: int, frames: Sequence[np.ndarray]) -> dict[str, Any]:
    """Returns the variables of one rollout of the template."""
    outcome, score, advantage = group.outcomes[number], group.scores[number], group.advantages[number]
    copies = sum(other.replies == outcome.replies for other in group.outcomes)
    facts = [", ".join(_term(name, value) for name, value in score.terms.items())]
    if copies > 1:
        facts.append(f"{copies} times")
    if outcome.failure:
        facts.append(f"invalid: {REASONS[outcome.failure]}")
    return {
        "score": f"reward {score.total:.2f}, advantage {advantage:+.2f}",
        "good": bool(advantage > 0) if advantage else None,
        "facts": facts,
        "image": _answer_image(group.prompt, frames, outcome.answer) if outcome.answer else None,
        "replies": "\n\n".join(outcome.replies),
    }


def _term(name: str, value: float | None) -> str:
    """Returns one reward as text, with its symbol in the paper, such as "boxes (R_s) 0.75"."""
    return f"{name} ({REWARDS[name].symbol}) {'–' if value is None else f'{value:.2f}'}"


def _truth_image(prompt: Prompt, frames: Sequence[np.ndarray]) -> PageImage:
    """Draws the prompt's frames above the ground-truth masks."""
    truth = prompt.sample.truth
    masks = None if truth is None else [truth.masks(index) for index in prompt.frame_indices]
    return PageImage(_strip(prompt, frames, masks=masks), "Frames and ground-truth masks", "ground truth")


def _answer_image(prompt: Prompt, frames: Sequence[np.ndarray], answer: Answer) -> PageImage:
    """Draws the prompt's frames with the answer's boxes on its keyframe."""
    highlight = None if answer.keyframe is None else prompt.frame_indices.index(answer.keyframe)
    strip = _strip(prompt, frames, highlight=highlight, boxes=answer.boxes)
    return PageImage(strip, "Frames with the boxes of the answer on its keyframe", "answer")


def _strip(prompt: Prompt, frames: Sequence[np.ndarray], **marks: Any) -> str:
    """Returns a film strip as a data URL. marks: arguments of `thinkseg.ops.draw.film_strip`."""
    from thinkseg.ops import draw

    labels = frame_labels(prompt.sample.video, prompt.frame_indices)
    return jpeg_url(draw.film_strip(frames, labels, width=STRIP_WIDTH, **marks))
