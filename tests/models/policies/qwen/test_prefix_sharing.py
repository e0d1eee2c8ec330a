from pathlib import Path
from typing import Any

import pytest
import torch

from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import Encoder, GeneratedText
from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.models.policies.qwen.prefix_sharing import ChatGenerator, shared
from thinkseg.models.policies.sampling import Drawing
from thinkseg.types import Dialogue, Turn
from tinymodels import asked, picture

A, B = picture(0), picture(1)


@pytest.fixture
def engine(qwen2_5: Path) -> Engine:
    return Engine(load_model(qwen2_5, "fp32"), Encoder.load(qwen2_5))


@pytest.fixture
def fed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of what the model reads, but for single tokens."""
    shapes: list[tuple[int, ...]] = []
    forward = engine.model.forward

    def counted(**inputs: Any) -> Any:
        if inputs["input_ids"].shape[1] > 1:
            shapes.append(tuple(inputs["input_ids"].shape))
        return forward(**inputs)

    monkeypatch.setattr(engine.model, "forward", counted)
    return shapes


def test_equal_first_turns_become_one() -> None:
    one, same, other = asked("Who?", [A]), asked("Who?", [A.copy()]), asked("Who?", [B])
    words = Turn(("Who?",))
    found = shared([(one,), (same, "He.", words), (other,), (words,), (words, "x")])
    assert [d[0] for d in found] == [one, one, other, words, words]
    assert found[1][1:] == ("He.", words)
    assert shared([(same,)], known=[one])[0][0] is one


@torch.no_grad()
def test_equal_dialogues_are_read_once(engine: Engine, fed: list[tuple[int, ...]]) -> None:
    answering = ChatGenerator(engine, Drawing(temperature=1.0, max_new_tokens=3))
    dialogues: list[Dialogue] = [(asked("Who?", [A.copy()]),) for _ in range(5)]
    later = asked("And now?", [B])
    dialogues += [(asked("Who?", [B]), reply, later) for reply in ("Me.", "Me.", "You.")]
    replies = answering.reply(dialogues, torch.Generator().manual_seed(0))
    assert len(replies) == 8
    assert [shape[0] for shape in fed] == [3]


@torch.no_grad()
def test_replies_in_the_same_words_of_other_tokens_are_told_apart(engine: Engine, fed: list[tuple[int, ...]]) -> None:
    answering = ChatGenerator(engine, Drawing(0.0, 2))
    end = engine.encoder.end_id
    said = [GeneratedText("He", [40, end]), GeneratedText("He", [41, 42, end])]
    turn, later = asked("Who?", [A]), Turn(("Why?",))
    answering.reply([(turn, one, later) for one in said])
    assert [shape[0] for shape in fed] == [2]


@torch.no_grad()
def test_a_first_turn_and_one_that_follows_it_can_be_answered_together(engine: Engine) -> None:
    plain = ChatGenerator(engine, Drawing(0.0, 4))
    turn, later = asked("Who?", [A]), asked("Where?", [B])
    both: list[Dialogue] = [(turn,), (turn, "He.", later)]
    expected = [ChatGenerator(engine, Drawing(0.0, 4)).reply([dialogue])[0] for dialogue in both]
    assert plain.reply(both) == expected
    assert plain.reply(both[1:]) == expected[1:]
    plain.forget()
    assert plain.reply(both[1:]) == expected[1:]


@torch.no_grad()
def test_the_cache_is_kept_within_bounds(engine: Engine, fed: list[tuple[int, ...]]) -> None:
    turns: list[Dialogue] = [(asked(f"Who is number {n}?", [A]),) for n in range(4)]
    length = len(engine.encoder.encode(turns[0]).ids)
    answering = ChatGenerator(engine, Drawing(0.0, 5, tokens_at_once=2 * 2 * (length + 5)))
    answering.reply([turn for turn in turns for _ in range(2)])
    assert [shape[0] for shape in fed] == [2, 2]
    fed.clear()
    ChatGenerator(engine, Drawing(0.0, 5, tokens_at_once=1)).reply(turns)
    assert [shape[0] for shape in fed] == [1, 1, 1, 1]
    fed.clear()
    ChatGenerator(engine, Drawing(0.0, 5)).reply(turns)
    assert [shape[0] for shape in fed] == [4]
