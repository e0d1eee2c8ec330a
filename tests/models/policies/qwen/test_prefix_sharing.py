from pathlib import Path
from typing import Any

import pytest
import torch

from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import Encoder, GeneratedText
from thinkseg.models.policies.qwen.generation import Engine
from thinkseg.models.policies.qwen.prefix_sharing import ChatGenerator, share_turns
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.types import Dialogue, Turn
from tinymodels import asked, picture

A, B = picture(0), picture(1)


@pytest.fixture
def engine(qwen2_5: Path) -> Engine:
    return Engine(load_model(qwen2_5, "fp32"), Encoder.load(qwen2_5))


@pytest.fixture
def fed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the prefill inputs of the model."""
    shapes: list[tuple[int, ...]] = []
    forward = engine.model.forward

    def counted(**inputs: Any) -> Any:
        if inputs["input_ids"].shape[1] > 1:
            shapes.append(tuple(inputs["input_ids"].shape))
        return forward(**inputs)

    monkeypatch.setattr(engine.model, "forward", counted)
    return shapes


def test_share_turns_makes_equal_first_turns_identical() -> None:
    one, same, other = asked("Who?", [A]), asked("Who?", [A.copy()]), asked("Who?", [B])
    words = Turn(("Who?",))
    found = share_turns([(one,), (same, "He.", words), (other,), (words,), (words, "x")])
    assert [d[0] for d in found] == [one, one, other, words, words]
    assert found[1][1:] == ("He.", words)
    assert share_turns([(same,)], known=[one])[0][0] is one


@torch.no_grad()
def test_chat_generator_prefills_equal_dialogues_once(engine: Engine, fed: list[tuple[int, ...]]) -> None:
    generator = ChatGenerator(engine, SamplingParams(temperature=1.0, max_new_tokens=3))
    dialogues: list[Dialogue] = [(asked("Who?", [A.copy()]),) for _ in range(5)]
    later = asked("And now?", [B])
    dialogues += [(asked("Who?", [B]), reply, later) for reply in ("Me.", "Me.", "You.")]
    replies = generator.reply(dialogues, range(8))
    assert len(replies) == 8
    assert [shape[0] for shape in fed] == [3]


@torch.no_grad()
def test_chat_generator_equal_texts_of_other_tokens_are_distinct(engine: Engine, fed: list[tuple[int, ...]]) -> None:
    generator = ChatGenerator(engine, SamplingParams(0.0, 2))
    end = engine.encoder.end_id
    said = [GeneratedText("He", [40, end]), GeneratedText("He", [41, 42, end])]
    turn, later = asked("Who?", [A]), Turn(("Why?",))
    generator.reply([(turn, one, later) for one in said], [0, 0])
    assert [shape[0] for shape in fed] == [2]


@torch.no_grad()
def test_chat_generator_first_and_second_turn_in_one_batch(engine: Engine) -> None:
    plain = ChatGenerator(engine, SamplingParams(0.0, 4))
    turn, later = asked("Who?", [A]), asked("Where?", [B])
    both: list[Dialogue] = [(turn,), (turn, "He.", later)]
    expected = [ChatGenerator(engine, SamplingParams(0.0, 4)).reply([dialogue], [0])[0] for dialogue in both]
    assert plain.reply(both, [0, 0]) == expected
    assert plain.reply(both[1:], [0]) == expected[1:]
    plain.clear()
    assert plain.reply(both[1:], [0]) == expected[1:]


@torch.no_grad()
@pytest.mark.parametrize(("spare", "prefilled"), [(0, [2, 2]), (-1, [1, 1, 1, 1]), (10**6, [4])])
def test_chat_generator_counts_a_shared_prompt_once(
    engine: Engine, fed: list[tuple[int, ...]], spare: int, prefilled: list[int]
) -> None:
    """Two prompts with three replies of five tokens each fit into the limit exactly, and need each of these tokens."""
    turns: list[Dialogue] = [(asked(f"Who is number {n}?", [A]),) for n in range(4)]
    length = len(engine.encoder.encode(turns[0]).input_ids)
    limit = 2 * length + 2 * 3 * 5 + spare
    generator = ChatGenerator(engine, SamplingParams(0.0, 5, max_cache_tokens=limit))
    generator.reply([turn for turn in turns for _ in range(3)], range(12))
    assert [shape[0] for shape in fed] == prefilled


@torch.no_grad()
def test_chat_generator_second_turns_count_their_own_prompts(engine: Engine, fed: list[tuple[int, ...]]) -> None:
    """Each second turn holds a copy of its first turn, so that two of four fit."""
    turn, later = asked("Who?", [A]), Turn(("Why?",))
    dialogues: list[Dialogue] = [(turn, f"It is {n}.", later) for n in range(4)]
    length = len(engine.encoder.encode(dialogues[0]).input_ids)
    generator = ChatGenerator(engine, SamplingParams(0.0, 5, max_cache_tokens=2 * (length + 5)))
    generator.reply([(turn,)] * 4, range(4))
    generator.reply(dialogues, range(4))
    assert [shape[0] for shape in fed] == [1, 2, 2]


@torch.no_grad()
def test_chat_generator_without_room_decodes_one_prompt_per_part(engine: Engine, fed: list[tuple[int, ...]]) -> None:
    turns: list[Dialogue] = [(asked(f"Who is number {n}?", [A]),) for n in range(3)]
    ChatGenerator(engine, SamplingParams(0.0, 5, max_cache_tokens=1)).reply(turns, range(3))
    assert [shape[0] for shape in fed] == [1, 1, 1]
