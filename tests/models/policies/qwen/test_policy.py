import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from thinkseg.chains import veason
from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.policies.qwen.policy import QwenPolicy
from thinkseg.models.policies.sampling import SamplingParams
from thinkseg.pipeline import run_chains, segment_samples
from thinkseg.prompts import BUILT_IN
from thinkseg.types import Answer, Chain, Reply, Turn, VideoSample, View
from tinymodels import VIEW, asked, picture

A, B, WIDE = picture(0), picture(1), picture(2, (112, 28))
DIALOGUES = [
    (asked("Where is the red star?", [A, WIDE]),),
    (asked("?", [B]),),
    (asked("When does it leave? Think about all the frames first.", [A, B, WIDE]), "Now.", asked("Where?", [B])),
    (Turn(("And without a picture?",)),),
]


def policy(folder: Path, **settings: Any) -> QwenPolicy:
    return QwenPolicy.load(folder, device="cpu", **{"max_new_tokens": 12, **settings})


def texts(replies: list[Reply]) -> list[str]:
    return [reply.text for reply in replies]


@pytest.fixture
def folder(qwen2_5: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(qwen2_5, tmp_path / "model"))


def written(folder: Path, tokens: list[int], **settings: Any) -> Reply:
    """The reply of a policy whose model predicts these tokens in order."""
    one = policy(folder, **settings)
    ahead = list(tokens)
    forward = one.model.lm_head.forward

    def steered(hidden: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros_like(forward(hidden))
        logits[..., ahead.pop(0)] = 1.0
        return logits

    one.model.lm_head.forward = steered
    return one.reply([DIALOGUES[1]])[0]


def test_policy_has_traits_of_its_checkpoint(qwen2_5: Path, qwen3: Path) -> None:
    one, other = policy(qwen2_5), policy(qwen3)
    assert (one.coordinates, one.size_multiple, one.view) == ("pixels", 28, replace(VIEW, prompts=BUILT_IN))
    assert (other.coordinates, other.size_multiple, other.view.frame_wh) == ("normalized_1000", 32, (64, 64))
    assert one.name == str(qwen2_5)


def test_reply_batch_equals_single_dialogues(qwen2_5: Path) -> None:
    one = policy(qwen2_5)
    together = one.reply(DIALOGUES)
    assert together == [reply for dialogue in DIALOGUES for reply in one.reply([dialogue])]
    assert len(set(texts(together))) == len(DIALOGUES)


def test_reply_batch_of_qwen3_equals_single_dialogues(qwen3: Path) -> None:
    one = policy(qwen3)
    dialogues = [(asked("Where?", [picture(0, (64, 64))]),), (asked("Who goes there?", [picture(1, (32, 64))] * 2),)]
    assert one.reply(dialogues) == [reply for dialogue in dialogues for reply in one.reply([dialogue])]


def test_reply_depends_on_image(qwen2_5: Path, qwen3: Path) -> None:
    for folder, size_wh in ((qwen2_5, (56, 56)), (qwen3, (64, 64))):
        replies = policy(folder).reply([(asked("Where?", [picture(i, size_wh)]),) for i in range(4)])
        assert len(set(texts(replies))) == 4


def test_reply_without_dialogues_returns_nothing(qwen2_5: Path) -> None:
    assert policy(qwen2_5).reply([]) == []


def test_reply_greedy_takes_most_likely_tokens(qwen2_5: Path) -> None:
    """Against plain forward passes over the whole text, token by token."""
    one = policy(qwen2_5, max_new_tokens=5)
    prompt = one.encoder.encode(DIALOGUES[0])
    ids = torch.from_numpy(prompt.input_ids)[None]
    for _ in range(5):
        with torch.no_grad():
            logits = one.model(
                input_ids=ids,
                mm_token_type_ids=(ids == one.encoder.image_pad_id).int(),
                pixel_values=prompt.pixel_values,
                image_grid_thw=prompt.image_grid_thw,
            ).logits[0, -1]
        logits[one.encoder.suppressed_ids()] = -torch.inf
        ids = torch.cat([ids, logits.argmax()[None, None]], 1)
    expected = one.encoder.tokenizer.decode(ids[0, len(prompt.input_ids) :], skip_special_tokens=True)
    assert one.reply([DIALOGUES[0]])[0].text == expected


def test_reply_sampled_depends_on_its_seed_only(qwen2_5: Path) -> None:
    """Not on the batch that it is in, nor on earlier calls: a resumed run samples what an uninterrupted one does."""
    seeds = [11, 12, 13, 14]
    together = policy(qwen2_5, temperature=1.0, seed=3).reply(DIALOGUES, seeds)
    one = policy(qwen2_5, temperature=1.0, seed=3)
    assert [*one.reply(DIALOGUES[2:], seeds[2:]), *one.reply(DIALOGUES[:2], seeds[:2])] == [
        *together[2:],
        *together[:2],
    ]
    assert one.reply(DIALOGUES[1:2], [99]) != together[1:2]


def test_segment_samples_at_a_temperature_equals_any_subset(qwen2_5: Path, question: Any, box_tracker: Any) -> None:
    """Four samples in one run, or two and then the other two in a run that resumes, in batches of any size."""
    samples = [question(name) for name in ("red", "blue", "long", "shy")]

    def replies(part: list[VideoSample], batch_size: int) -> list[str]:
        one = policy(qwen2_5, temperature=1.0)
        done = segment_samples(part, veason, one, box_tracker, View(2, (56, 28)), batch_size)
        return [str(result.dialogue[1]) for result in done]

    together = replies(samples, 4)
    assert len(set(together)) == 4
    assert replies(samples[:2], 2) + replies(samples[2:], 2) == together
    assert replies(samples[::-1], 3)[::-1] == together


def test_run_chains_frees_the_kv_cache(qwen2_5: Path) -> None:
    """While the tracker works on a batch, its keys and values take no memory."""

    def ask() -> Chain:
        yield DIALOGUES[0][0]
        cached.append(len(one._generator._cached))
        return Answer("", None, np.zeros((0, 4), np.float32))

    cached: list[int] = []
    one = policy(qwen2_5)
    run_chains([ask()], one)
    assert cached == [1]
    assert not one._generator._cached


def test_reply_sampled_differs_for_all_seeds(qwen2_5: Path) -> None:
    """As they would if the policy's seed and that of the reply were added."""
    said = []
    for seed in range(3):
        said += texts(policy(qwen2_5, temperature=1.0, seed=seed).reply(DIALOGUES[:1] * 3))
    assert len(set(said)) == 9


def test_reply_sampled_equal_dialogues_differ(qwen2_5: Path) -> None:
    replies = policy(qwen2_5, temperature=1.0).reply([DIALOGUES[0]] * 4)
    assert len(set(texts(replies))) == 4


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_reply_leaves_global_random_state(qwen2_5: Path, temperature: float) -> None:
    one = policy(qwen2_5, temperature=temperature)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one.reply(DIALOGUES[:1])
    assert torch.equal(torch.rand(3), expected)


def test_reply_stops_at_end_of_turn(qwen2_5: Path) -> None:
    tokenizer = policy(qwen2_5).encoder.tokenizer
    here, end = tokenizer("Here.")["input_ids"], tokenizer.convert_tokens_to_ids("<|im_end|>")
    asked = len(policy(qwen2_5).encoder.encode(DIALOGUES[1]).input_ids)
    assert written(qwen2_5, [*here, end, *here]) == Reply("Here.", len(here), False, num_prompt_tokens=asked)
    assert written(qwen2_5, [*here[:1], end]) == Reply(tokenizer.decode(here[:1]), 1, False, num_prompt_tokens=asked)
    long = written(qwen2_5, [*here, *here], max_new_tokens=len(here) + 2)
    assert (long.num_tokens, long.truncated) == (len(here) + 2, True)


def test_reply_of_exact_limit_is_not_truncated(qwen2_5: Path) -> None:
    end = policy(qwen2_5).encoder.end_id
    assert written(qwen2_5, [300, 301, end], max_new_tokens=3).truncated is False
    assert written(qwen2_5, [300, 301, 302, end], max_new_tokens=3).truncated is True


def test_reply_counts_prompt_tokens_of_every_turn(qwen2_5: Path) -> None:
    one = policy(qwen2_5)
    for dialogues in (DIALOGUES, [(*DIALOGUES[0], "Now.", asked("Where?", [B]))]):
        lengths = [len(one.encoder.encode(dialogue).input_ids) for dialogue in dialogues]
        assert [reply.num_prompt_tokens for reply in one.reply(dialogues)] == lengths


def test_reply_is_truncated_at_limit(qwen2_5: Path) -> None:
    reply = policy(qwen2_5, max_new_tokens=4).reply([DIALOGUES[0]])[0]
    assert (reply.num_tokens, reply.truncated) == (4, True)


def test_reply_stops_at_end_tokens_of_checkpoint(folder: Path) -> None:
    """Qwen2.5-VL names two, <|im_end|> and <|endoftext|>."""
    one = policy(folder)
    end, text = one.encoder.end_id, one.encoder.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [end, text]}))
    for last in (text, end):
        reply = written(folder, [300, last, 301])
        assert (reply.text, reply.num_tokens, reply.truncated) == (one.encoder.text([300]), 1, False)


