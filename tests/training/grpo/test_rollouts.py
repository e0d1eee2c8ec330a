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
from thinkseg.training.grpo.rollouts import LocalRollouts, roll_out
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


def local(engine: Engine, sampling: SamplingParams) -> LocalRollouts:
    return LocalRollouts(engine, view_for(engine), sampling)


class Counted:
    """A model that records the shapes of the inputs of its own forward pass, which prefills."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.device = inner, inner.device
        self.model, self.lm_head = inner.model, inner.lm_head
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, **inputs: Any) -> Any:
        self.shapes.append(tuple(inputs["input_ids"].shape))
        return self.inner(**inputs)


class Scripted(Engine):
    """An engine that prefills with its model and returns given replies, in the order of the requests."""

    def __init__(self, inner: Engine, lines: Sequence[str]) -> None:
        super().__init__(inner.model, inner.encoder, inner.vision)
        self.lines = list(lines)
        self.prefilled: list[tuple[list[EncodedDialogue], PrefixCache]] = []

    def prefill(self, dialogues: Sequence[EncodedDialogue], *rest: Any, **options: Any) -> PrefixCache:
        prefix = super().prefill(dialogues, *rest, **options)
        self.prefilled.append((list(dialogues), prefix))
        return prefix

    def decode(self, prefix: PrefixCache, rows: Sequence[int], *_: Any) -> list[Completion]:
        completions = []
        for _row in rows:
            ids = self.encoder.tokenizer(self.lines.pop(0), add_special_tokens=False)["input_ids"]
            completions.append(Completion((*ids, self.encoder.end_id), False))
        return completions


def test_roll_out_temperature_0_matches_inference(engine: Engine) -> None:
    view, some_prompts = view_for(engine), prompts()
    groups = roll_out(some_prompts, CHAINS["veason"], local(engine, sampling(temperature=0)), view, 2, seeds=range(3))
    policy = QwenPolicy(engine.model, engine.encoder, view, sampling=SamplingParams(max_new_tokens=LIMIT))
    expected = run_chains([CHAINS["veason"](p.sample, view, indices=p.frame_indices) for p in some_prompts], policy)
    assert [len(group) for group in groups] == [2, 2, 2]
    for group, one in zip(groups, expected, strict=True):
        for outcome in group:
            assert outcome.replies == one.replies
            assert (outcome.failure, outcome.truncated) == (one.failure, one.truncated)


def test_roll_out_group_shares_prompt_and_keeps_sampled_tokens(engine: Engine) -> None:
    groups = roll_out(prompts(), CHAINS["veason"], local(engine, sampling()), view_for(engine), 4, seeds=range(3))
    for group in groups:
        assert len({id(outcome.dialogue[0]) for outcome in group}) == 1
        assert len({outcome.replies for outcome in group}) > 1
        for outcome in group:
            reply = outcome.dialogue[1]
            assert isinstance(reply, GeneratedText)
            assert (
                engine.encoder.text(
                    reply.token_ids[:-1] if reply.token_ids[-1] == engine.encoder.end_id else reply.token_ids
                )
                == reply
            )
            encoded = engine.encoder.encode(outcome.dialogue)
            assert tuple(encoded.labels[encoded.labels != IGNORED].tolist()) == reply.token_ids
            assert outcome.num_tokens == len(reply.token_ids) - (not outcome.truncated)


def test_roll_out_group_decodes_frames_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = PromptDataset([PromptSource(name="shapes")], num_frames=2, seed=0)[0]
    decoded: list[int] = []
    inner = type(prompt.sample.video._inner)  # type: ignore[attr-defined]
    read = inner.read

    def counted(self: Any, indices: Sequence[int]) -> Any:
        decoded.extend(indices)
        return read(self, indices)

    monkeypatch.setattr(inner, "read", counted)
    roll_out([prompt], CHAINS["veason"], local(engine, sampling()), view_for(engine), 5, seeds=[0])
    assert sorted(decoded) == list(prompt.frame_indices)


def test_roll_out_group_prefills_prompt_once(engine: Engine) -> None:
    model = Counted(engine.model)
    engine.model = model
    roll_out(prompts(), CHAINS["veason"], local(engine, sampling()), view_for(engine), 6, seeds=range(3))
    assert [shape[0] for shape in model.shapes] == [3]  # all prompts together, each once


def test_roll_out_small_max_cache_tokens_prefills_one_prompt_at_a_time(engine: Engine) -> None:
    view = view_for(engine)
    together = roll_out(prompts(), CHAINS["veason"], local(engine, sampling(temperature=0)), view, 3, seeds=range(3))
    model = Counted(engine.model)
    engine.model = model
    parts = roll_out(
        prompts(), CHAINS["veason"], local(engine, sampling(temperature=0, max_cache_tokens=1)), view, 3, seeds=range(3)
    )
    assert [shape[0] for shape in model.shapes] == [1, 1, 1]
    assert [[o.replies for o in group] for group in parts] == [[o.replies for o in group] for group in together]


def test_roll_out_same_seed_samples_same_replies(engine: Engine) -> None:
    view = view_for(engine)

    def replies(seed: int) -> list[tuple[str, ...]]:
        groups = roll_out(prompts(1), CHAINS["veason"], local(engine, sampling()), view, 4, [seed])
        return [outcome.replies for outcome in groups[0]]

    assert replies(5) == replies(5)
    assert replies(5) != replies(6)


def test_roll_out_revseg_prefills_second_turns_only(engine: Engine) -> None:
    """Some rollouts end after one turn. Each of the others has its own image in the second."""
    lines = [WHEN, "no tags", NONE, WHEN, WHEN, NONE, WHERE, WHERE, "junk"]
    scripted = Scripted(engine, lines)
    groups = roll_out(prompts(2), CHAINS["revseg"], local(scripted, sampling()), view_for(engine), 3, seeds=range(2))
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
