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
    """A model in fp32, its encoder, and whether its image sides must be multiples of 32 instead of 28."""
    folder = request.getfixturevalue(request.param)
    return load_model(folder, "fp32"), Encoder.load(folder), request.param == "qwen3"


def fitted(dialogues: Sequence[Dialogue], large: bool) -> list[Dialogue]:
    """Resizes the images for a model with patches of 16 pixels. One image object stays one object."""
    if not large:
        return list(dialogues)
    resized = {id(i): picture(n, (64, 32 * (1 + n))) for n, i in enumerate((A, B, WIDE))}

    def turn(part: Turn | str) -> Turn | str:
        if isinstance(part, str):
            return part
        return Turn(tuple(p if isinstance(p, str) else resized[id(p)] for p in part.content))

    return [tuple(turn(part) for part in dialogue) for dialogue in dialogues]


def plain_loss(model: Any, encoder: Encoder, one: EncodedDialogue) -> torch.Tensor:
    """Summed cross-entropy of one dialogue, computed by the unchanged model."""
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
    """Compares the loss and every gradient of packed groups with those of their dialogues one at a time."""
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


def test_causal_lm_loss_packed_row_matches_unpacked_gradients(both: tuple[Any, Encoder, bool]) -> None:
    compare(both, [GROUP])


def test_causal_lm_loss_single_dialogue_matches_unpacked_gradients(both: tuple[Any, Encoder, bool]) -> None:
    compare(both, [GROUP[:1]])


def test_causal_lm_loss_padded_rows_match_unpacked_gradients(both: tuple[Any, Encoder, bool]) -> None:
    compare(both, [GROUP, OTHERS, GROUP[1:2]])


def test_causal_lm_loss_two_turns_match_unpacked_gradients(both: tuple[Any, Encoder, bool]) -> None:
    turn = asked("When?", IMAGES)
    compare(both, [[(turn, "Now.", Turn(("Where?",)), reply) for reply in ("Here.", "Over there.")]])


def test_causal_lm_loss_replies_to_one_prompt_match_unpacked_gradients(both: tuple[Any, Encoder, bool]) -> None:
    """The rollouts of a GRPO group: some of the replies are equal or have a common prefix."""
    turn = asked("Where?", IMAGES)
    compare(both, [[(turn, reply) for reply in ("Here.", "Here, I think.", "Here.", "No.")]])


def test_causal_lm_loss_dialogue_continuing_another_matches_unpacked_gradients(both: tuple[Any, Encoder, bool]) -> None:
    turn = asked("When?", IMAGES)
    compare(both, [[(turn, "Now."), (turn, "Now.", Turn(("Where?",)), "Here.")]])


def encoded(ids: list[int], num_labels: int) -> EncodedDialogue:
    """A hand-written dialogue with labels for its last `num_labels` tokens."""
    labels = [IGNORED] * (len(ids) - num_labels) + ids[len(ids) - num_labels :]
    positions = np.tile(np.arange(len(ids)), (3, 1))
    return EncodedDialogue(np.array(ids), np.array(labels), positions, (torch.zeros(4, 2),), torch.tensor([[1, 2, 2]]))


def test_pack_two_dialogues_returns_expected_row() -> None:
    row = pack([encoded([9, 9, 1, 2, 3], 1), encoded([9, 9, 1, 5, 6, 7], 2)], image_pad_id=9)
    assert row.input_ids.tolist() == [9, 9, 1, 2, 3, 5, 6, 7]
    assert row.labels.tolist() == [IGNORED] * 4 + [3, IGNORED, 6, 7]
    assert row.branch_ids.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert row.predictor_index.tolist() == [-1, 0, 1, 2, 3, 2, 5, 6]
    assert row.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 4, 5]] * 3


def test_collate_two_rows_returns_expected_batch() -> None:
    rows = [pack([encoded([9, 1, 2], 1), encoded([9, 1, 3], 1)], 9), pack([encoded([9, 4], 1)], 9)]
    batch = collate(rows, pad_id=0)
    assert batch["input_ids"].tolist() == [[9, 1, 2, 3], [9, 4, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 2, 3], [IGNORED, 4, IGNORED, IGNORED]]
    assert batch["lengths"] == ((2, 1, 1), (2,))
    assert batch["position_ids"].shape == (3, 2, 4)
    assert batch["pixel_values"].shape == (8, 2)
    assert batch["image_grid_thw"].tolist() == [[1, 2, 2]] * 2


def test_pack_equal_dialogues_keeps_labels_of_each(encoder: Encoder) -> None:
    one = encoder.encode(GROUP[0])
    row = pack([one, one, one], encoder.image_pad_id)
    assert (row.labels == encoder.end_id).sum() == 3
    assert (row.labels != IGNORED).sum() == 3 * (one.labels != IGNORED).sum()
    assert set(row.branch_ids.tolist()) == {0, 1, 2, 3}


def test_pack_prompts_without_replies_has_no_labels(encoder: Encoder) -> None:
    row = pack(encoder.encode_group([dialogue[:1] for dialogue in GROUP]), encoder.image_pad_id)
    assert (row.labels == IGNORED).all()
    assert set(row.branch_ids.tolist()) == {0, 1, 2, 3}


