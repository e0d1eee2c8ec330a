"""The prompt of an annotator and the format of its reply.

A prompt shows the frames with the targets outlined and requests three steps, in one of three wordings. A sample of the
set shows the frames without outlines. A reply has this format, and only the summary may be empty:

    <summary>TEXT</summary><reason>TEXT</reason><place>TEXT</place>
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from thinkseg.annotation.tasks import Task
from thinkseg.chains.turns import frames_content
from thinkseg.ops.chat_text import escape_control_tokens, without_thinking
from thinkseg.prompts import BUILT_IN, VeasonPrompts
from thinkseg.types import LabelUnit, Turn

STEPS = ("summary", "reason", "place")

MARGIN, LINE = 2, 3
"""Pixels between a target and its outline, and of the outline: the pixels of a small target stay visible."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """opening: introduces the frames. targets, no_target: request the steps, with and without targets."""

    opening: str
    targets: str
    no_target: str


_FORMAT = "Answer in exactly this form, in plain English and without lists:\n" + "".join(
    f"<{s}>...</{s}>" for s in STEPS
)

TEMPLATES = (
    PromptTemplate(
        'You write reasoning from which others learn to find things in videos. Somebody asked: "{query}". '
        "Here are frames of the video, before each its {clock}.",
        "What is asked for, {count}, is outlined in the frames. The outlines are a hint for you alone: your readers "
        "see plain frames, so never mention them.\n"
        "summary: what happens over all frames.\n"
        "reason: what the question means, why it fits the targets and nothing else, and why {moment} is the frame to "
        'choose. Write "{moment}" when you name it.\n'
        "place: what the targets do at {moment}, and where in the frame they are. Speak of the targets and of that "
        "frame only.",
        "Nothing in the video is what is asked for.\n"
        "summary: what happens over all frames.\n"
        "reason: what the question means, and what comes nearest to it.\n"
        "place: why nothing that is to be seen fits.",
    ),
    PromptTemplate(
        "Below are frames of a video; each stands after its {clock}. "
        'Explain step by step how one comes from the question "{query}" to its answer.',
        "The answer is known: {count}, marked in these frames by an outline. Explain it as if you had found it by "
        "yourself, in frames without any outline.\n"
        "First, as summary, tell what can be seen from the beginning to the end.\n"
        "Then, as reason, say whom or what the question is about, how the video shows it, and what speaks for the "
        'frame at "{moment}", which you name in these words.\n'
        "At last, as place, describe the targets at {moment}: their looks, their doings and their part of the frame. "
        "Nothing else belongs there.",
        "The answer is known: there is no such thing in the video. Explain it as if you had found it by yourself.\n"
        "First, as summary, tell what can be seen from the beginning to the end.\n"
        "Then, as reason, say what the question is looking for, and what in the video might be taken for it.\n"
        "At last, as place, say why nothing in the frames is it.",
    ),
    PromptTemplate(
        'Think aloud about the question "{query}", which is about a video. You see some of its frames, each with its '
        "{clock} before it.",
        "You may know more than your readers: the targets ({count}) have an outline in what you see, and none in what "
        "they see. Do not let it show.\n"
        "Think in three steps. In the summary, go through the video. In the reason, find the targets by what the "
        'question says, compare them with what else is there, and settle for the frame "{moment}", by this name, '
        "because it shows them well. In the place, look at {moment} alone: say of each target what it is doing and on "
        "which side of the frame it is, and stay with the targets.",
        "You know the outcome: no object in it is meant.\n"
        "Think in three steps. In the summary, go through the video. In the reason, make out what the question wants "
        "and what is similar to it. In the place, conclude why nothing in any frame matches.",
    ),
)


def frame_phrase(label: str, label_unit: LabelUnit) -> str:
    """Returns the name of a frame in a text: "0.8 s" or "frame 12"."""
    return f"{label} s" if label_unit == "seconds" else f"frame {label}"


def annotation_turn(task: Task, template: int, labels: VeasonPrompts = BUILT_IN.veason) -> Turn:
    """Returns the prompt for a task.

    template: index into `TEMPLATES`, modulo their number. labels: its `frame` and `unit` label the frames.
    """
    wording, draft = TEMPLATES[template % len(TEMPLATES)], task.draft
    query = escape_control_tokens(draft.query)
    opening = wording.opening.format(query=query, clock=getattr(labels.unit, draft.label_unit))
    images = [outlined(image, masks) for image, masks in zip(task.images, task.masks, strict=True)]
    frames = frames_content(labels.frame, draft.label_unit, draft.indices, draft.labels, images)
    steps = wording.no_target
    if task.keyframe_label is not None:
        moment = frame_phrase(task.keyframe_label, draft.label_unit)
        count = "1 target" if task.num_objects == 1 else f"{task.num_objects} targets"
        steps = wording.targets.format(count=count, moment=moment)
    return Turn((opening, *frames, f"{steps}\n{_FORMAT}"))


def outlined(image: np.ndarray, masks: np.ndarray | None) -> np.ndarray:
    """Returns the image, uint8 RGB (H, W, 3), with a line around each mask, bool (N, H, W), one color per object."""
    from thinkseg.ops.draw import overlay

    if masks is None or not len(masks):
        return image
    rings = [_dilated(mask, MARGIN + LINE) & ~_dilated(mask, MARGIN) for mask in masks]
    return overlay(image, np.stack(rings), alpha=1.0)


def _dilated(mask: np.ndarray, pixels: int) -> np.ndarray:
    import cv2

    side = 2 * pixels + 1
    return cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))).astype(bool)


@dataclass(frozen=True, slots=True)
class Steps:
    """The three steps of a reply, each on one line, single-spaced."""

    summary: str
    reason: str
    place: str

    @property
    def thinking(self) -> str:
        """The steps as the thinking of a sample."""
        return " ".join(filter(None, (self.summary, self.reason, self.place)))


def write_steps(steps: Steps) -> str:
    """Returns the reply that `parse_steps` parses to these steps."""
    return "".join(f"<{name}>{getattr(steps, name)}</{name}>" for name in STEPS)


def parse_steps(text: str) -> Steps | None:
    """Returns the steps of a reply; None for an invalid format.

    Ignores a thinking block at the start and a code fence around the steps.
    """
    text = without_thinking(text)
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].removeprefix("xml").strip()
    parts = []
    for name in STEPS:
        opening, closing = f"<{name}>", f"</{name}>"
        inside, closed, rest = text.removeprefix(opening).partition(closing)
        if not text.startswith(opening) or not closed or re.search(r"</?\w+>", inside):
            return None
        parts.append(" ".join(inside.split()))
        text = rest.strip()
    return Steps(*parts) if not text and all(parts[1:]) else None
