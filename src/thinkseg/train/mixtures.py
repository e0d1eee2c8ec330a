"""Training data as a pure function of (stage, index): packed rows of dialogues about shapes clips.

A stage's recipe names how much of each kind of data it mixes:

- traces: the questions of a clip with their reasoning and answers, asked the way the `veason` chain asks
- lessons: short looking questions about all shown frames of a clip (`data/shapes/grounding.py`)
- lists: name and box everything in each of several of the shown frames
- frames: the same with one frame shown alone
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from thinkseg.chains.parse import write_answer
from thinkseg.chains.show import Shown, describe, show
from thinkseg.chains.veason import ask
from thinkseg.data.shapes import Episode, episode
from thinkseg.data.shapes.grounding import lessons
from thinkseg.data.shapes.render import ShapesVideo
from thinkseg.data.shapes.traces import TEMPLATES, look, trace
from thinkseg.models.encoder import Encoder
from thinkseg.train.packing import Row, pack
from thinkseg.types import Dialogue, Turn, View

SOURCE_WH = (224, 224)  # frames are drawn as videos are, then shrunk to the view as a policy's frames are


def traces(clip: Episode, view: View, rng: np.random.Generator) -> list[Dialogue]:
    """Every question of an episode with a true answer and the thinking that leads to it."""
    video = ShapesVideo(clip.clip, SOURCE_WH, clip.id)
    shown, images = show(video, view)
    dialogues: list[Dialogue] = []
    for number, text in enumerate(clip.texts):
        reply = true_reply(clip, number, shown, template=int(rng.integers(len(TEMPLATES))))
        dialogues.append((ask(text, shown, images), reply))
    return dialogues


def true_reply(clip: Episode, question_index: int, shown: Shown, template: int) -> str:
    """The reply a perfect policy would give to one question of an episode, seeing what `shown` records."""
    units = _units(shown)
    sight = look(clip.clip, shown.indices, shown.labels, units)
    thought = trace(sight, clip.asked[question_index], template)
    keyframe = None if thought.shown is None else shown.indices[thought.shown]
    scale = np.array(shown.source_wh * 2) / np.array(units * 2)
    return write_answer(thought.thinking, keyframe, thought.boxes * scale, shown)


def looking(
    clip: Episode, view: View, rng: np.random.Generator, count: int, lists_only: bool = False
) -> list[Dialogue]:
    """Looking lessons about the frames of a clip, without the chain's instruction."""
    video = ShapesVideo(clip.clip, SOURCE_WH, clip.id)
    indices = None if view.num_frames > 1 else [int(rng.integers(len(video)))]
    shown, images = show(video, view, indices)
    sight = look(clip.clip, shown.indices, shown.labels, _units(shown))
    seen: list[str | np.ndarray] = []
    for label, image in zip(shown.labels, images, strict=True):
        seen += (f"{label} s:", image)
    return [(Turn((*seen, request)), reply) for request, reply in lessons(sight, rng, count, lists_only)]


def _units(shown: Shown) -> tuple[int, int]:
    """Far ends of the frame in the units the policy writes boxes in."""
    return (1000, 1000) if shown.coordinates == "thousandths" else shown.frame_wh


@dataclass(frozen=True, slots=True)
class Mixture:
    """A map-style data set of packed rows.

    shares: how much of each kind, summing to anything; questions: dialogues a row; offset: first index of the train
    split used, so that stages never meet the same clip. batch: rows in a row of one kind, because kinds differ in
    length and a batch is padded to its longest row.
    """

    encoder: Encoder
    view: View
    shares: Mapping[str, float]
    questions: int
    offset: int
    length: int
    batch: int = 1

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Row:
        at = self.offset + index
        rng = np.random.default_rng([1, at])
        kind = self._kind(index // self.batch)
        while not (dialogues := KINDS[kind](self, at, rng)):  # nothing to see in that clip
            at += self.length
        return pack(self.encoder.encode_group(dialogues), self.encoder.image_pad_id)

    def _kind(self, batch: int) -> str:
        kinds = sorted(self.shares)
        weights = np.array([self.shares[k] for k in kinds], float)
        return str(np.random.default_rng([2, self.offset, batch]).choice(kinds, p=weights / weights.sum()))


def _traces(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return traces(episode("train", at, mixture.questions), mixture.view, rng)


def _lessons(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return looking(episode("train", at), mixture.view, rng, mixture.questions)


def _lists(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return looking(episode("train", at), mixture.view, rng, mixture.questions, lists_only=True)


def _frames(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    view = View(1, mixture.view.frame_wh, mixture.view.coordinates, mixture.view.clock)
    return looking(episode("train", at), view, rng, 1)


KINDS: dict[str, Callable[[Mixture, int, np.random.Generator], list[Dialogue]]] = {
    "traces": _traces,
    "lessons": _lessons,
    "lists": _lists,
    "frames": _frames,
}


def corpus(view: View, count: int) -> list[str]:
    """Texts as training will meet them, to learn a tokenizer from."""
    texts = []
    for index in range(count):
        clip = episode("train", index, 4)
        video = ShapesVideo(clip.clip, (8, 8), clip.id)
        shown = describe(video, view)
        blank = [np.zeros((1, 1, 3), np.uint8)] * len(shown.indices)
        rng = np.random.default_rng(index)
        sight = look(clip.clip, shown.indices, shown.labels, view.frame_wh)
        for at, text in enumerate(clip.texts):
            texts += [part for part in ask(text, shown, blank).content if isinstance(part, str)]
            texts.append(true_reply(clip, at, shown, at))
        texts += [text for pair in lessons(sight, rng, 4) for text in pair]
    return texts
