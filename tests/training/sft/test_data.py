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


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"cot"}))  # which needs a set, see test_cot_training.py
def test_rows_are_a_pure_function_of_their_index(encoder: Encoder, kind: str) -> None:
    first, again = (mixture(encoder, kind_weights={kind: 1.0}) for _ in range(2))
    rows = [first[i] for i in range(3)]
    assert all(same(row, again[i]) for i, row in reversed(list(enumerate(rows))))
    assert not same(rows[0], rows[1])


def test_stages_read_the_train_split_from_their_offset_on(encoder: Encoder) -> None:
    """Rows are sorted within a pool, so it is whole stages of the same clips that are compared."""
    early, late = (
        sorted(len(row.input_ids) for row in every(mixture(encoder, clip_offset=o, length=6))) for o in (100, 500)
    )
    assert early != late
    assert early == sorted(
        len(row.input_ids) for o in (100, 103) for row in every(mixture(encoder, clip_offset=o, length=3))
    )


def test_a_mixture_has_a_length(encoder: Encoder) -> None:
    assert len(mixture(encoder, length=7)) == 7


def test_a_row_asks_as_many_questions_as_it_is_told(encoder: Encoder) -> None:
    rows = [mixture(encoder, questions_per_clip=3)[i] for i in range(4)]
    assert [int(row.branch_ids.max()) for row in rows] == [3] * 4
    assert all((row.labels == encoder.end_id).sum() == 3 for row in rows)
    assert all(len(row.image_grid_thw) == VIEW.num_frames for row in rows)


def test_kinds_are_mixed_by_their_shares(encoder: Encoder) -> None:
    """One frame is shown in a row of frames, four in others. Shares need not sum to one."""
    rows = [
        mixture(encoder, kind_weights={"list_objects_single_frame": 3.0, "list_objects": 1.0}, questions_per_clip=1)[i]
        for i in range(40)
    ]
    assert 0.55 < np.mean([len(row.image_grid_thw) == 1 for row in rows]) < 0.92


def test_questions_without_a_target_are_asked_as_often_as_told(encoder: Encoder) -> None:
    """Of the first questions, for which a clip is made: 0.46 of 1.38, 0.08 of 1, or next to none."""
    for asked, share in (({"none": 0.46}, 1 / 3), ({}, 0.08), ({"none": 1e-9}, 0.0)):
        data = mixture(encoder, category_weights=asked)
        first = [data.clip(at, 1).questions[0] for at in range(300)]
        assert np.mean([not question.targets for question in first]) == pytest.approx(share, abs=0.08 if share else 0)


def test_made_up_words_are_put_into_as_many_questions_as_told(encoder: Encoder) -> None:
    """Nothing else about a clip changes."""
    plain = [mixture(encoder).clip(at, 3) for at in range(200)]
    for strays in (0.0, 0.25, 1.0):
        odd = [mixture(encoder, noise_word_rate=strays).clip(at, 3) for at in range(200)]
        assert [clip.questions for clip in odd] == [clip.questions for clip in plain]
        pairs = [
            pair for one, other in zip(odd, plain, strict=True) for pair in zip(one.texts, other.texts, strict=True)
        ]
        assert np.mean([one != other for one, other in pairs]) == pytest.approx(strays, abs=0.05 if strays % 1 else 0)


def test_rows_of_a_batch_are_about_equally_long(encoder: Encoder) -> None:
    """A pool is cut into batches by length: of one length after another, in random order, the last batch last."""
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


