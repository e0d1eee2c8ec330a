import json
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from thinkseg.chains import revseg, veason
from thinkseg.chains.frames import show
from thinkseg.chains.parsing import parse_answer
from thinkseg.data.shapes import Episode, episode, episode_masklets, load
from thinkseg.data.shapes.episodes import SOURCE_WH
from thinkseg.data.shapes.render import ShapesVideo
from thinkseg.data.shapes.traces import SINGLE_FRAME_KINDS
from thinkseg.demonstrations import list_objects, single_frame_questions, traces, true_reply, two_turns
from thinkseg.models.policies.qwen.encoder import IGNORED, Encoder
from thinkseg.ops.boxes import iou_matrix
from thinkseg.training.packing import PackedRow, pack
from thinkseg.training.sft.data import BATCHES_PER_POOL, KINDS, Mixture, corpus
from thinkseg.training.sft.recipe import COT_KINDS
from thinkseg.types import Answer, Dialogue, Turn, View
from tinymodels import labelled_text, taught_text

VIEW = View(4, (84, 56))


def mixture(encoder: Encoder, **changes: Any) -> Mixture:
    settings: dict[str, Any] = {
        "kind_weights": {"traces": 1.0},
        "questions_per_clip": 2,
        "clip_offset": 100,
        "length": 50,
    }
    return Mixture(encoder, VIEW, **settings | changes)


def every(data: Mixture) -> list[PackedRow]:
    return [data[i] for i in range(len(data))]


def same(one: PackedRow, other: PackedRow) -> bool:
    arrays = ("input_ids", "labels", "position_ids", "branch_ids", "predictor_index")
    return all(np.array_equal(getattr(one, a), getattr(other, a)) for a in arrays) and torch.equal(
        one.pixel_values, other.pixel_values
    )


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - COT_KINDS))  # tested in test_cot_training.py
def test_getitem_depends_on_index_only(encoder: Encoder, kind: str) -> None:
    first, again = (mixture(encoder, kind_weights={kind: 1.0}) for _ in range(2))
    rows = [first[i] for i in range(3)]
    assert all(same(row, again[i]) for i, row in reversed(list(enumerate(rows))))
    assert not same(rows[0], rows[1])


def test_clip_offset_selects_clips(encoder: Encoder) -> None:
    """Compares complete mixtures of the same clips, because rows are sorted within a pool."""
    early, late = (
        sorted(len(row.input_ids) for row in every(mixture(encoder, clip_offset=o, length=6))) for o in (100, 500)
    )
    assert early != late
    assert early == sorted(
        len(row.input_ids) for o in (100, 103) for row in every(mixture(encoder, clip_offset=o, length=3))
    )


def test_len_of_mixture(encoder: Encoder) -> None:
    assert len(mixture(encoder, length=7)) == 7


def test_questions_per_clip_sets_branches_per_row(encoder: Encoder) -> None:
    rows = [mixture(encoder, questions_per_clip=3)[i] for i in range(4)]
    assert [int(row.branch_ids.max()) for row in rows] == [3] * 4
    assert all((row.labels == encoder.end_id).sum() == 3 for row in rows)
    assert all(len(row.image_grid_thw) == VIEW.num_frames for row in rows)


def test_kind_weights_set_frequencies_of_kinds(encoder: Encoder) -> None:
    """Rows of `list_objects_single_frame` have one image, the others four."""
    rows = [
        mixture(encoder, kind_weights={"list_objects_single_frame": 3.0, "list_objects": 1.0}, questions_per_clip=1)[i]
        for i in range(40)
    ]
    assert 0.55 < np.mean([len(row.image_grid_thw) == 1 for row in rows]) < 0.92


def test_category_weights_set_frequency_of_questions_without_target(encoder: Encoder) -> None:
    """Counts the first question of each clip: a fraction of 0.46 of 1.38, of 0.08 of 1, or almost 0."""
    for weights, share in (({"none": 0.46}, 1 / 3), ({}, 0.08), ({"none": 1e-9}, 0.0)):
        data = mixture(encoder, category_weights=weights)
        first = [data.clip(at, 1).questions[0] for at in range(300)]
        assert np.mean([not question.targets for question in first]) == pytest.approx(share, abs=0.08 if share else 0)


