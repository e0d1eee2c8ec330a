from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from thinkseg.data.shapes import load
from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import IGNORED, Encoder, GeneratedText
from thinkseg.models.policies.qwen.vision_cache import ImageFeatureCache
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import Group, RolloutScore
from thinkseg.training.grpo.batches import model_inputs, pack_groups
from thinkseg.training.grpo.loss import kl_estimate, policy_loss, token_weights
from thinkseg.training.log_probs import token_logprobs
from thinkseg.training.recipes import Lora, ModelRecipe
from thinkseg.training.trainer import trainable
from thinkseg.types import Dialogue, Outcome
from tinymodels import asked, picture

BETA, MAX_TOKENS = 0.05, 40


def group(dialogues: list[Dialogue], advantages: list[float], truncated: tuple[int, ...] = ()) -> Group:
    outcomes = tuple(Outcome(None, None, d, truncated=i in truncated) for i, d in enumerate(dialogues))
    prompt = Prompt(load("train", 0, (32, 32)), (0,))
    return Group(prompt, outcomes, (RolloutScore({}, 0.0),) * len(outcomes), np.array(advantages))


@pytest.fixture(params=["qwen2_5", "qwen3"])
def both(request: pytest.FixtureRequest) -> tuple[Any, Encoder]:
    folder = request.getfixturevalue(request.param)
    return load_model(folder, "fp32"), Encoder.load(folder)


def one_turn(side: int) -> Group:
    turn = asked("Where is the red star?", [picture(0, (side, side)), picture(1, (2 * side, side))])
    replies = ("Here.", "I see nothing at all, in neither of the frames.", "Here.", "Who knows")
    return group([(turn, reply) for reply in replies], [0.5, -1.0, 0.7, -0.2])


def two_turns(side: int) -> Group:
    turn = asked("When?", [picture(0, (side, side))])
    first = asked("Where, here?", [picture(2, (2 * side, 2 * side))])
    second = asked("Where, there?", [picture(3, (2 * side, 2 * side))])
    dialogues: list[Dialogue] = [
        (turn, "First.", first, "On the left."),
        (turn, "In the second frame, if at all.", second, "Right."),
        (turn, "Never"),
    ]
    return group(dialogues, [1.0, -0.4, -0.6])


def unpacked_loss(model: Any, reference: Any, encoder: Encoder, groups: list[Group]) -> torch.Tensor:
    """The loss with one forward pass of the stock model per rollout."""
    encoded = [(encoder.encode(o.dialogue), a) for g in groups for o, a in zip(g.outcomes, g.advantages, strict=True)]
    lengths = [int((one.labels != IGNORED).sum()) for one, _ in encoded]
    weights = token_weights(lengths, "grpo", MAX_TOKENS)
    total = torch.zeros(())
    for (one, advantage), weight in zip(encoded, weights, strict=True):
        ids, labels = torch.from_numpy(one.input_ids)[None], torch.from_numpy(one.labels)[1:]
        inputs = {
            "input_ids": ids,
            "mm_token_type_ids": (ids == encoder.image_pad_id).int(),
            "pixel_values": one.pixel_values,
            "image_grid_thw": one.image_grid_thw,
        }
        at = labels != IGNORED
        logp = -functional.cross_entropy(model(**inputs).logits[0, :-1][at], labels[at], reduction="none")
        with torch.no_grad():
            ref = -functional.cross_entropy(reference(**inputs).logits[0, :-1][at], labels[at], reduction="none")
        same = torch.ones_like(logp)
        total = total + policy_loss(logp, same * advantage, same * weight, kl_estimate(logp, ref), BETA)
    return total


