from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from thinkseg.models.policies.qwen.checkpoint import load_model
from thinkseg.models.policies.qwen.encoder import IGNORED, EncodedDialogue, Encoder
from thinkseg.training import log_probs
from thinkseg.training.log_probs import causal_lm_loss
from thinkseg.training.packing import PackedRow, collate, pack
from thinkseg.types import Dialogue, Turn
from tinymodels import asked, picture

A, B, WIDE = picture(0), picture(1), picture(2, (112, 28))
IMAGES = [A, B]
GROUP: list[Dialogue] = [
    (asked("Where is the red star?", IMAGES), "Here."),
    (asked("Who?", IMAGES), "Nobody, as far as I can see in these frames."),
    (asked("Where is the blue ball?", IMAGES), "There, and there again."),
]
OTHERS: list[Dialogue] = [(asked("What is this?", [WIDE]), "A cross."), (asked("?", [WIDE]), "No.")]


@pytest.fixture(scope="module", params=["qwen2_5", "qwen3"])
def both(request: pytest.FixtureRequest) -> tuple[Any, Encoder, bool]:
    """A model in fp32 with its encoder, and whether its images must be of sides of 32."""
    folder = request.getfixturevalue(request.param)
    return load_model(folder, "fp32"), Encoder.load(folder), request.param == "qwen3"


def fitted(dialogues: Sequence[Dialogue], large: bool) -> list[Dialogue]:
    """The same dialogues with images that a model of patches of 16 takes; equal images stay one and the same."""
    if not large:
        return list(dialogues)
    resized = {id(i): picture(n, (64, 32 * (1 + n))) for n, i in enumerate((A, B, WIDE))}

    def turn(part: Turn | str) -> Turn | str:
        if isinstance(part, str):
            return part
        return Turn(tuple(p if isinstance(p, str) else resized[id(p)] for p in part.content))

    return [tuple(turn(part) for part in dialogue) for dialogue in dialogues]


def plain_loss(model: Any, encoder: Encoder, one: EncodedDialogue) -> torch.Tensor:
    """Summed cross-entropy of one dialogue in the most ordinary way: everything left to the model."""
    ids, labels = torch.from_numpy(one.input_ids)[None], torch.from_numpy(one.labels)
    logits = model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == encoder.image_pad_id).int(),
        pixel_values=one.pixel_values,
        image_grid_thw=one.image_grid_thw,
    ).logits[0]
    return functional.cross_entropy(logits[:-1], labels[1:], ignore_index=IGNORED, reduction="sum")


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def compare(both: tuple[Any, Encoder, bool], groups: Sequence[Sequence[Dialogue]]) -> None:
    """Groups packed into the rows of one batch against their dialogues one by one: loss and every gradient."""
    model, encoder, large = both
    groups = [fitted(group, large) for group in groups]
    singles = [encoder.encode(dialogue) for group in groups for dialogue in group]
    count = sum(int((one.labels != IGNORED).sum()) for one in singles)
    model.zero_grad()
    expected = sum(plain_loss(model, encoder, one) for one in singles) / count
    expected.backward()
    wanted = gradients(model)

    rows = [pack(encoder.encode_group(group), encoder.image_pad_id) for group in groups]
    model.zero_grad()
    loss = causal_lm_loss(model, collate(rows, encoder.tokenizer.pad_token_id))
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    found = gradients(model)
    assert found.keys() == wanted.keys()
    scale = max(g.abs().max() for g in wanted.values())
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5 * float(scale), msg=name)


def test_a_packed_row_trains_as_its_dialogues_do(both: tuple[Any, Encoder, bool]) -> None:
    compare(both, [GROUP])


def test_a_single_dialogue_is_a_row(both: tuple[Any, Encoder, bool]) -> None:
    compare(both, [GROUP[:1]])


def test_rows_of_unequal_lengths_do_not_disturb_one_another(both: tuple[Any, Encoder, bool]) -> None:
    compare(both, [GROUP, OTHERS, GROUP[1:2]])


def test_dialogues_of_two_turns_are_packed(both: tuple[Any, Encoder, bool]) -> None:
    turn = asked("When?", IMAGES)
    compare(both, [[(turn, "Now.", Turn(("Where?",)), reply) for reply in ("Here.", "Over there.")]])


def test_replies_to_one_question_are_packed(both: tuple[Any, Encoder, bool]) -> None:
    """As reinforcement learning needs it: one prompt, many completions, some of which begin alike."""
    turn = asked("Where?", IMAGES)
    compare(both, [[(turn, reply) for reply in ("Here.", "Here, I think.", "Here.", "No.")]])


