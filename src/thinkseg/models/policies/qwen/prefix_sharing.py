"""Dialogues answered with what was read before: dialogues in, replies out that remember their tokens.

Equal dialogues are read once and continued as often as they are asked, which is what a group of rollouts is. A dialogue
that goes on from one turn to the next is read on from its first turn. That is what tells this from a plain batch; the
tokens are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from thinkseg.models.policies.qwen.encoder import EncodedDialogue, GeneratedText
from thinkseg.models.policies.qwen.generation import Engine, Reading
from thinkseg.models.policies.sampling import Drawing
from thinkseg.types import Dialogue, Reply, Turn

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """A first turn that has been read: a place in a reading, and how many tokens it has."""

    turn: Turn
    reading: Reading
    row: int
    length: int


class ChatGenerator:
    """Answers with one engine. What was read is kept until it is forgotten, or no dialogue goes on from it."""

    def __init__(self, engine: Engine, drawing: Drawing) -> None:
        self.engine = engine
        self.drawing = drawing
        self._read: dict[int, _Read] = {}  # by the identity of a first turn

    def forget(self) -> None:
        """Lets go of everything that was read."""
        self._read.clear()
        self.engine.vision.forget()

    def reply(self, dialogues: Sequence[Dialogue], generator: torch.Generator | None = None) -> list[Reply]:
        """Answers the last turn of each dialogue. Raises RuntimeError where memory does not suffice."""
        dialogues = shared(dialogues, [read.turn for read in self._read.values()])
        going_on = {id(dialogue[0]) for dialogue in dialogues if len(dialogue) > 1}
        self._read = {turn: read for turn, read in self._read.items() if turn in going_on}
        on = [place for place, dialogue in enumerate(dialogues) if len(dialogue) > 1 and id(dialogue[0]) in self._read]
        anew = sorted(set(range(len(dialogues))) - set(on))
        replies: dict[int, Reply] = {}
        for places, reading, rows in chain(self._on(dialogues, on), self._anew(dialogues, anew)):
            drawing = self.drawing
            drawn = self.engine.write(reading, rows, drawing.max_new_tokens, drawing.temperature, generator)
            read = reading.seen.sum(1).tolist()
            for place, row, one in zip(places, rows, drawn, strict=True):
                text = GeneratedText(self.engine.encoder.text(one.said), one.tokens)
                replies[place] = Reply(text, len(one.said), one.truncated, read[row])
        return [replies[place] for place in range(len(dialogues))]

    def _anew(
        self, dialogues: Sequence[Dialogue], asked: Sequence[int]
    ) -> Iterator[tuple[list[int], Reading, list[int]]]:
        """Those of which nothing was read: places in `dialogues`, a reading, and the row of it that each continues."""
        asking: dict[tuple[object, ...], list[int]] = {}
        for place in asked:
            asking.setdefault((id(dialogues[place][0]), *map(_name, dialogues[place][1:])), []).append(place)
        groups = list(asking.values())
        encoded = self.engine.encoder.encode_group([dialogues[places[0]] for places in groups])
        for part in self._parts(encoded, [len(places) for places in groups]):
            reading = self.engine.read([encoded[i] for i in part])
            for row, i in enumerate(part):
                turn, *said = dialogues[groups[i][0]]
                if not said and isinstance(turn, Turn):
                    self._read[id(turn)] = _Read(turn, reading, row, len(encoded[i].ids))
            places = [place for i in part for place in groups[i]]
            yield places, reading, [row for row, i in enumerate(part) for _ in groups[i]]

    def _on(
        self, dialogues: Sequence[Dialogue], asked: Sequence[int]
    ) -> Iterator[tuple[list[int], Reading, list[int]]]:
        """The same for those whose first turn was read before."""
        by_reading: dict[int, list[int]] = {}
        for place in asked:
            by_reading.setdefault(id(self._read[id(dialogues[place][0])].reading), []).append(place)
        for places in by_reading.values():
            encoded = self.engine.encoder.encode_group([dialogues[place] for place in places])
            for part in self._parts(encoded, [1] * len(places)):
                before = [self._read[id(dialogues[places[i]][0])] for i in part]
                rows, starts = [one.row for one in before], [one.length for one in before]
                reading = self.engine.read([encoded[i] for i in part], before[0].reading, rows, starts)
                yield [places[i] for i in part], reading, list(range(len(part)))

    def _parts(self, encoded: Sequence[EncodedDialogue], copies: Sequence[int]) -> Iterator[list[int]]:
        """Positions in parts that the cache can take at a time, at least one in each."""
        part: list[int] = []
        for i in range(len(encoded)):
            longest = max(len(encoded[j].ids) for j in [*part, i]) + self.drawing.max_new_tokens
            taken = longest * sum(copies[j] for j in [*part, i])
            if part and self.drawing.tokens_at_once is not None and taken > self.drawing.tokens_at_once:
                yield part
                part = []
            part.append(i)
        if part:
            yield part


def shared(dialogues: Sequence[Dialogue], known: Sequence[Turn] = ()) -> list[Dialogue]:
    """The same dialogues, in which equal first turns are one and the same: the first one met, `known` ones before."""
    turns: dict[tuple[str, ...], list[Turn]] = {}
    for turn in known:
        turns.setdefault(_texts(turn), []).append(turn)
    found: list[Dialogue] = []
    for dialogue in dialogues:
        first = dialogue[0]
        assert isinstance(first, Turn)
        alike = turns.setdefault(_texts(first), [])
        same = next((turn for turn in alike if turn is first or _same_images(turn, first)), None)
        if same is None:
            alike.append(first)
        found.append(dialogue if same is None else (same, *dialogue[1:]))
    return found


def _texts(turn: Turn) -> tuple[str, ...]:
    """Its words, with a mark where an image stands."""
    return tuple(part if isinstance(part, str) else "\0" for part in turn.content)


def _same_images(one: Turn, other: Turn) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.images, other.images, strict=True))


def _name(part: Turn | str) -> object:
    """What tells a later part of a dialogue from others: its tokens or its words; a turn is itself."""
    if isinstance(part, GeneratedText):
        return part.tokens
    return part if isinstance(part, str) else id(part)