def packed_loss(
    model: Any, reference: Any, encoder: Encoder, groups: list[Group], vision: ImageFeatureCache | None
) -> torch.Tensor:
    total = torch.zeros(())
    for row in pack_groups(groups, encoder, "grpo", MAX_TOKENS, mask_truncated_completions=False):
        assert row is not None
        inputs = model_inputs(row, encoder, vision)
        logp = token_logprobs(model, inputs).logp
        with torch.no_grad():
            against = token_logprobs(reference, inputs).logp
        kl = kl_estimate(logp, against)
        advantage, weight = torch.from_numpy(row.advantage), torch.from_numpy(row.weight)
        total = total + policy_loss(logp, advantage, weight, kl, BETA)
    return total


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("lora", "frozen"), [(False, True), (False, False), (True, True)])
def test_pack_groups_loss_and_gradients_match_unpacked(both: tuple[Any, Encoder], lora: bool, frozen: bool) -> None:
    """Groups of one and two turns and of unequal lengths, with and without an adapter."""
    plain, encoder = both
    reference = load_model(plain.config._name_or_path, "fp32").requires_grad_(False)
    torch.manual_seed(0)
    source = ModelRecipe(name="x", lora=Lora(rank=2) if lora else None, train_vision=not frozen)
    model = trainable(plain, source, gradient_checkpointing=False)
    with torch.no_grad():  # away from the reference
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    groups = [one_turn(encoder.size_multiple), two_turns(encoder.size_multiple)]
    expected = unpacked_loss(model, reference, encoder, groups)
    wanted = gradients(model, expected)
    loss = packed_loss(model, reference, encoder, groups, ImageFeatureCache(model) if frozen else None)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    found = gradients(model, loss)
    assert found.keys() == wanted.keys()
    assert any("visual" in name for name in found) != frozen
    size = torch.cat([g.flatten() for g in wanted.values()]).norm()
    error = torch.cat([(found[name] - wanted[name]).flatten() for name in wanted]).norm()
    assert error / size < 1e-5


def test_pack_groups_tokens_have_advantage_and_weight_of_rollout(qwen2_5: Any) -> None:
    encoder = Encoder.load(qwen2_5)
    one = two_turns(28)
    (row,) = pack_groups([one], encoder, "grpo", MAX_TOKENS, mask_truncated_completions=False)
    assert row is not None
    counts = [int((encoder.encode(o.dialogue).labels != IGNORED).sum()) for o in one.outcomes]
    assert len(row.advantage) == len(row.weight) == sum(counts) == int((row.row.labels != IGNORED).sum())
    assert row.advantage.tolist() == pytest.approx(np.repeat(one.advantages, counts).tolist())
    assert row.weight.tolist() == pytest.approx(np.repeat([1 / (3 * n) for n in counts], counts).tolist())


def test_pack_groups_uninformative_group_is_skipped_but_counted(qwen2_5: Any) -> None:
    encoder = Encoder.load(qwen2_5)
    uninformative = group([(asked("?", [picture(0)]), reply) for reply in ("A", "B", "C", "D")], [0.0] * 4)
    first, skipped = pack_groups(
        [one_turn(28), uninformative], encoder, "grpo", MAX_TOKENS, mask_truncated_completions=False
    )
    (other,) = pack_groups([one_turn(28)], encoder, "grpo", MAX_TOKENS, mask_truncated_completions=False)
    assert skipped is None
    assert first is not None
    assert other is not None
    assert (2 * first.weight).tolist() == pytest.approx(other.weight.tolist())


def test_pack_groups_masked_truncated_completion_has_weight_0(qwen2_5: Any) -> None:
    encoder = Encoder.load(qwen2_5)
    turn = asked("?", [picture(0)])
    truncated = group([(turn, "Yes"), (turn, "No, no, and")], [1.0, -1.0], truncated=(1,))
    counts = [int((encoder.encode(o.dialogue).labels != IGNORED).sum()) for o in truncated.outcomes]
    for mask, weights in ((True, [1 / (2 * counts[0]), 0]), (False, [1 / (2 * n) for n in counts])):
        (row,) = pack_groups([truncated], encoder, "grpo", MAX_TOKENS, mask)
        assert row is not None
        assert row.weight.tolist() == pytest.approx(np.repeat(weights, counts).tolist())


def test_pack_groups_sampled_logp_is_in_order_of_labels(qwen2_5: Any) -> None:
    encoder = Encoder.load(qwen2_5)
    turn, then = asked("When?", [picture(0)]), asked("Where?", [picture(1)])

    def said(letter: str, *logprobs: float) -> GeneratedText:
        return GeneratedText(letter * len(logprobs), encoder.content_ids(letter) * len(logprobs), logprobs)

    two: Dialogue = (turn, said("a", -1.0, -2.0), then, said("b", -3.0))
    (row,) = pack_groups([group([two, (turn, said("c", -4.0, -5.0))], [1.0, -1.0])], encoder, "grpo", MAX_TOKENS, False)
    assert row is not None
    assert row.sampled_logp is not None
    assert row.sampled_logp.tolist() == [-1, -2, -3, -4, -5]
    labels = row.row.labels[row.row.labels != IGNORED]
    assert encoder.text(labels) == "aabcc"


def test_pack_groups_sampled_in_process_has_no_sampled_logp(qwen2_5: Any) -> None:
    (row,) = pack_groups([two_turns(28)], Encoder.load(qwen2_5), "grpo", MAX_TOKENS, False)
    assert row is not None
    assert row.sampled_logp is None