def test_noise_word_rate_sets_frequency_of_changed_texts(encoder: Encoder) -> None:
    """The questions of the clips do not change."""
    plain = [mixture(encoder).clip(at, 3) for at in range(200)]
    for rate in (0.0, 0.25, 1.0):
        noisy = [mixture(encoder, noise_word_rate=rate).clip(at, 3) for at in range(200)]
        assert [clip.questions for clip in noisy] == [clip.questions for clip in plain]
        pairs = [
            pair for one, other in zip(noisy, plain, strict=True) for pair in zip(one.texts, other.texts, strict=True)
        ]
        assert np.mean([one != other for one, other in pairs]) == pytest.approx(rate, abs=0.05 if rate % 1 else 0)


def test_batches_have_rows_of_similar_length(encoder: Encoder) -> None:
    """Each pool is sorted by length and split into batches in random order. An incomplete batch comes last."""
    data = mixture(
        encoder,
        kind_weights={"list_objects_single_frame": 1.0, "traces": 1.0},
        batch_size=4,
        length=4 * BATCHES_PER_POOL + 6,
    )
    lengths = [len(row.input_ids) for row in every(data)]
    pools = [lengths[: 4 * BATCHES_PER_POOL], lengths[4 * BATCHES_PER_POOL :]]
    for pool in pools:
        batches = [pool[i : i + 4] for i in range(0, len(pool), 4)]
        assert all(max(one) <= min(other) for one, other in pairwise(sorted(batches)))
        assert len(batches) == 2 or batches != sorted(batches)
    assert len(pools[1][4:]) == 2
    assert min(pools[1][4:]) >= max(pools[1][:4])