def test_reply_second_turn_extends_cached_first_turn(qwen2_5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The replies equal those without a cached first turn, and only the new tokens are prefilled."""
    first = [(asked("When? Look at all the frames.", [A, B, WIDE]),), (asked("When?", [WIDE]),)]
    later = [(*first[1], "Now.", asked("Where?", [A])), (*first[0], "Then.", asked("Where?", [B]))]
    one, fresh = policy(qwen2_5), policy(qwen2_5)
    one.reply(first)
    read: list[int] = []
    forward = one.model.forward

    def counted(**inputs: Any) -> Any:
        read.append(inputs["input_ids"].shape[1])
        return forward(**inputs)

    monkeypatch.setattr(one.model, "forward", counted)
    assert one.reply(later) == fresh.reply(later)
    assert read[0] == max(
        len(one.encoder.encode(d).input_ids) - len(one.encoder.encode(d[:1]).input_ids) for d in later
    )
    # A first turn leaves the cache when no dialogue continues it.
    one.reply([DIALOGUES[1]])
    read.clear()
    assert one.reply(later) == fresh.reply(later)
    assert read[0] == max(len(one.encoder.encode(d).input_ids) for d in later)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_reply_ignores_generation_config_of_checkpoint(qwen2_5: Path, folder: Path, temperature: float) -> None:
    own = json.loads((folder / "generation_config.json").read_text())
    own |= {"do_sample": True, "temperature": 0.1, "top_k": 1, "top_p": 0.01, "min_p": 0.9, "repetition_penalty": 5.0}
    own |= {"no_repeat_ngram_size": 1, "num_beams": 2, "min_new_tokens": 9}
    (folder / "generation_config.json").write_text(json.dumps(own))
    plain, opinionated = (policy(f, temperature=temperature, max_new_tokens=20) for f in (qwen2_5, folder))
    assert opinionated.model.generation_config.repetition_penalty == 5.0
    assert texts(opinionated.reply(DIALOGUES)) == texts(plain.reply(DIALOGUES))
    assert opinionated.model.generation_config.repetition_penalty == 5.0


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["GPU", "CPU"],
)
def test_reply_out_of_memory_raises_one_line(qwen2_5: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    one = policy(qwen2_5)

    def forward(**_: Any) -> None:
        raise error

    monkeypatch.setattr(one.model, "forward", forward)
    with pytest.raises(ModelError, match=r"out of memory with 4 dialogues: .* smaller batch") as caught:
        one.reply(DIALOGUES)
    assert "\n" not in str(caught.value)


def test_reply_other_runtime_error_is_raised(qwen2_5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = policy(qwen2_5)

    def forward(**_: Any) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(one.model, "forward", forward)
    with pytest.raises(RuntimeError, match="multiplied"):
        one.reply(DIALOGUES)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_reply_on_cpu_in_any_precision(qwen2_5: Path, precision: Any, dtype: Any, temperature: float) -> None:
    one = policy(qwen2_5, precision=precision, temperature=temperature)
    assert one.model.dtype == dtype
    assert [r.truncated for r in one.reply(DIALOGUES)] == [True] * len(DIALOGUES)


def test_reply_on_cpu_in_fp16(qwen2_5: Path) -> None:
    one = policy(qwen2_5, precision="fp16")
    assert one.model.dtype == torch.float16
    assert len(one.reply(DIALOGUES)) == len(DIALOGUES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"max_new_tokens": 0},
        {"seed": -1},
        {"max_cache_tokens": 0},
    ],
)
def test_sampling_params_out_of_range_raise(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="sampling"):
        SamplingParams(**wrong)


def test_reply_image_of_other_size_raises(qwen2_5: Path) -> None:
    with pytest.raises(ModelError, match="multiples of 28"):
        policy(qwen2_5).reply([(asked("?", [picture(0, (30, 30))]),)])