def closeups(*replies: tuple[str, Any, str]) -> list[Dialogue]:
    """Dialogues of two turns with one first turn. replies: first reply, closeup and second reply of each dialogue."""
    turn = asked("When?", IMAGES)
    return [(turn, now, asked("Where?", [image]), here) for now, image, here in replies]


def test_causal_lm_loss_images_of_branches_match_unpacked_gradients(both: tuple[Any, Encoder, bool]) -> None:
    """Closeups of different sizes, rows of different lengths, and a dialogue that ends after its first turn."""
    first = closeups(("Now.", WIDE, "Here."), ("Then, I think.", A, "Over there, and there."), ("Now.", B, "Here."))
    second = closeups(("Later.", WIDE, "Nowhere to be seen."), ("Now.", B, "Here."))
    compare(both, [[*first, (first[0][0], "Never.")], GROUP, second])


def test_causal_lm_loss_different_images_of_one_size_match_unpacked_gradients(both: tuple[Any, Encoder, bool]) -> None:
    """The token ids are equal, but the prefix must end before the first image that differs."""
    compare(both, [[(asked("Who?", [A, image]), reply) for image, reply in ((A, "Here."), (B, "There."))]])


def test_pack_images_of_branches_follow_those_of_prefix(encoder: Encoder) -> None:
    dialogues = closeups(("Now.", WIDE, "Here."), ("Then.", B, "There."))
    row = pack(encoder.encode_group(dialogues), encoder.image_pad_id)
    assert torch.equal(row.pixel_values, torch.cat([encoder.patches([image])[0] for image in (A, B, WIDE, B)]))
    assert row.image_grid_thw.tolist() == [[1, 4, 4], [1, 4, 4], [1, 2, 8], [1, 4, 4]]
    pads = [int(((row.input_ids == encoder.image_pad_id) & (row.branch_ids == branch)).sum()) for branch in range(3)]
    assert pads == [8, 4, 4]


def test_causal_lm_loss_dialogues_without_common_prefix_match_unpacked_gradients(
    both: tuple[Any, Encoder, bool],
) -> None:
    compare(both, [[(asked("a?", [A]), "b"), (asked("c?", [WIDE, B]), "d")]])


def test_causal_lm_loss_computes_logits_of_labels_only(
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


def test_causal_lm_loss_num_items_sums_over_batches(qwen2_5: Path, encoder: Encoder) -> None:
    model, pad = load_model(qwen2_5, "fp32"), encoder.tokenizer.pad_token_id
    rows: list[PackedRow] = [pack(encoder.encode_group(group), encoder.image_pad_id) for group in (GROUP, OTHERS)]
    with torch.no_grad():
        together = causal_lm_loss(model, collate(rows, pad))
        count = sum(int((row.labels != IGNORED).sum()) for row in rows)
        parts = sum(causal_lm_loss(model, collate([row], pad), torch.tensor(count)) for row in rows)
    assert parts.item() == pytest.approx(together.item(), rel=1e-5)


def test_token_logprobs_in_chunks_match_unchunked(
    both: tuple[Any, Encoder, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compares log-probabilities, entropies and gradients, and checks the size of the chunks."""
    model, encoder, large = both
    row = pack(encoder.encode_group(fitted(GROUP, large)), encoder.image_pad_id)
    batch = collate([row], encoder.tokenizer.pad_token_id)
    made: list[int] = []
    cross_entropy = functional.cross_entropy

    def counted(logits: torch.Tensor, *rest: Any, **settings: Any) -> torch.Tensor:
        made.append(len(logits))
        return cross_entropy(logits, *rest, **settings)

    monkeypatch.setattr(functional, "cross_entropy", counted)

    def values_and_gradients() -> tuple[log_probs.TokenLogprobs, dict[str, torch.Tensor]]:
        model.zero_grad()
        found = log_probs.token_logprobs(model, batch, temperature=0.7)
        (found.logp * torch.arange(len(found.logp))).sum().backward()
        return found, gradients(model)

    unchunked, wanted = values_and_gradients()
    assert made == [len(unchunked.logp)]
    monkeypatch.setattr(log_probs, "LOGITS_PER_CHUNK", 7 * len(encoder.tokenizer) + 3)
    chunked, found = values_and_gradients()
    assert max(made[1:]) == 7
    assert not chunked.entropy.requires_grad
    for one, other in zip(unchunked, chunked, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
    scale = float(max(g.abs().max() for g in wanted.values()))
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-6 * scale, msg=name)


@torch.no_grad()
def test_token_logprobs_with_temperature_match_categorical(qwen2_5: Path, encoder: Encoder) -> None:
    model, one = load_model(qwen2_5, "fp32"), encoder.encode(GROUP[1])
    found = log_probs.token_logprobs(model, collate([pack([one], encoder.image_pad_id)], 0), temperature=0.5)
    ids, labels = torch.from_numpy(one.input_ids)[None], torch.from_numpy(one.labels)[1:]
    kinds = (ids == encoder.image_pad_id).int()
    output = model(
        input_ids=ids, mm_token_type_ids=kinds, pixel_values=one.pixel_values, image_grid_thw=one.image_grid_thw
    )
    policy = torch.distributions.Categorical(logits=output.logits[0, :-1][labels != IGNORED] / 0.5)
    torch.testing.assert_close(found.logp, policy.log_prob(labels[labels != IGNORED]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.entropy, policy.entropy(), atol=1e-5, rtol=1e-5)
    assert "forward" not in vars(model.lm_head)  # the original method is restored