def test_a_reply_that_another_goes_on_from_is_packed(both: tuple[Any, Encoder, bool]) -> None:
    turn = asked("When?", IMAGES)
    compare(both, [[(turn, "Now."), (turn, "Now.", Turn(("Where?",)), "Here.")]])


def encoded(ids: list[int], learnt: int) -> EncodedDialogue:
    """A dialogue by hand, of which the last `learnt` tokens are learnt."""
    labels = [IGNORED] * (len(ids) - learnt) + ids[len(ids) - learnt :]
    positions = np.tile(np.arange(len(ids)), (3, 1))
    return EncodedDialogue(np.array(ids), np.array(labels), positions, (torch.zeros(4, 2),), torch.tensor([[1, 2, 2]]))


def test_a_row_by_hand() -> None:
    row = pack([encoded([9, 9, 1, 2, 3], 1), encoded([9, 9, 1, 5, 6, 7], 2)], image_pad_id=9)
    assert row.input_ids.tolist() == [9, 9, 1, 2, 3, 5, 6, 7]
    assert row.labels.tolist() == [IGNORED] * 4 + [3, IGNORED, 6, 7]
    assert row.branch_ids.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert row.predictor_index.tolist() == [-1, 0, 1, 2, 3, 2, 5, 6]
    assert row.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 4, 5]] * 3


def test_a_batch_by_hand() -> None:
    rows = [pack([encoded([9, 1, 2], 1), encoded([9, 1, 3], 1)], 9), pack([encoded([9, 4], 1)], 9)]
    batch = collate(rows, pad_id=0)
    assert batch["input_ids"].tolist() == [[9, 1, 2, 3], [9, 4, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 2, 3], [IGNORED, 4, IGNORED, IGNORED]]
    assert batch["lengths"] == ((2, 1, 1), (2,))
    assert batch["position_ids"].shape == (3, 2, 4)
    assert batch["pixel_values"].shape == (8, 2)
    assert batch["image_grid_thw"].tolist() == [[1, 2, 2]] * 2


def test_equal_dialogues_still_count_each(encoder: Encoder) -> None:
    one = encoder.encode(GROUP[0])
    row = pack([one, one, one], encoder.image_pad_id)
    assert (row.labels == encoder.end_id).sum() == 3
    assert (row.labels != IGNORED).sum() == 3 * (one.labels != IGNORED).sum()
    assert set(row.branch_ids.tolist()) == {0, 1, 2, 3}


def test_prompts_without_replies_are_packed(encoder: Encoder) -> None:
    row = pack(encoder.encode_group([dialogue[:1] for dialogue in GROUP]), encoder.image_pad_id)
    assert (row.labels == IGNORED).all()
    assert set(row.branch_ids.tolist()) == {0, 1, 2, 3}


def closeups(*replies: tuple[str, Any, str]) -> list[Dialogue]:
    """One question about shared frames, and what each reply to it leads to: a closeup, and what is said about that."""
    turn = asked("When?", IMAGES)
    return [(turn, now, asked("Where?", [image]), here) for now, image, here in replies]


def test_closeups_belong_to_their_own_branches(both: tuple[Any, Encoder, bool]) -> None:
    """Of one size and of another, in rows of several lengths, beside a dialogue that ends after its first turn."""
    first = closeups(("Now.", WIDE, "Here."), ("Then, I think.", A, "Over there, and there."), ("Now.", B, "Here."))
    second = closeups(("Later.", WIDE, "Nowhere to be seen."), ("Now.", B, "Here."))
    compare(both, [[*first, (first[0][0], "Never.")], GROUP, second])


def test_pictures_of_one_size_are_told_apart(both: tuple[Any, Encoder, bool]) -> None:
    """The same tokens, but not the same picture: what comes before it is all that is shared."""
    compare(both, [[(asked("Who?", [A, picture]), reply) for picture, reply in ((A, "Here."), (B, "There."))]])


def test_a_row_with_images_of_its_branches(encoder: Encoder) -> None:
    dialogues = closeups(("Now.", WIDE, "Here."), ("Then.", B, "There."))
    row = pack(encoder.encode_group(dialogues), encoder.image_pad_id)
    assert torch.equal(row.pixel_values, torch.cat([encoder.patches([image])[0] for image in (A, B, WIDE, B)]))
    assert row.image_grid_thw.tolist() == [[1, 4, 4], [1, 4, 4], [1, 2, 8], [1, 4, 4]]
    pads = [int(((row.input_ids == encoder.image_pad_id) & (row.branch_ids == branch)).sum()) for branch in range(3)]
    assert pads == [8, 4, 4]