def test_getitem_clip_without_dialogues_uses_later_clip(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[int] = []

    def mostly_empty(mixture: Mixture, at: int, rng: np.random.Generator) -> list:
        requested.append(at)
        return [] if len(requested) < 3 else [(Turn(("Who?",)), "Nobody.")]

    monkeypatch.setitem(KINDS, "empty", mostly_empty)
    row = mixture(encoder, kind_weights={"empty": 1.0}, clip_offset=107, length=1)[0]
    assert requested == [107, 108, 109]
    assert (row.labels != IGNORED).any()


def clips(count: int, num_questions: int = 4) -> list[Episode]:
    return [episode("train", index, num_questions) for index in range(count)]


@pytest.mark.parametrize("coordinates", ["pixels", "normalized_1000"])
def test_true_reply_parses_as_ground_truth(coordinates: Any) -> None:
    """The parser of the chain returns a keyframe of the prompt with the boxes of the targets, or no target."""
    view = replace(VIEW, coordinates=coordinates)
    found = 0
    for clip in clips(12):
        shown, _ = show(ShapesVideo(clip.clip, SOURCE_WH, clip.id), view)
        for number, question in enumerate(clip.questions):
            answer = parse_answer(true_reply(clip, number, shown, template=number), shown)
            if not question.targets:
                assert answer.keyframe is None
            if answer.keyframe is None:
                continue
            found += 1
            truth = episode_masklets(clip.clip, question.targets, SOURCE_WH).boxes(answer.keyframe)
            overlaps = iou_matrix(answer.boxes, truth)
            # Boxes are measured at a third of the size, so that each side may differ by one pixel there.
            assert overlaps.max(1).min() > 0.5
            assert len(set(overlaps.argmax(1))) == len(answer.boxes)
    assert found > 20


def test_traces_prompt_equals_that_of_chain() -> None:
    """The texts and pixels of the turn are equal for the same clip."""
    clip = episode("train", 3)
    sample = load("train", 3, SOURCE_WH)
    turn = next(veason(sample, VIEW))
    assert_equal_turns(turn, traces(clip, VIEW, rng())[0][0])


def assert_equal_turns(turn: Turn, expected: Turn | str) -> None:
    assert isinstance(expected, Turn)
    for part, other in zip(turn.content, expected.content, strict=True):
        assert np.array_equal(part, other) if isinstance(part, np.ndarray) else part == other


def test_traces_use_all_templates() -> None:
    replies = [str(reply) for clip in clips(8) for _, reply in traces(clip, VIEW, rng())]
    openings = {re.sub(r"<think>(Sought: .*?\. )?", "", reply).split()[0] for reply in replies}
    assert openings == {"I", "The", "Let"}


def run_chain(number: int, dialogue: Dialogue, view: View) -> Answer:
    """Runs a `revseg` chain with a dialogue's replies. Checks that its turns equal those of the dialogue."""
    chain = revseg(load("train", number, SOURCE_WH), view)
    turn, answer = next(chain), None
    for expected, reply in zip(dialogue[::2], dialogue[1::2], strict=True):
        assert_equal_turns(turn, expected)
        try:
            turn = chain.send(str(reply))
        except StopIteration as end:
            answer = end.value
    assert answer is not None
    return answer


@pytest.mark.parametrize("coordinates", ["pixels", "normalized_1000"])
def test_two_turns_match_turns_of_chain_and_ground_truth(coordinates: Any) -> None:
    """The turns equal those of the chain, and the chain parses the replies as the ground truth."""
    view = replace(VIEW, coordinates=coordinates, overview_wh=(56, 56), closeup_wh=(168, 140))
    found = none = 0
    for number in range(30):
        clip = episode("train", number)
        answer = run_chain(number, two_turns(clip, view, rng())[0], view)
        targets = clip.questions[0].targets
        if answer.keyframe is None:
            none += 1
            continue
        found += 1
        truth = episode_masklets(clip.clip, targets, SOURCE_WH).boxes(answer.keyframe)
        overlaps = iou_matrix(answer.boxes, truth)
        assert overlaps.max(1).min() > 0.7
        assert len(set(overlaps.argmax(1))) == len(answer.boxes)
    assert found > 20
    assert none > 0


def test_two_turns_name_and_box_each_target() -> None:
    several = 0
    for number in range(20):
        clip = episode("train", number, 4)
        for dialogue, question in zip(two_turns(clip, VIEW, rng()), clip.questions, strict=True):
            if len(dialogue) == 2:
                assert str(dialogue[1]).endswith("<answer>[]</answer>")
                continue
            (entry,) = json.loads(re.findall(r"<answer>(.*)</answer>", str(dialogue[1]))[0])
            names = entry["object description"].split(" and ")
            assert set(names) <= {clip.clip.name(target) for target in question.targets}
            assert len(json.loads(str(dialogue[3]))) == len(names)
            several += len(names) > 1
    assert several > 5


def test_pack_two_turns_has_shared_frames_once(encoder: Encoder) -> None:
    view = replace(VIEW, frame_wh=(56, 56))
    for number in range(4):
        dialogues = two_turns(episode("train", number, 3), view, rng())
        row = pack(encoder.encode_group(dialogues), encoder.image_pad_id)
        num_two_turns = sum(len(dialogue) == 4 for dialogue in dialogues)
        assert row.image_grid_thw.tolist() == [[1, 4, 4]] * 4 + [[1, 8, 8]] * num_two_turns
        assert (row.labels == encoder.end_id).sum() == len(dialogues) + num_two_turns


def test_single_frame_questions_have_one_frame() -> None:
    """The keyframe of an answer is the timestamp of the frame, or null if the target is not visible in it."""
    timestamps, keyframes = set(), set()
    for index in range(20):
        clip = episode("train", index, 6)
        single_frame = [
            text
            for text, question in zip(clip.texts, clip.questions, strict=True)
            if question.kind in SINGLE_FRAME_KINDS
        ]
        dialogues = single_frame_questions(clip, VIEW, rng(index))
        assert [str(turn.content[-1]).removeprefix("Question: ") for turn, _ in dialogues] == single_frame
        for turn, reply in dialogues:
            timestamp = str(turn.content[1]).removesuffix(" s:")
            assert len(turn.images) == 1
            keyframe = re.search(r'"keyframe_timestamp": ([\d.]+|null)', reply)[1]
            assert keyframe in (timestamp, "null")
            timestamps.add(timestamp)
            keyframes.add(keyframe)
    assert len(timestamps) > 8
    assert "null" in keyframes


def test_list_objects_show_frames_after_their_timestamps() -> None:
    (turn, reply), *_ = list_objects(episode("train", 0), VIEW, rng(), 3)
    assert isinstance(turn, Turn)
    assert isinstance(reply, str)
    assert turn.content[0] == "0.0 s:"
    assert [image.shape for image in turn.images] == [(56, 84, 3)] * 4


def test_list_objects_single_frame_has_random_timestamp() -> None:
    view = replace(VIEW, num_frames=1)
    timestamps = set()
    for index in range(6):
        for turn, _ in list_objects(episode("train", index), view, rng(index), 1):
            assert isinstance(turn, Turn)
            assert len(turn.images) == 1
            timestamps.add(turn.content[0])
    assert len(timestamps) > 3


def test_list_objects_boxes_have_coordinates_of_view() -> None:
    """Compares pixels of a frame of 84x56 with coordinates normalized to 0..1000."""
    view = replace(VIEW, num_frames=1)
    (_, pixels), *_ = list_objects(episode("train", 5), view, rng(), 1)
    (_, normalized), *_ = list_objects(episode("train", 5), replace(view, coordinates="normalized_1000"), rng(), 1)
    boxes = [np.array([[float(n) for n in re.findall(r"\d+", b)] for b in re.findall(r"\[.*?\]", str(t))])
             for t in (pixels, normalized)]  # fmt: skip
    scaled = boxes[0] * np.array([1000 / 84, 1000 / 56] * 2)
    assert len(scaled) > 1
    assert np.abs(boxes[1] - scaled).max() < 1.5 * 1000 / 56
    assert boxes[1].max() > 100


def test_corpus_contains_prompts_and_replies(encoder: Encoder) -> None:
    texts = corpus(VIEW, 24)
    assert texts == corpus(VIEW, 24)
    found = {part for text in texts for part in re.findall(r"<think>|<answer>|keyframe_timestamp|Question|list", text)}
    assert found == {"<think>", "<answer>", "keyframe_timestamp", "Question", "list"}
    replies = {reply for i in range(6) for reply in labelled_replies(i)}
    assert replies <= set(texts)


def labelled_replies(index: int) -> list[str]:
    clip = episode("train", index, 4)
    shown, _ = show(ShapesVideo(clip.clip, (8, 8), clip.id), VIEW)
    return [true_reply(clip, number, shown, number) for number in range(len(clip.questions))]


def test_keyframe_only_replies_end_before_boxes(encoder: Encoder) -> None:
    """The labels end before the boxes, without an end of turn. Replies without a target are complete."""
    data = mixture(encoder, kind_weights={"keyframe_only": 1.0}, category_weights={"none": 0.46})
    ends = set()
    for index in range(12):
        full = KINDS["traces"](data, index, rng(index))
        for dialogue, (_, reply) in zip(KINDS["keyframe_only"](data, index, rng(index)), full, strict=True):
            (labelled,) = labelled_text(encoder, dialogue)
            if '"keyframe_timestamp": null' in str(reply):
                assert labelled == f"{reply}<|im_end|>"
            else:
                assert str(reply).startswith(labelled + ', "bbox_2d_list": [[')
            ends.add(re.sub(r"[\d.]+", "N", labelled.rpartition(": ")[2]))
    assert ends == {"N", "[]}</answer><|im_end|>"}


def test_two_turns_boxes_only_labels_cover_second_replies(encoder: Encoder) -> None:
    data = mixture(
        encoder,
        kind_weights={"two_turns_boxes_only": 1.0},
        questions_per_clip=3,
        category_weights={"none": 0.15},
        length=24,
    )
    expected, skipped = [], 0
    for at in range(data.clip_offset, data.clip_offset + data.length):
        dialogues = KINDS["two_turns"](data, at, rng())
        replies = tuple(f"{dialogue[3]}<|im_end|>" for dialogue in dialogues if len(dialogue) == 4)
        skipped += len(dialogues) - len(replies)
        expected.append(replies)
    assert skipped > 3
    assert all(expected)
    labelled = [tuple(taught_text(encoder, row.labels)) for row in every(data)]
    assert sorted(labelled) == sorted(expected)


def test_first_visible_keyframe_is_not_after_best_keyframe(encoder: Encoder) -> None:
    data, num_earlier, num_first = mixture(encoder), 0, 0
    for index in range(20):
        for number, (_, reply) in enumerate(KINDS["first_visible_keyframe"](data, index, rng(index))):
            clip = data.clip(index, data.questions_per_clip)
            shown, _ = show(ShapesVideo(clip.clip, SOURCE_WH, clip.id), VIEW)
            answer = parse_answer(str(reply), shown)
            best = parse_answer(true_reply(clip, number, shown, 0), shown)
            assert (answer.keyframe is None) == (best.keyframe is None)
            if answer.keyframe is None or best.keyframe is None:
                continue
            assert answer.keyframe <= best.keyframe
            num_earlier += answer.keyframe < best.keyframe
            num_first += answer.keyframe == 0
    assert num_earlier > 5
    assert num_first > 10


def test_labels_dialogue_cover_replies_only(encoder: Encoder) -> None:
    clip = episode("train", 0, 3)
    for dialogue in (*traces(clip, VIEW, rng()), *two_turns(clip, VIEW, rng())):
        assert labelled_text(encoder, dialogue) == [f"{reply}<|im_end|>" for reply in dialogue[1::2]]
