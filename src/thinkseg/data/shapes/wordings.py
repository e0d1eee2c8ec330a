"""Wordings of the questions about the shapes world.

Each kind of question has wordings of the train and val splits, and other wordings of the zero-shot split.
"""

from __future__ import annotations

import numpy as np

CATEGORY: dict[str, str] = {
    "name": "referring",
    "color": "referring",
    "kind": "referring",
    "fastest": "motion",
    "still": "motion",
    "grows": "motion",
    "shrinks": "motion",
    "leaves_first": "time",
    "arrives": "time",
    "pushed_by": "cause",
    "pushed": "cause",
    "was_hit": "cause",
    "largest": "comparison",
    "smallest": "comparison",
    "leftmost": "comparison",
    "rightmost": "comparison",
    "highest": "comparison",
    "lowest": "comparison",
    "all_color": "several",
    "all_kind": "several",
    "ends_left": "several",
    "ends_right": "several",
}
"""Category of each kind of question with a target; a question without a target has category "none"."""

CATEGORIES = ("referring", "motion", "time", "cause", "comparison", "several", "none")

WORDINGS: dict[str, tuple[str, ...]] = {
    "name": (
        "the {color} {shape}",
        "where is the {color} {shape}?",
        "segment the {color} {shape}",
        "a {color} {shape}",
    ),
    "color": ("the {color} one", "the only {color} thing", "which object is {color}?"),
    "kind": ("the {shape}", "the only {shape} in the video", "which of them is a {shape}?"),
    "fastest": ("the one in the greatest hurry", "the fastest thing", "which object moves the fastest?"),
    "still": ("the only one that stays put", "the thing that never moves", "which one does not move at all?"),
    "grows": ("the one that is getting bigger", "what keeps growing", "which object grows?"),
    "shrinks": ("the one that is getting smaller", "what keeps shrinking", "which object shrinks?"),
    "leaves_first": ("whoever leaves first", "the first one to go away", "who is gone first?"),
    "arrives": ("the one that arrives late", "whoever comes in after the start", "the newcomer"),
    "pushed_by": (
        "what set the {color} {shape} moving",
        "who pushed the {color} {shape}?",
        "what made the {color} {shape} move",
    ),
    "pushed": ("what the {color} {shape} runs into", "what is pushed by the {color} {shape}?"),
    "was_hit": ("the one that gets hit", "whatever stands still until something hits it"),
    "largest": ("which would need the largest box", "the biggest thing", "the largest of them all"),
    "smallest": ("which would need the smallest box", "the smallest thing", "the tiniest of them all"),
    "leftmost": ("the one furthest to the left at the end", "who ends up leftmost?"),
    "rightmost": ("the one furthest to the right at the end", "who ends up rightmost?"),
    "highest": ("the one nearest the top at the end", "who ends up highest?"),
    "lowest": ("the one nearest the bottom at the end", "who ends up lowest?"),
    "all_color": ("all the {color} things", "every {color} object"),
    "all_kind": ("all the {shape}s", "every {shape}"),
    "ends_left": ("everything that ends up on the left", "all that finish in the left half"),
    "ends_right": ("everything that ends up on the right", "all that finish in the right half"),
}

UNSEEN_WORDINGS: dict[str, tuple[str, ...]] = {
    "name": ("find the {shape} that is {color}", "show me one {shape}, {color}"),
    "color": ("whatever is {color}", "the thing painted {color}"),
    "kind": ("the object shaped like a {shape}", "point out the {shape}"),
    "fastest": ("which moves more than the others?", "the one moving in the greatest way"),
    "still": ("the one not moving", "which thing stays where it is?"),
    "grows": ("the thing that ends up bigger than it was", "who is growing?"),
    "shrinks": ("the thing that ends up smaller than it was", "who is shrinking?"),
    "leaves_first": ("which one leaves before the others?", "the first to be gone"),
    "arrives": ("the one not there at the start", "which object comes in late?"),
    "pushed_by": ("which thing hits the {color} {shape}?", "who made the {color} {shape} go?"),
    "pushed": ("who gets hit by the {color} {shape}?", "what the {color} {shape} set moving"),
    "was_hit": ("who is pushed?", "the thing something runs into"),
    "largest": ("who is the biggest?", "the object that is larger than the others"),
    "smallest": ("who is the smallest?", "the object that is smaller than the others"),
    "leftmost": ("which one finishes furthest left?", "at the end, the leftmost thing"),
    "rightmost": ("which one finishes furthest right?", "at the end, the rightmost thing"),
    "highest": ("which one finishes nearest the top?", "at the end, the highest thing"),
    "lowest": ("which one finishes nearest the bottom?", "at the end, the lowest thing"),
    "all_color": ("each thing that is {color}", "whatever things are {color}"),
    "all_kind": ("each {shape} there is", "whatever is a {shape}, all of them"),
    "ends_left": ("those on the left at the end", "all the things that finish left"),
    "ends_right": ("those on the right at the end", "all the things that finish right"),
}

LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")


def add_noise_words(text: str, rng: np.random.Generator) -> str:
    """Inserts one or two made-up words at random positions of a question.

    They make a policy robust to words that do not occur in training ("the thing painted red").
    """
    words = text.split(" ")
    for _ in range(int(rng.integers(1, 3))):
        made_up = "".join(rng.choice(LETTERS, int(rng.integers(3, 10))))
        words.insert(int(rng.integers(len(words) + 1)), made_up)
    return " ".join(words)
