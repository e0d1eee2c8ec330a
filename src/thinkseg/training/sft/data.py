"""Training data as a pure function of (stage, index): packed rows of dialogues about shapes clips.

A stage's recipe names how much of each kind of data it mixes:

- traces: the questions of a clip with their reasoning and answers, asked the way the `veason` chain asks
- answers: the same questions and answers, without the reasoning
- keyframes: the traces as far as the keyframe: the boxes of the answer are not taught
- firsts: the traces with the first frame that shows a target as keyframe, whichever is best
- closeups: the traces asked the way the `revseg` chain asks, in two turns
- boxings: the second turns of these, the boxes; the first turn is read and not taught
- glimpses: the same with one frame shown alone, and only the questions that one frame can answer
- lists: name and box everything in each of several of the shown frames
- frames: the same with one frame shown alone
- cot: the samples of a set on disk, one a row, asked the way the `veason` chain asks (see `thinkseg.data.cot`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from thinkseg.chains.frames import describe
from thinkseg.chains.parsing import BOXES
from thinkseg.chains.veason import ask
from thinkseg.data.cot import CotSet
from thinkseg.data.shapes import Episode, episode, grounding
from thinkseg.data.shapes.render import ShapesVideo
from thinkseg.data.shapes.traces import observe
from thinkseg.data.shapes.wordings import add_noise_words
from thinkseg.demonstrations import closeups, dialogue, glimpses, lists, traces, true_reply
from thinkseg.models.policies.qwen.encoder import IGNORED, EncodedDialogue, Encoder, GeneratedText, spans
from thinkseg.training.packing import Row, pack
from thinkseg.types import Dialogue, View

BATCHES_A_POOL = 8


@dataclass(frozen=True, slots=True)
class Mixture:
    """A map-style data set of packed rows.

    shares: how much of each kind, summing to anything; questions: dialogues a row; offset: first index of the train
    split used, so that stages never meet the same clip. batch: rows a batch. A batch is padded to its longest row, so
    rows are drawn in pools of some batches and come in batches of about equal length, the batches in random order.
    cot: the set that `cot` is about; needed for that kind alone.
    asked: how often questions of a category are asked first; those not named, as in other splits.
    strays: share of the questions about shapes with made-up words in them.
    """

    encoder: Encoder
    view: View
    shares: Mapping[str, float]
    questions: int
    offset: int
    length: int
    batch: int = 1
    cot: CotSet | None = None
    asked: Mapping[str, float] = field(default_factory=dict)
    strays: float = 0.0
    # The pool at work; batches are asked for in order, so that each pool is made once in a loader process.
    _pools: dict[int, list[Row]] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Row:
        pool, place = divmod(index, self.batch * BATCHES_A_POOL)
        if pool not in self._pools:
            self._pools.clear()
            self._pools[pool] = self._draw(pool)
        return self._pools[pool][place]

    def clip(self, at: int, questions: int) -> Episode:
        """A clip of the train split, and what is asked about it."""
        clip = episode("train", at, questions, self.asked)
        rng = np.random.default_rng([4, at])
        stray = rng.random(len(clip.texts)) < self.strays
        texts = (add_noise_words(text, rng) if odd else text for text, odd in zip(clip.texts, stray, strict=True))
        return replace(clip, texts=tuple(texts))

    def _draw(self, pool: int) -> list[Row]:
        size = self.batch * BATCHES_A_POOL
        rows = [self._row(i) for i in range(pool * size, min((pool + 1) * size, self.length))]
        rows.sort(key=lambda row: len(row.ids))
        batches = [rows[i : i + self.batch] for i in range(0, len(rows), self.batch)]
        full, rest = batches[: len(rows) // self.batch], batches[len(rows) // self.batch :]
        order = np.random.default_rng([2, self.offset, pool]).permutation(len(full))
        return [row for batch in [*(full[i] for i in order), *rest] for row in batch]

    def _row(self, index: int) -> Row:
        at = self.offset + index
        rng = np.random.default_rng([1, at])
        kinds = sorted(self.shares)
        weights = np.array([self.shares[k] for k in kinds], float)
        kind = str(rng.choice(kinds, p=weights / weights.sum()))
        while not (dialogues := KINDS[kind](self, at, rng)):  # nothing to see in that clip, or nothing to ask
            at += self.length
        encoded = self.encoder.encode_group(dialogues)
        if kind in LAST_REPLY_ALONE:
            encoded = [_last_reply_alone(one) for one in encoded]
        return pack(encoded, self.encoder.image_pad_id)


def _traces(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return traces(mixture.clip(at, mixture.questions), mixture.view, rng)


def _answers(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return traces(mixture.clip(at, mixture.questions), mixture.view, rng, thinking=False)


def _keyframes(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return [(*asked, _until_boxes(str(reply), mixture.encoder)) for *asked, reply in _traces(mixture, at, rng)]


def _until_boxes(reply: str, encoder: Encoder) -> str:
    """A reply up to its keyframe, nothing said of how it goes on; all of one that says there is no target."""
    kept, boxed, _ = reply.partition(f', "{BOXES}": [[')
    return GeneratedText(kept, encoder.tokenizer(kept, add_special_tokens=False)["input_ids"]) if boxed else reply


def _firsts(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return traces(mixture.clip(at, mixture.questions), mixture.view, rng, first=True)


def _closeups(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return closeups(mixture.clip(at, mixture.questions), mixture.view, rng)


def _boxings(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    """Without the questions that have no target, which end after the first turn."""
    return [dialogue for dialogue in _closeups(mixture, at, rng) if len(dialogue) > 2]


def _last_reply_alone(encoded: EncodedDialogue) -> EncodedDialogue:
    """The same dialogue, of which no reply is taught but the last."""
    start, _ = spans(encoded.labels != IGNORED)[-1]
    return replace(encoded, labels=np.where(np.arange(len(encoded.ids)) < start, IGNORED, encoded.labels))


def _glimpses(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return glimpses(mixture.clip(at, 2 * mixture.questions), mixture.view, rng)  # about every second is of looks


def _lists(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return lists(mixture.clip(at, 1), mixture.view, rng, mixture.questions)


def _frames(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return lists(mixture.clip(at, 1), replace(mixture.view, num_frames=1), rng, 1)


def _cot(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    """The whole set in random order, then again in another, and so on."""
    assert mixture.cot is not None  # a recipe with this kind names a set
    samples = mixture.cot.samples
    epoch, place = divmod(at - mixture.offset, len(samples))
    order = np.random.default_rng([3, mixture.offset, epoch]).permutation(len(samples))
    return [dialogue(mixture.cot, samples[order[place]], mixture.view)]


KINDS: dict[str, Callable[[Mixture, int, np.random.Generator], list[Dialogue]]] = {
    "traces": _traces,
    "answers": _answers,
    "keyframes": _keyframes,
    "firsts": _firsts,
    "closeups": _closeups,
    "boxings": _boxings,
    "glimpses": _glimpses,
    "lists": _lists,
    "frames": _frames,
    "cot": _cot,
}

LAST_REPLY_ALONE = ("boxings",)
"""Kinds of data whose earlier replies are not taught."""


def corpus(view: View, count: int) -> list[str]:
    """Texts as training will meet them, to learn a tokenizer from."""
    texts = []
    for index in range(count):
        clip = episode("train", index, 4)
        video = ShapesVideo(clip.clip, (8, 8), clip.id)
        shown = describe(video, view)
        blank = [np.zeros((1, 1, 3), np.uint8)] * len(shown.indices)
        rng = np.random.default_rng(index)
        sight = observe(clip.clip, shown.indices, shown.labels, view.frame_wh)
        for at, text in enumerate(clip.texts):
            texts += [part for part in ask(text, shown, blank).content if isinstance(part, str)]
            texts.append(true_reply(clip, at, shown, at))
        texts += [text for pair in grounding.object_lists(sight, rng, view.num_frames) for text in pair]
    return texts