def test_a_clip_with_nothing_to_see_is_replaced_by_one_of_its_own(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def barren(mixture: Mixture, at: int, rng: np.random.Generator) -> list:
        asked.append(at)
        return [] if len(asked) < 3 else [(Turn(("Who?",)), "Nobody.")]

    monkeypatch.setitem(KINDS, "barren", barren)
    row = mixture(encoder, kind_weights={"barren": 1.0}, clip_offset=107, length=1)[0]
    assert asked == [107, 108, 109]
    assert (row.labels != IGNORED).any()


def clips(count: int, num_questions: int = 4) -> list[Episode]:
    return [episode("train", index, num_questions) for index in range(count)]


@pytest.mark.parametrize("coordinates", ["pixels", "normalized_1000"])
def test_replies_are_the_truth_in_the_chains_own_format(coordinates: Any) -> None:
    """Read by the parser as inference does: a shown keyframe, the targets' boxes there, or no target."""
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
            # Drawn at a third of the size, a box of few pixels is off by up to one of them a side.
            assert overlaps.max(1).min() > 0.5
            assert len(set(overlaps.argmax(1))) == len(answer.boxes)
    assert found > 20


def test_training_asks_what_inference_asks() -> None:
    """The same turn, to the last pixel, as the chain makes for the same clip."""
    clip = episode("train", 3)
    sample = load("train", 3, SOURCE_WH)
    turn = next(veason(sample, VIEW))
    taught = traces(clip, VIEW, rng())[0][0]
    assert isinstance(taught, Turn)
    assert len(turn.content) == len(taught.content)
    for said, shown in zip(turn.content, taught.content, strict=True):
        assert np.array_equal(said, shown) if isinstance(said, np.ndarray) else said == shown


def test_all_templates_occur() -> None:
    replies = [str(reply) for clip in clips(8) for _, reply in traces(clip, VIEW, rng())]
    openings = {re.sub(r"<think>(Sought: .*?\. )?", "", reply).split()[0] for reply in replies}
    assert openings == {"I", "The", "Let"}


def walk(number: int, dialogue: Dialogue, view: View) -> Answer:
    """The answer a `revseg` chain comes to with a dialogue's replies, after checking that it asks what is taught."""
    chain = revseg(load("train", number, SOURCE_WH), view)
    turn, answer = next(chain), None
    for taught, reply in zip(dialogue[::2], dialogue[1::2], strict=True):
        assert isinstance(taught, Turn)
        assert len(turn.content) == len(taught.content)
        for said, shown in zip(turn.content, taught.content, strict=True):
            assert np.array_equal(said, shown) if isinstance(said, np.ndarray) else said == shown
        try:
            turn = chain.send(str(reply))
        except StopIteration as end:
            answer = end.value
    assert answer is not None
    return answer


@pytest.mark.parametrize("coordinates", ["pixels", "normalized_1000"])
def test_closeups_teach_the_two_turns_of_inference(coordinates: Any) -> None:
    """The same turns, to the last pixel, as the chain makes, and replies that it reads as the truth."""
    view = replace(VIEW, coordinates=coordinates, overview_wh=(56, 56), closeup_wh=(168, 140))
    found = none = 0
    for number in range(30):
        clip = episode("train", number)
        answer = walk(number, two_turns(clip, view, rng())[0], view)
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


def test_closeups_name_the_targets_and_box_each_of_them() -> None:
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


def test_a_row_of_closeups_has_the_frames_once_and_a_closeup_a_branch(encoder: Encoder) -> None:
    view = replace(VIEW, frame_wh=(56, 56))
    for number in range(4):
        dialogues = two_turns(episode("train", number, 3), view, rng())
        row = pack(encoder.encode_group(dialogues), encoder.image_pad_id)
        num_two_turns = sum(len(dialogue) == 4 for dialogue in dialogues)
        assert row.image_grid_thw.tolist() == [[1, 4, 4]] * 4 + [[1, 8, 8]] * num_two_turns
        assert (row.labels == encoder.end_id).sum() == len(dialogues) + num_two_turns


def test_glimpses_ask_of_one_frame_what_it_can_answer() -> None:
    """Looks only, answered from that frame: its own timestamp, or that there is no such thing in it."""
    moments, keyframes = set(), set()
    for index in range(20):
        clip = episode("train", index, 6)
        of_looks = [
            text
            for text, question in zip(clip.texts, clip.questions, strict=True)
            if question.kind in SINGLE_FRAME_KINDS
        ]
        dialogues = single_frame_questions(clip, VIEW, rng(index))
        assert [str(turn.content[-1]).removeprefix("Question: ") for turn, _ in dialogues] == of_looks
        for turn, reply in dialogues:
            moment = str(turn.content[1]).removesuffix(" s:")
            assert len(turn.images) == 1
            keyframe = re.search(r'"keyframe_timestamp": ([\d.]+|null)', reply)[1]
            assert keyframe in (moment, "null")
            moments.add(moment)
            keyframes.add(keyframe)
    assert len(moments) > 8
    assert "null" in keyframes


def test_lessons_show_frames_under_their_labels() -> None:
    (turn, reply), *_ = list_objects(episode("train", 0), VIEW, rng(), 3)
    assert isinstance(turn, Turn)
    assert isinstance(reply, str)
    assert turn.content[0] == "0.0 s:"
    assert [image.shape for image in turn.images] == [(56, 84, 3)] * 4


def test_one_frame_is_shown_at_any_moment() -> None:
    view = replace(VIEW, num_frames=1)
    moments = set()
    for index in range(6):
        for turn, _ in list_objects(episode("train", index), view, rng(index), 1):
            assert isinstance(turn, Turn)
            assert len(turn.images) == 1
            moments.add(turn.content[0])
    assert len(moments) > 3


def test_lessons_are_in_the_models_own_units() -> None:
    """Boxes of a list, in pixels of a frame of 84x56 and normalized to 0..1000."""
    view = replace(VIEW, num_frames=1)
    (_, pixels), *_ = list_objects(episode("train", 5), view, rng(), 1)
    (_, parts), *_ = list_objects(episode("train", 5), replace(view, coordinates="normalized_1000"), rng(), 1)
    boxes = [np.array([[float(n) for n in re.findall(r"\d+", b)] for b in re.findall(r"\[.*?\]", str(t))])
             for t in (pixels, parts)]  # fmt: skip
    scaled = boxes[0] * np.array([1000 / 84, 1000 / 56] * 2)
    assert len(scaled) > 1
    assert np.abs(boxes[1] - scaled).max() < 1.5 * 1000 / 56
    assert boxes[1].max() > 100


def test_the_corpus_holds_what_is_taught(encoder: Encoder) -> None:
    texts = corpus(VIEW, 24)
    assert texts == corpus(VIEW, 24)
    said = {part for text in texts for part in re.findall(r"<think>|<answer>|keyframe_timestamp|Question|list", text)}
    assert said == {"<think>", "<answer>", "keyframe_timestamp", "Question", "list"}
    replies = {reply for i in range(6) for reply in labelled_replies(i)}
    assert replies <= set(texts)


def labelled_replies(index: int) -> list[str]:
    clip = episode("train", index, 4)
    shown, _ = show(ShapesVideo(clip.clip, (8, 8), clip.id), VIEW)
    return [true_reply(clip, number, shown, number) for number in range(len(clip.questions))]


def test_keyframes_are_taught_without_the_boxes_that_follow(encoder: Encoder) -> None:
    """Replies end, untaught how, where the boxes of the answer would begin; one without a target is whole."""
    data = mixture(encoder, kind_weights={"keyframe_only": 1.0}, category_weights={"none": 0.46})
    ends = set()
    for index in range(12):
        whole = KINDS["traces"](data, index, rng(index))
        for asked, said in zip(KINDS["keyframe_only"](data, index, rng(index)), whole, strict=True):
            (taught,) = labelled_text(encoder, asked)
            if '"keyframe_timestamp": null' in said[1]:
                assert taught == f"{said[1]}<|im_end|>"
            else:
                assert said[1].startswith(taught + ', "bbox_2d_list": [[')
            ends.add(re.sub(r"[\d.]+", "N", taught.rpartition(": ")[2]))
    assert ends == {"N", "[]}</answer><|im_end|>"}


def test_boxings_teach_the_second_turns_of_closeups_alone(encoder: Encoder) -> None:
    data = mixture(
        encoder,
        kind_weights={"two_turns_boxes_only": 1.0},
        questions_per_clip=3,
        category_weights={"none": 0.15},
        length=24,
    )
    expected, left_out = [], 0
    for at in range(data.clip_offset, data.clip_offset + data.length):
        dialogues = KINDS["two_turns"](data, at, rng())
        said = tuple(f"{dialogue[3]}<|im_end|>" for dialogue in dialogues if len(dialogue) == 4)
        left_out += len(dialogues) - len(said)
        expected.append(said)
    assert left_out > 3
    assert all(expected)
    taught = [tuple(taught_text(encoder, row.labels)) for row in every(data)]
    assert sorted(taught) == sorted(expected)


def test_firsts_answer_with_the_first_frame_that_shows_a_target(encoder: Encoder) -> None:
    data, later, kept = mixture(encoder), 0, 0
    for index in range(20):
        for number, (_, said) in enumerate(KINDS["first_visible_keyframe"](data, index, rng(index))):
            clip = data.clip(index, data.questions_per_clip)
            shown, _ = show(ShapesVideo(clip.clip, SOURCE_WH, clip.id), VIEW)
            answer = parse_answer(str(said), shown)
            best = parse_answer(true_reply(clip, number, shown, 0), shown)
            assert (answer.keyframe is None) == (best.keyframe is None)
            if answer.keyframe is None or best.keyframe is None:
                continue
            assert answer.keyframe <= best.keyframe
            later += answer.keyframe < best.keyframe
            kept += answer.keyframe == 0
    assert later > 5
    assert kept > 10


def test_only_replies_are_learnt(encoder: Encoder) -> None:
    clip = episode("train", 0, 3)
    for dialogue in (*traces(clip, VIEW, rng()), *two_turns(clip, VIEW, rng())):
        assert labelled_text(encoder, dialogue) == [f"{reply}<|im_end|>" for reply in dialogue[1::2]]
