"""Groups of attempts at prompts, as GRPO wants them: prompts in, outcomes out, with the very tokens that were written.

The chains are those of inference, driven in the same way; only the policy differs. It reads the prompt of a group once,
whatever the size of the group, and reads a second turn on top of it. What it writes remembers its tokens (`Written`),
so that what is trained on later is what was sampled, to the token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from thinkseg.models.encoder import Encoded, Written
from thinkseg.models.generation import Engine, Reading
from thinkseg.pipeline import drive
from thinkseg.rewards import Prompt
from thinkseg.types import Chain, Dialogue, Frames, Outcome, Reply, Turn, View


@dataclass(frozen=True, slots=True)
class Drawing:
    """How rollouts are drawn.

    copies: rollouts of each prompt. max_new_tokens: of one reply. tokens_at_once: places in the model's cache that may
    be taken at a time, what is written included.
    """

    copies: int
    temperature: float
    max_new_tokens: int
    tokens_at_once: int


def roll_out(
    prompts: Sequence[Prompt], chain: Callable[..., Chain], engine: Engine, view: View, drawing: Drawing, seed: int
) -> list[list[Outcome]]:
    """For each prompt a group of outcomes of its chain, `drawing.copies` of them.

    chain: called with a sample, a view and the `indices` of the frames to show, as all of `thinkseg.chains.CHAINS` are.

    The dialogues of a group begin with the very same turn. The same seed draws the same rollouts, whatever was drawn
    before. Runs the model as it is, without gradients.
    """
    policy = _Sampled(engine, view, drawing, seed)
    chains = []
    for prompt in prompts:
        sample = replace(prompt.sample, video=_Remembered(prompt.sample.video))
        chains += [chain(sample, view, indices=prompt.shown) for _ in range(drawing.copies)]
    outcomes = [replace(one, dialogue=policy.shared(one.dialogue)) for one in drive(chains, policy)]
    return [outcomes[i : i + drawing.copies] for i in range(0, len(outcomes), drawing.copies)]


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """A first turn that has been read: a place in a reading, and how many tokens it has."""

    reading: Reading
    row: int
    length: int


class _Sampled:
    """A `thinkseg.types.Policy` that answers equal dialogues together and goes on from those it has read."""

    name = "policy in training"

    def __init__(self, engine: Engine, view: View, drawing: Drawing, seed: int) -> None:
        import torch

        self.engine = engine
        self.view = view
        self.coordinates = view.coordinates
        self.size_multiple = engine.encoder.size_multiple
        self._drawing = drawing
        self._generator = torch.Generator(engine.model.device).manual_seed(seed)
        self._turns: dict[tuple[str, ...], list[Turn]] = {}
        self._read: dict[int, _Read] = {}  # by the identity of a first turn, which `_turns` keeps

    def shared(self, dialogue: Dialogue) -> Dialogue:
        """The dialogue with its first turn replaced by the first equal one that was met."""
        turn = dialogue[0]
        assert isinstance(turn, Turn)
        known = self._turns.setdefault(tuple(part for part in turn.content if isinstance(part, str)), [])
        for other in known:
            if other is turn or _same_images(other, turn):
                return (other, *dialogue[1:])
        known.append(turn)
        return dialogue

    def reply(self, dialogues: Sequence[Dialogue]) -> list[Reply]:
        """Answers the last turn of each dialogue."""
        import torch

        dialogues = [self.shared(dialogue) for dialogue in dialogues]
        replies: list[Reply | None] = [None] * len(dialogues)
        with torch.no_grad():
            for places, reading, rows in [*self._first(dialogues), *self._later(dialogues)]:
                drawn = self.engine.write(
                    reading, rows, self._drawing.max_new_tokens, self._drawing.temperature, self._generator
                )
                for place, one in zip(places, drawn, strict=True):
                    text = self.engine.encoder.text(one.tokens)
                    replies[place] = Reply(Written(text, one.tokens), len(one.tokens), one.truncated)
        return [reply for reply in replies if reply is not None]

    def _first(self, dialogues: Sequence[Dialogue]) -> Iterator[tuple[list[int], Reading, list[int]]]:
        """First turns, each read once: places in `dialogues`, a reading, and the row of it that each continues."""
        asking: dict[int, list[int]] = {}
        for place, dialogue in enumerate(dialogues):
            if len(dialogue) == 1:
                asking.setdefault(id(dialogue[0]), []).append(place)
        turns = list(asking)
        encoded = self.engine.encoder.encode_group([dialogues[asking[turn][0]] for turn in turns])
        copies = [len(asking[turn]) for turn in turns]
        for part in self._parts([len(one.ids) for one in encoded], copies):
            reading = self.engine.read([encoded[i] for i in part])
            for row, i in enumerate(part):
                self._read[turns[i]] = _Read(reading, row, len(encoded[i].ids))
            places = [place for i in part for place in asking[turns[i]]]
            yield places, reading, [row for row, i in enumerate(part) for _ in range(copies[i])]

    def _later(self, dialogues: Sequence[Dialogue]) -> Iterator[tuple[list[int], Reading, list[int]]]:
        """The same for turns that follow one which has been read."""
        by_reading: dict[int, list[int]] = {}
        for place, dialogue in enumerate(dialogues):
            if len(dialogue) > 1:
                by_reading.setdefault(id(self._read[id(dialogue[0])].reading), []).append(place)
        for places in by_reading.values():
            encoded = self.engine.encoder.encode_group([dialogues[place] for place in places])
            for part in self._parts([len(one.ids) for one in encoded], [1] * len(places)):
                yield self._continued([places[i] for i in part], [encoded[i] for i in part], dialogues)

    def _continued(
        self, places: list[int], encoded: Sequence[Encoded], dialogues: Sequence[Dialogue]
    ) -> tuple[list[int], Reading, list[int]]:
        before = [self._read[id(dialogues[place][0])] for place in places]
        reading = self.engine.read(
            encoded, before[0].reading, [one.row for one in before], [one.length for one in before]
        )
        return places, reading, list(range(len(places)))

    def _parts(self, lengths: Sequence[int], copies: Sequence[int]) -> Iterator[list[int]]:
        """Positions in parts that the cache can take at a time, at least one in each."""
        part: list[int] = []
        for i in range(len(lengths)):
            longest = max(lengths[j] for j in [*part, i]) + self._drawing.max_new_tokens
            if part and longest * sum(copies[j] for j in [*part, i]) > self._drawing.tokens_at_once:
                yield part
                part = []
            part.append(i)
        if part:
            yield part


def _same_images(one: Turn, other: Turn) -> bool:
    pairs = zip(one.images, other.images, strict=False)
    return len(one.images) == len(other.images) and all(np.array_equal(a, b) for a, b in pairs)


class _Remembered:
    """A video whose frames are decoded once, for all the chains of a group (`thinkseg.types.Frames`)."""

    def __init__(self, inner: Frames) -> None:
        self._inner = inner
        self._known: dict[int, np.ndarray] = {}
        self.name = inner.name
        self.size_wh = inner.size_wh
        self.fps = inner.fps

    def __len__(self) -> int:
        return len(self._inner)

    def __getitem__(self, index: int) -> np.ndarray:
        return next(self.read([index]))

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        new = sorted({int(i) for i in indices} - self._known.keys())
        for index, frame in zip(new, self._inner.read(new), strict=True):
            frame.setflags(write=False)  # shared from now on
            self._known[index] = frame
        return (self._known[int(i)] for i in indices)

    def time_of(self, index: int) -> float | None:
        return self._inner.time_of(index)
