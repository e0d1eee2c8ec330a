from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import EncodedDialogue, Encoder
from thinkseg.models.policies.qwen.generation import Completion, Engine, _compacted
from thinkseg.models.policies.qwen.token_step import TokenStep
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.types import Dialogue, Turn
from tinymodels import asked, picture

NEW_TOKENS = 12
GREEDY = SamplingParams(max_new_tokens=NEW_TOKENS)


def engine(folder: Path) -> Engine:
    return Engine(load_model(folder, "fp32"), Encoder.load(folder))


def prompts(size_wh: tuple[int, int]) -> list[Dialogue]:
    wide = (2 * size_wh[0], size_wh[1])
    return [
        (asked("Where is the red star?", [picture(0, size_wh), picture(2, wide)]),),
        (asked("?", [picture(1, size_wh)]),),
        (Turn(("And without a picture?",)),),
    ]


SIZES = {"qwen2_5": (56, 56), "qwen3": (64, 64)}


@pytest.fixture(params=sorted(SIZES))
def kind(request: pytest.FixtureRequest) -> tuple[Path, tuple[int, int]]:
    return request.getfixturevalue(request.param), SIZES[request.param]


@torch.no_grad()
def full_logits(one: Engine, encoded: EncodedDialogue) -> torch.Tensor:
    """Logits after a dialogue, from one plain forward pass of the stock model."""
    ids = torch.from_numpy(encoded.input_ids)[None]
    images: dict[str, Any] = {}
    if encoded.images:
        images = {"pixel_values": torch.cat(encoded.images), "image_grid_thw": encoded.image_grid_thw}
    kinds = (ids == one.encoder.image_pad_id).int()
    return one.model(input_ids=ids, mm_token_type_ids=kinds, **images).logits[0, -1]


@torch.no_grad()
def stock(one: Engine, dialogue: Dialogue) -> Completion:
    """The greedy completion of the stock `generate`."""
    encoded, encoder = one.encoder.encode(dialogue), one.encoder
    ids = torch.from_numpy(encoded.input_ids)[None]
    images = {"pixel_values": encoded.pixel_values, "image_grid_thw": encoded.image_grid_thw} if encoded.images else {}
    settings = GenerationConfig(
        max_new_tokens=NEW_TOKENS, eos_token_id=encoder.end_id, pad_token_id=0, suppress_tokens=encoder.suppressed_ids()
    )
    written = one.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == encoder.image_pad_id).int(),
        generation_config=settings,
        **images,
    )
    tokens = tuple(written[0, len(encoded.input_ids) :].tolist())
    return Completion(tokens, tokens[-1] != encoder.end_id)