def test_dialogues_may_have_nothing_in_common(both: tuple[Any, Encoder, bool]) -> None:
    compare(both, [[(asked("a?", [A]), "b"), (asked("c?", [WIDE, B]), "d")]])


def test_logits_are_made_only_where_they_are_needed(
    qwen2_5: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(qwen2_5, "fp32")
    of_part, made = log_probs._of_chunk, []

    def counting(hidden: torch.Tensor, *rest: Any) -> torch.Tensor:
        made.append(len(hidden))
        return of_part(hidden, *rest)

    monkeypatch.setattr(log_probs, "_of_chunk", counting)
    rows = [pack(encoder.encode_group(group), encoder.image_pad_id) for group in (GROUP, OTHERS)]
    causal_lm_loss(model, collate(rows, encoder.tokenizer.pad_token_id))
    assert made == [sum(int((row.labels != IGNORED).sum()) for row in rows)]


def test_a_loss_over_several_batches_is_divided_by_what_they_hold_together(qwen2_5: Path, encoder: Encoder) -> None:
    model, pad = load_model(qwen2_5, "fp32"), encoder.tokenizer.pad_token_id
    rows: list[PackedRow] = [pack(encoder.encode_group(group), encoder.image_pad_id) for group in (GROUP, OTHERS)]
    with torch.no_grad():
        together = causal_lm_loss(model, collate(rows, pad))
        count = sum(int((row.labels != IGNORED).sum()) for row in rows)
        parts = sum(causal_lm_loss(model, collate([row], pad), torch.tensor(count)) for row in rows)
    assert parts.item() == pytest.approx(together.item(), rel=1e-5)


def test_logits_made_in_parts_are_the_same(both: tuple[Any, Encoder, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Log-probabilities, entropies and gradients, whatever fits at a time; and no more than that is ever made."""
    model, encoder, large = both
    row = pack(encoder.encode_group(fitted(GROUP, large)), encoder.image_pad_id)
    batch = collate([row], encoder.tokenizer.pad_token_id)
    made: list[int] = []
    cross_entropy = functional.cross_entropy

    def counted(logits: torch.Tensor, *rest: Any, **settings: Any) -> torch.Tensor:
        made.append(len(logits))
        return cross_entropy(logits, *rest, **settings)

    monkeypatch.setattr(functional, "cross_entropy", counted)

    def learned() -> tuple[log_probs.TokenLogprobs, dict[str, torch.Tensor]]:
        model.zero_grad()
        found = log_probs.token_logprobs(model, batch, temperature=0.7)
        (found.logp * torch.arange(len(found.logp))).sum().backward()
        return found, gradients(model)

    whole, wanted = learned()
    assert made == [len(whole.logp)]
    monkeypatch.setattr(log_probs, "LOGITS_PER_CHUNK", 7 * len(encoder.tokenizer) + 3)
    parts, found = learned()
    assert max(made[1:]) == 7
    assert not parts.entropy.requires_grad
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
    scale = float(max(g.abs().max() for g in wanted.values()))
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-6 * scale, msg=name)


@torch.no_grad()
def test_likelihood_is_that_of_the_policy_at_its_temperature(qwen2_5: Path, encoder: Encoder) -> None:
    model, one = load_model(qwen2_5, "fp32"), encoder.encode(GROUP[1])
    found = log_probs.token_logprobs(model, collate([pack([one], encoder.image_pad_id)], 0), temperature=0.5)
    ids, labels = torch.from_numpy(one.input_ids)[None], torch.from_numpy(one.labels)[1:]
    kinds = (ids == encoder.image_pad_id).int()
    output = model(
        input_ids=ids, mm_token_type_ids=kinds, pixel_values=one.pixel_values, image_grid_thw=one.image_grid_thw
    )
    drawn = torch.distributions.Categorical(logits=output.logits[0, :-1][labels != IGNORED] / 0.5)
    torch.testing.assert_close(found.logp, drawn.log_prob(labels[labels != IGNORED]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.entropy, drawn.entropy(), atol=1e-5, rtol=1e-5)
    assert "forward" not in vars(model.lm_head)  # the model is left as it was
