from collections.abc import Sequence
from typing import Any

import pytest
import torch

from thinkseg.chains import CHAINS
from thinkseg.data.shapes import load
from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import IGNORED, EncodedDialogue, Encoder, GeneratedText
from thinkseg.models.policies.qwen.generation import Completion, Engine, PrefixCache
from thinkseg.models.policies.qwen.policy import QwenPolicy
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.pipeline import run_chains
from thinkseg.rewards import Prompt
from thinkseg.training.grpo.prompt_sampler import PromptDataset
from thinkseg.training.grpo.recipe import PromptSource
from thinkseg.training.grpo.rollouts import roll_out
from thinkseg.types import Outcome, View

LIMIT = 10
WHEN = '<think>There.</think><answer>[{"frame_idx": 1, "object description": "a ball"}]</answer>'
NONE = "<think>No.</think><answer>[]</answer>"
WHERE = '[{"bbox_2d": [1, 2, 30, 40]}]'


def prompts(count: int = 3) -> list[Prompt]:
    made = []
    for index in range(count):
        sample = load("train", index, (64, 64))
        made.append(Prompt(sample, (1, len(sample.video) // 2)))
    return made


def sampling(temperature: float = 1.0, max_cache_tokens: int = 100_000, seed: int = 0) -> SamplingParams:
    return SamplingParams(temperature, LIMIT, seed, max_cache_tokens)


@pytest.fixture(params=["qwen2_5", "qwen3"])
def engine(request: pytest.FixtureRequest) -> Engine:
    folder = request.getfixturevalue(request.param)
    return Engine(load_model(folder, "fp32"), Encoder.load(folder))


def view_for(engine: Engine) -> View:
    side = 2 * engine.encoder.size_multiple
    coordinates = "pixels" if engine.encoder.size_multiple == 28 else "normalized_1000"
    return View(2, (side, side), coordinates)


class Counted:
    """A model that remembers the shapes of what it was fed."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.device = inner, inner.device
        self.fed: list[tuple[int, ...]] = []

    def __call__(self, **inputs: Any) -> Any:
        self.fed.append(tuple(inputs["input_ids"].shape))
        return self.inner(**inputs)


class Scripted(Engine):
    """An engine that reads with its model, and writes what it is told to, in the order in which it is asked."""

    def __init__(self, inner: Engine, lines: Sequence[str]) -> None:
        super().__init__(inner.model, inner.encoder, inner.vision)
        self.lines = list(lines)
        self.prefilled: list[tuple[list[EncodedDialogue], PrefixCache]] = []

    def prefill(self, dialogues: Sequence[EncodedDialogue], *rest: Any) -> PrefixCache:
        prefix = super().prefill(dialogues, *rest)
        self.prefilled.append((list(dialogues), prefix))
        return prefix

    def decode(self, prefix: PrefixCache, rows: Sequence[int], *_: Any) -> list[Completion]:
        drawn = []
        for _row in rows:
            ids = self.encoder.tokenizer(self.lines.pop(0), add_special_tokens=False)["input_ids"]
            drawn.append(Completion((*ids, self.encoder.end_id), False))
        return drawn


def test_the_likeliest_rollouts_are_what_inference_says(engine: Engine) -> None:
    view, asked = view_for(engine), prompts()
    groups = roll_out(asked, CHAINS["veason"], engine, view, 2, sampling(temperature=0), seeds=range(3))
    policy = QwenPolicy(engine.model, engine.encoder, view, sampling=SamplingParams(max_new_tokens=LIMIT))
    expected = run_chains([CHAINS["veason"](p.sample, view, indices=p.frame_indices) for p in asked], policy)
    assert [len(group) for group in groups] == [2, 2, 2]
    for group, one in zip(groups, expected, strict=True):
        for outcome in group:
            assert outcome.replies == one.replies
            assert (outcome.failure, outcome.truncated) == (one.failure, one.truncated)


def test_a_group_shares_its_prompt_and_keeps_its_tokens(engine: Engine) -> None:
    groups = roll_out(prompts(), CHAINS["veason"], engine, view_for(engine), 4, sampling(), seeds=range(3))
    for group in groups:
        assert len({id(outcome.dialogue[0]) for outcome in group}) == 1
        assert len({outcome.replies for outcome in group}) > 1
        for outcome in group:
            said = outcome.dialogue[1]
            assert isinstance(said, GeneratedText)
            assert (
                engine.encoder.text(
                    said.token_ids[:-1] if said.token_ids[-1] == engine.encoder.end_id else said.token_ids
                )
                == said
            )
            encoded = engine.encoder.encode(outcome.dialogue)
            assert tuple(encoded.labels[encoded.labels != IGNORED].tolist()) == said.token_ids
            assert outcome.num_tokens == len(said.token_ids) - (not outcome.truncated)


def test_frames_of_a_group_are_decoded_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = PromptDataset([PromptSource(name="shapes")], num_frames=2, seed=0)[0]
    decoded: list[int] = []
    inner = type(prompt.sample.video._inner)  # type: ignore[attr-defined]
    read = inner.read

    def counted(self: Any, indices: Sequence[int]) -> Any:
        decoded.extend(indices)
        return read(self, indices)

    monkeypatch.setattr(inner, "read", counted)
    roll_out([prompt], CHAINS["veason"], engine, view_for(engine), 5, sampling(), seeds=[0])
    assert sorted(decoded) == list(prompt.frame_indices)


def test_a_prompt_is_read_once_for_its_group(engine: Engine) -> None:
    model = Counted(engine.model)
    engine.model = model
    roll_out(prompts(), CHAINS["veason"], engine, view_for(engine), 6, sampling(), seeds=range(3))
    assert model.fed[0][0] == 3  # all prompts together, each once
    assert model.fed[1] == (18, 1)


def test_memory_is_kept_to(engine: Engine) -> None:
    """As few prompts at a time as fit, one at least; each in one piece."""
    view = view_for(engine)
    whole = roll_out(prompts(), CHAINS["veason"], engine, view, 3, sampling(temperature=0), seeds=range(3))
    model = Counted(engine.model)
    engine.model = model
    parts = roll_out(
        prompts(), CHAINS["veason"], engine, view, 3, sampling(temperature=0, max_cache_tokens=1), seeds=range(3)
    )
    assert [fed[0] for fed in model.fed if fed[1] > 1] == [1, 1, 1]
    assert [[o.replies for o in group] for group in parts] == [[o.replies for o in group] for group in whole]


def test_a_seed_draws_the_same_again(engine: Engine) -> None:
    view = view_for(engine)

    def said(seed: int) -> list[tuple[str, ...]]:
        groups = roll_out(prompts(1), CHAINS["veason"], engine, view, 4, sampling(), [seed])
        return [outcome.replies for outcome in groups[0]]

    assert said(5) == said(5)
    assert said(5) != said(6)


def test_two_turns_go_on_from_the_prompt(engine: Engine) -> None:
    """Some rollouts end after one turn; the others' second turns are read on top of the first, each with its image."""
    lines = [WHEN, "no tags", NONE, WHEN, WHEN, NONE, WHERE, WHERE, "junk"]
    scripted = Scripted(engine, lines)
    groups = roll_out(prompts(2), CHAINS["revseg"], scripted, view_for(engine), 3, sampling(), seeds=range(2))
    assert not scripted.lines
    failures = [[outcome.failure for outcome in group] for group in groups]
    assert failures == [[None, "invalid_tags", None], [None, "invalid_json", None]]
    assert [len(outcome.dialogue) for group in groups for outcome in group] == [4, 2, 2, 4, 4, 2]
    found: list[Outcome] = [outcome for group in groups for outcome in group if len(outcome.dialogue) == 4]
    second, reading = scripted.prefilled[1]
    assert len(second) == len(found) == 3
    with torch.no_grad():
        for row, (encoded, outcome) in enumerate(zip(second, found, strict=True)):
            assert (encoded.input_ids == engine.encoder.encode(outcome.dialogue[:3]).input_ids).all()
            ids = torch.from_numpy(encoded.input_ids)[None]
            logits = engine.model(
                input_ids=ids,
                mm_token_type_ids=(ids == engine.encoder.image_pad_id).int(),
                pixel_values=encoded.pixel_values,
                image_grid_thw=encoded.image_grid_thw,
            ).logits[0, -1]
            torch.testing.assert_close(reading.logits[row], logits, atol=1e-5, rtol=1e-4)