@torch.no_grad()
def test_prefill_logits_match_plain_forward(kind: tuple[Path, tuple[int, int]]) -> None:
    one = engine(kind[0])
    encoded = [one.encoder.encode(dialogue) for dialogue in prompts(kind[1])]
    prefix = one.prefill(encoded)
    for row, each in enumerate(encoded):
        torch.testing.assert_close(prefix.logits[row], full_logits(one, each), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_decode_matches_stock_generate(kind: tuple[Path, tuple[int, int]]) -> None:
    folder, size_wh = kind
    one, dialogues = engine(folder), prompts(size_wh)
    expected = [stock(one, dialogue) for dialogue in dialogues]
    prefix = one.prefill([one.encoder.encode(dialogue) for dialogue in dialogues])
    rows = [2, 0, 0, 1, 2]
    completions = one.decode(prefix, rows, GREEDY)
    assert completions == [expected[row] for row in rows]
    # Decoding leaves the prefix unchanged.
    assert one.decode(prefix, [0, 1], GREEDY) == [completions[1], completions[3]]


@torch.no_grad()
def test_prefill_second_turn_extends_first(kind: tuple[Path, tuple[int, int]]) -> None:
    folder, size_wh = kind
    one = engine(folder)
    first = prompts(size_wh)[:2]
    encoder = one.encoder
    prefix = one.prefill([encoder.encode(dialogue) for dialogue in first])
    lengths = [len(encoder.encode(dialogue).input_ids) for dialogue in first]
    later: list[Dialogue] = [
        (*first[1], "It is there.", asked("Where exactly, in this one?", [picture(3, size_wh)])),
        (*first[0], "Yes", asked("Where?", [picture(4, (size_wh[0], 2 * size_wh[1]))])),
        (*first[1], "No", Turn(("Why?",))),
    ]
    rows = [1, 0, 1]
    encoded = [encoder.encode(dialogue) for dialogue in later]
    again = one.prefill(encoded, prefix, rows, [lengths[row] for row in rows])
    for row, each in enumerate(encoded):
        torch.testing.assert_close(again.logits[row], full_logits(one, each), atol=1e-5, rtol=1e-4)
    assert one.decode(again, [0, 1, 2], GREEDY) == [stock(one, dialogue) for dialogue in later]


@torch.no_grad()
def test_decode_finished_rows_leave_batch(qwen2_5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a likely end token, completions end at different steps: each is complete, and the batch shrinks."""
    one = engine(qwen2_5)
    prefix = one.prefill([one.encoder.encode((Turn(("Say something.",)),))])
    fed: list[int] = []
    logits_of = TokenStep.logits

    def counted(self: TokenStep, tokens: torch.Tensor, *rest: Any) -> torch.Tensor:
        fed.append(len(tokens))
        return logits_of(self, tokens, *rest)

    monkeypatch.setattr(TokenStep, "logits", counted)
    end = one.encoder.end_id
    pick = one._pick

    def hasty(logits: torch.Tensor, temperature: float, random: Any) -> torch.Tensor:
        logits = logits.clone()
        logits[:, end] = logits.logsumexp(-1) - 1.5  # ends about every fifth time
        return pick(logits, temperature, random)

    one._pick = hasty  # type: ignore[method-assign]
    completions = one.decode(prefix, [0] * 32, SamplingParams(1.0, 10), range(32))
    lengths = np.array([len(each.token_ids) for each in completions])
    for each in completions:
        assert each.truncated == (each.token_ids[-1] != end)
        assert end not in each.token_ids[:-1]
        assert len(each.token_ids) <= 10
        assert not each.truncated or len(each.token_ids) == 10
    assert len(set(lengths)) > 4
    assert fed == [(lengths > step).sum() for step in range(1, max(lengths))]


def test_compacted_last_rows_fill_gaps() -> None:
    assert _compacted([0, 2, 5]) == [0, 5, 2]
    assert _compacted([0, 1]) == [0, 1]
    assert _compacted([]) == []


@torch.no_grad()
def test_decode_sampled_depends_on_seed_only(qwen2_5: Path) -> None:
    one = engine(qwen2_5)
    prefix = one.prefill([one.encoder.encode(prompts((56, 56))[0])])

    def completions(*seeds: int) -> list[Completion]:
        return one.decode(prefix, [0] * len(seeds), SamplingParams(1.0, NEW_TOKENS), seeds)

    assert completions(1, 2, 3, 2) == [*completions(1), *completions(2), *completions(3, 2)]
    assert len(set(completions(1, 2, 3, 4))) == 4


@torch.no_grad()
def test_pick_sampled_matches_probabilities(qwen2_5: Path) -> None:
    one = engine(qwen2_5)
    allowed = [i for i in range(20) if i not in one.encoder.suppressed_ids()][:3]
    logits = torch.full((1, 420), -torch.inf)
    logits[0, allowed] = torch.tensor([0.1, 0.3, 0.6]).log()
    random = torch.linspace(0, 1 - 2**-24, 1000)
    tokens = one._pick(logits.expand(1000, -1).clone(), 1.0, random)
    assert [(tokens == token).sum().item() for token in allowed] == [100, 300, 600]


@torch.no_grad()
def test_decode_never_samples_control_tokens(qwen2_5: Path) -> None:
    one = engine(qwen2_5)
    prefix = one.prefill([one.encoder.encode((asked("?", [picture(1)]),))])
    completions = one.decode(prefix, [0] * 64, SamplingParams(3.0, 8), range(64))
    forbidden = set(one.encoder.suppressed_ids())
    assert forbidden
    assert not forbidden & {token for each in completions for token in each.token_ids}


@torch.no_grad()
def test_prefill_computes_features_once_per_image(
    kind: tuple[Path, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, size_wh = kind
    one = engine(folder)
    seen: list[int] = []
    get = one.model.model.get_image_features

    def counted(pixels: torch.Tensor, grids: torch.Tensor, **settings: Any) -> Any:
        seen.append(len(grids))
        return get(pixels, grids, **settings)

    monkeypatch.setattr(one.model.model, "get_image_features", counted)
    a, b = picture(0, size_wh), picture(1, size_wh)
    first: Dialogue = (asked("Where?", [a, b]),)
    before = one.prefill([one.encoder.encode(first)])
    one.prefill([one.encoder.encode((asked("And now?", [b.copy(), a]),))])
    assert seen == [2]
    later = one.encoder.encode((*first, "Here.", asked("Here?", [picture(2, size_wh)])))
    one.prefill([later], before, [0], [len(one.encoder.encode(first).input_ids)])
    assert seen == [2, 1]
    one.vision.clear()
    one.prefill([one.encoder.encode(first)])
    assert seen == [2, 1, 2]
