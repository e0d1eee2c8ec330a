"""Training data of SFT: packed rows of dialogues, a pure function of stage and index.

A stage's recipe gives a weight to each kind of data:

- traces: the questions of a clip of shapes with reasoning and answers, prompted as by the `veason` chain
- answers: the same without reasoning
- keyframe_only: the traces up to the keyframe, without the boxes
- first_visible_keyframe: the traces with the first frame that shows a target as keyframe, instead of the best one
- two_turns: the traces prompted as by the `revseg` chain, in two turns
- two_turns_boxes_only: the same, with a loss on the boxes of the second turn only
- single_frame_questions: the traces of questions that a single frame can answer, with only that frame shown
- list_objects: the names and boxes of all objects in each of several frames
- list_objects_single_frame: the same for a single frame
- cot: the samples of a chain-of-thought set on disk, one per row, prompted as by the `veason` chain
- cot_answers: the same without reasoning
- cot_keyframe_only: the samples of the set up to the keyframe, without the boxes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from thinkseg.chains.frames import select_frames
from thinkseg.chains.parsing import BOXES
from thinkseg.chains.veason import ask
from thinkseg.data.cot import CotSet
from thinkseg.data.shapes import Episode, episode, grounding
from thinkseg.data.shapes.render import ShapesVideo
from thinkseg.data.shapes.traces import observe
from thinkseg.data.shapes.wordings import add_noise_words
from thinkseg.demonstrations import dialogue, list_objects, single_frame_questions, traces, true_reply, two_turns
from thinkseg.models.policies.qwen.encoder import IGNORED, EncodedDialogue, Encoder, GeneratedText, spans
from thinkseg.training.packing import PackedRow, pack
from thinkseg.training.sft.recipe import DataKind
from thinkseg.types import Dialogue, View

BATCHES_PER_POOL = 8


@dataclass(frozen=True, slots=True)
class Mixture:
    """A map-style data set of packed rows.

    kind_weights: weight of each kind; they need not sum to 1. questions_per_clip: dialogues per row.
    clip_offset: first index of the train split that is used; different stages use different clips.
    length: number of rows.
    batch_size: rows per batch. A batch is padded to its longest row. Rows are therefore made in pools of
        `BATCHES_PER_POOL` batches, sorted by length, and split into batches in random order.
    cot: the set for `sft.recipe.COT_KINDS`; None without these kinds.
    category_weights, noise_word_rate: as in `training.sft.recipe.Stage`.
    """

    encoder: Encoder
    view: View
    kind_weights: Mapping[DataKind, float]
    questions_per_clip: int
    clip_offset: int
    length: int
    batch_size: int = 1
    cot: CotSet | None = None
    category_weights: Mapping[str, float] = field(default_factory=dict)
    noise_word_rate: float = 0.0
    # The current pool. Batches are requested in order, so that a loader process makes each pool once.
    _pools: dict[int, list[PackedRow]] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> PackedRow:
        pool, position = divmod(index, self.batch_size * BATCHES_PER_POOL)
        if pool not in self._pools:
            self._pools.clear()
            self._pools[pool] = self._make_pool(pool)
        return self._pools[pool][position]

    def clip(self, at: int, questions: int) -> Episode:
        """Returns a clip of the train split with its questions, some of them with noise words."""
        clip = episode("train", at, questions, self.category_weights)
        rng = np.random.default_rng([4, at])
        noisy = rng.random(len(clip.texts)) < self.noise_word_rate
        texts = (add_noise_words(text, rng) if noise else text for text, noise in zip(clip.texts, noisy, strict=True))
        return replace(clip, texts=tuple(texts))

    def _make_pool(self, pool: int) -> list[PackedRow]:
        size = self.batch_size * BATCHES_PER_POOL
        rows = [self._row(i) for i in range(pool * size, min((pool + 1) * size, self.length))]
        rows.sort(key=lambda row: len(row.input_ids))
        batches = [rows[i : i + self.batch_size] for i in range(0, len(rows), self.batch_size)]
        full, rest = batches[: len(rows) // self.batch_size], batches[len(rows) // self.batch_size :]
        order = np.random.default_rng([2, self.clip_offset, pool]).permutation(len(full))
        return [row for batch in [*(full[i] for i in order), *rest] for row in batch]

    def _row(self, index: int) -> PackedRow:
        at = self.clip_offset + index
        rng = np.random.default_rng([1, at])
        kinds = [kind for kind in KINDS if kind in self.kind_weights]
        weights = np.array([self.kind_weights[k] for k in kinds], float)
        kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
        while not (dialogues := KINDS[kind](self, at, rng)):  # no object or no question in that clip
            at += self.length
        encoded = self.encoder.encode_group(dialogues)
        if kind in LAST_REPLY_ONLY:
            encoded = [_last_reply_only(one) for one in encoded]
        return pack(encoded, self.encoder.image_pad_id)


def _traces(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return traces(mixture.clip(at, mixture.questions_per_clip), mixture.view, rng)


def _answers(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return traces(mixture.clip(at, mixture.questions_per_clip), mixture.view, rng, thinking=False)


def _keyframe_only(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return _without_boxes(_traces(mixture, at, rng), mixture.encoder)


def _without_boxes(dialogues: Sequence[Dialogue], encoder: Encoder) -> list[Dialogue]:
    return [(*turns, _until_boxes(str(reply), encoder)) for *turns, reply in dialogues]


def _until_boxes(reply: str, encoder: Encoder) -> str:
    """A reply up to its keyframe, without an end of turn. A reply without a target is returned unchanged."""
    kept, has_boxes, _ = reply.partition(f', "{BOXES}": [[')
    return GeneratedText(kept, encoder.content_ids(kept)) if has_boxes else reply


def _first_visible_keyframe(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return traces(mixture.clip(at, mixture.questions_per_clip), mixture.view, rng, first=True)


def _two_turns(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return two_turns(mixture.clip(at, mixture.questions_per_clip), mixture.view, rng)


def _two_turns_boxes_only(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    """Excludes the questions without a target, which end after the first turn."""
    return [dialogue for dialogue in _two_turns(mixture, at, rng) if len(dialogue) > 2]


def _last_reply_only(encoded: EncodedDialogue) -> EncodedDialogue:
    """The same dialogue with labels for its last reply only."""
    start, _ = spans(encoded.labels != IGNORED)[-1]
    return replace(encoded, labels=np.where(np.arange(len(encoded.input_ids)) < start, IGNORED, encoded.labels))


def _single_frame_questions(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    # About half of the questions can be answered from a single frame.
    return single_frame_questions(mixture.clip(at, 2 * mixture.questions_per_clip), mixture.view, rng)


def _list_objects(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return list_objects(mixture.clip(at, 1), mixture.view, rng, mixture.questions_per_clip)


def _list_objects_single_frame(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return list_objects(mixture.clip(at, 1), replace(mixture.view, num_frames=1), rng, 1)


def _cot(mixture: Mixture, at: int, rng: np.random.Generator, thinking: bool = True) -> list[Dialogue]:
    """Iterates over the set in a new random order per epoch."""
    assert mixture.cot is not None  # recipes with this kind have a set
    samples = mixture.cot.samples
    epoch, position = divmod(at - mixture.clip_offset, len(samples))
    order = np.random.default_rng([3, mixture.clip_offset, epoch]).permutation(len(samples))
    sample = samples[order[position]]
    return [dialogue(mixture.cot, sample if thinking else replace(sample, thinking=""), mixture.view)]


def _cot_answers(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return _cot(mixture, at, rng, thinking=False)


def _cot_keyframe_only(mixture: Mixture, at: int, rng: np.random.Generator) -> list[Dialogue]:
    return _without_boxes(_cot(mixture, at, rng), mixture.encoder)


KINDS: dict[DataKind, Callable[[Mixture, int, np.random.Generator], list[Dialogue]]] = {
    "answers": _answers,
    "two_turns_boxes_only": _two_turns_boxes_only,
    "two_turns": _two_turns,
    "cot": _cot,
    "first_visible_keyframe": _first_visible_keyframe,
    "list_objects_single_frame": _list_objects_single_frame,
    "single_frame_questions": _single_frame_questions,
    "keyframe_only": _keyframe_only,
    "list_objects": _list_objects,
    "traces": _traces,
    "cot_answers": _cot_answers,
    "cot_keyframe_only": _cot_keyframe_only,
}
"""Functions that make the dialogues of a row. Do not reorder: the random choice of a kind depends on the order."""

LAST_REPLY_ONLY = ("two_turns_boxes_only",)
"""Kinds of data with labels for the last reply only."""


def corpus(view: View, count: int) -> list[str]:
    """Returns the texts of `count` training clips, to train a tokenizer on."""
    texts = []
    for index in range(count):
        clip = episode("train", index, 4)
        video = ShapesVideo(clip.clip, (8, 8), clip.id)
        shown = select_frames(video, view)
        blank = [np.zeros((1, 1, 3), np.uint8)] * len(shown.indices)
        rng = np.random.default_rng(index)
        sight = observe(clip.clip, shown.indices, shown.labels, view.frame_wh)
        for at, text in enumerate(clip.texts):
            texts += [part for part in ask(text, shown, blank, view).content if isinstance(part, str)]
            texts.append(true_reply(clip, at, shown, at))
        texts += [text for pair in grounding.object_lists(sight, rng, view.num_frames) for text in pair]
    return texts
