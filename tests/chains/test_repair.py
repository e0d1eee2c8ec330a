"""Replies close to the form of their turn, repaired by name; ambiguous and hostile ones, which stay as they are."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.chains.frames import Shown
from thinkseg.chains.parsing import (
    MAX_BOXES,
    Choice,
    parse_answer,
    parse_boxes,
    parse_choice,
    write_answer,
    write_boxes,
)
from thinkseg.chains.repair import ANSWER_FORM, BOXES_FORM, CHOICE_FORM, REPAIRS, repaired
from thinkseg.errors import AnswerError

SHOWN = Shown((0, 8, 16), ("0.0", "0.8", "1.6"), (200, 200), (200, 200), "pixels")
NUMBERED = Shown((0, 8, 16), ("0", "8", "16"), (200, 200), (200, 200), "pixels", "index")
FORMS = (ANSWER_FORM, CHOICE_FORM, BOXES_FORM)

BOX = [20, 40, 60, 80]
BODY = '{"keyframe_timestamp": 0.8, "bbox_2d_list": [[20, 40, 60, 80]]}'
EXACT = f"<think>it is red</think><answer>{BODY}</answer>"
OTHER = BODY.replace("0.8", "1.6")
CHOSEN = '[{"frame_idx": 1, "object description": "the red one"}]'
CHOICE = f"<think>it is red</think><answer>{CHOSEN}</answer>"
FOUND = '[{"bbox_2d": [20, 40, 60, 80]}]'


def tagged(body):
    return f"<think>it is red</think><answer>{body}</answer>"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"Sure. <think>it is red</think> So: <answer>{BODY}</answer> Done.", "outside_text"),
        (tagged(f"here: {BODY} ok"), "outside_text"),
        (f"it is red</think><answer>{BODY}</answer>", "thinking_tags"),
        (f"<think>it is red<answer>{BODY}</answer>", "thinking_tags"),
        (f"it is red<answer>{BODY}</answer>", "thinking_tags"),
        (f"<think>it is red</think></think><answer>{BODY}</answer>", "thinking_tags"),
        (f"<think>it is red</think>{BODY}", "answer_tags"),
        (f"<think>it is red</think><answer>{BODY}", "answer_tags"),
        (f"<think>it is red</think><answer><answer>{BODY}</answer></answer>", "answer_tags"),
        (EXACT + f"<answer>{BODY}</answer>", "repeated_answer"),
        (tagged(f"```json\n{BODY}\n```"), "code_fence"),
        (tagged(f"```\n{BODY}"), "code_fence"),
        (tagged(BODY.replace("{", "{{").replace("}", "}}")), "doubled_braces"),
        (tagged("{'keyframe_timestamp': 0.8, 'bbox_2d_list': [[20, 40, 60, 80]]}"), "single_quotes"),
        (tagged(BODY.replace("[20, 40, 60, 80]", "(20, 40, 60, 80)")), "python_literal"),
        (tagged(BODY.replace("80]]}", "80,],],}")), "trailing_comma"),
        (tagged(f"[{BODY}]"), "single_object"),
        (tagged(BODY.replace("[[", "[").replace("]]", "]")), "bare_box"),
        (tagged(BODY.replace("[20", '{"bbox_2d": [20').replace("80]", '80], "label": "it"}')), "box_objects"),
        (tagged(BODY.replace("[[", '{"box_2d": [').replace("]]", "]}")), "single_object box_objects field_name"),
        (tagged(BODY.replace("bbox_2d_list", "bbox_2d")), "field_name"),
        (tagged(BODY.replace("bbox_2d_list", "bbox")), "field_name"),
        (tagged(BODY.replace("keyframe_timestamp", "Keyframe Timestamp")), "field_name"),
        (tagged('{"label": "it", "score": 0.9, ' + BODY[1:]), "further_fields"),
        (tagged(BODY.replace("0.8", '"0.80"').replace("40", '"40.0"')), "string_number"),
        (tagged(BODY.replace("0.8", '"0.8 s"')), "keyframe_unit"),
        (tagged(BODY.replace("0.8", '"0.8 seconds"')), "keyframe_unit"),
        (tagged(BODY.replace("[[", "[[5, 5, 5, 9], [9, 9, 3, 3], [300, 0, 400, 9], [")), "zero_area_box"),
    ],
)
def test_repaired_answer_parses_to_intended_values(text, names):
    with pytest.raises(AnswerError):
        parse_answer(text, SHOWN)
    read, repairs = repaired(text, ANSWER_FORM, SHOWN)
    answer = parse_answer(read, SHOWN)
    assert (answer.thinking, answer.keyframe, answer.boxes.tolist()) == ("it is red", 8, [BOX])
    assert " ".join(repairs) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"The frame. {CHOICE}", "outside_text"),
        (f"<think>it is red</think>\n{CHOSEN}", "answer_tags"),
        (tagged(CHOSEN[1:-1]), "single_object"),
        (tagged(f"```json\n{CHOSEN}\n```"), "code_fence"),
        (tagged(CHOSEN.replace('"', "'")), "single_quotes"),
        (tagged(CHOSEN.replace("object description", "object_description")), "field_name"),
        (tagged(CHOSEN.replace("}", ', "confidence": 0.9}')), "further_fields"),
        (tagged(CHOSEN.replace("1", '"1"')), "string_number"),
        (tagged(CHOSEN.replace("1", '"frame 1"')), "keyframe_unit"),
        (tagged(CHOSEN.replace("}", "},")), "trailing_comma"),
    ],
)
def test_repaired_choice_parses_to_intended_values(text, names):
    with pytest.raises(AnswerError):
        parse_choice(text, SHOWN)
    read, repairs = repaired(text, CHOICE_FORM, SHOWN)
    assert parse_choice(read, SHOWN) == Choice("it is red", 8, "the red one")
    assert " ".join(repairs) == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"The box is {FOUND}.", "outside_text"),
        (f"Here:\n```json\n{FOUND}\n```\nDone", "outside_text"),
        (f"<answer>{FOUND}</answer>", "answer_tags"),
        (tagged(FOUND), "answer_tags"),
        (f"it is red</think>{FOUND}", "thinking_tags"),
        (f"```python\n{FOUND}\n```", "code_fence"),
        (FOUND[1:-1], "single_object"),
        (f"```json\n{FOUND[1:-1]}\n```", "single_object"),
        (f"{BOX}", "bare_box"),
        (f"[{BOX}]", "bare_box"),
        (FOUND.replace('"', "'"), "single_quotes"),
        (FOUND.replace("bbox_2d", "box_2d"), "field_name"),
        (FOUND.replace("}", ', "score": 1, "label": "it"}'), "further_fields"),
        (FOUND.replace("20", '"20"'), "string_number"),
        (FOUND.replace("[{", '[{"bbox_2d": [1, 1, 1, 1]}, {'), "zero_area_box"),
    ],
)
def test_repaired_boxes_parse_to_intended_values(text, names):
    with pytest.raises(AnswerError):
        parse_boxes(text, SHOWN)
    read, repairs = repaired(text, BOXES_FORM, SHOWN)
    assert parse_boxes(read, SHOWN).tolist() == [BOX]
    assert " ".join(repairs) == names


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (ANSWER_FORM, EXACT + f"<answer>{OTHER}</answer>"),
        (ANSWER_FORM, tagged(f"```{BODY}```{OTHER}```")),
        (ANSWER_FORM, tagged(f"{BODY} or {OTHER}")),
        (ANSWER_FORM, f"{OTHER} {EXACT}"),
        (ANSWER_FORM, f"{OTHER} <answer>{BODY}</answer>"),
        (ANSWER_FORM, f"<think>{BODY}"),
        (ANSWER_FORM, f"<think><answer>{BODY}</answer></think>"),
        (ANSWER_FORM, tagged(BODY.replace("80]]", "80]"))),
        (ANSWER_FORM, tagged(BODY.replace("{", '{"keyframe_timestamp": 0.8, '))),
        (ANSWER_FORM, tagged(BODY.replace("{", '{"keyframe": 1.6, '))),
        (ANSWER_FORM, tagged(BODY.replace("{", '{"bbox_2d": [1, 2, 3, 4], '))),
        (ANSWER_FORM, tagged(BODY.replace('"keyframe_timestamp": 0.8, ', ""))),
        (ANSWER_FORM, tagged(BODY.replace('"bbox_2d_list": [[20, 40, 60, 80]]', '"label": "it"'))),
        (ANSWER_FORM, tagged(BODY.replace("[20, 40, 60, 80]", "[20, 40, 60]"))),
        (ANSWER_FORM, tagged("{'keyframe_timestamp': 0.8, 'label': 'the man's', 'bbox_2d_list': [[1, 2, 3, 4]]}")),
        (CHOICE_FORM, tagged(CHOSEN.replace("}", ', "frame": 2}'))),
        (CHOICE_FORM, tagged(CHOSEN.replace("}", ', "time": "1.6 s"}'))),
        (BOXES_FORM, f"{BOX} or {BOX}"),
        (BOXES_FORM, f"<answer>{BOX}</answer> or <answer>[1, 2, 3, 4]</answer>"),
        (BOXES_FORM, "20, 40, 60, 80"),
        (BOXES_FORM, FOUND.replace("}", ', "bbox": [1, 2, 3, 4]}')),
    ],
)
def test_repaired_ambiguous_reply_is_unchanged(form, text):
    assert repaired(text, form, SHOWN) == (text, ())
    with pytest.raises(AnswerError):
        form.parse(text, SHOWN)


@pytest.mark.parametrize(
    ("body", "shown", "reason"),
    [
        (BODY.replace("0.8", '"frame 8"'), SHOWN, "unknown_keyframe"),
        (BODY.replace("0.8", '"8 s"'), NUMBERED, "unknown_keyframe"),
        (BODY.replace("0.8", '"0.8 to 1.6 s"'), SHOWN, "unknown_keyframe"),
        (BODY.replace("0.8", "[0.8, 1.6]"), SHOWN, "unknown_keyframe"),
        (BODY.replace("0.8", "0.7"), SHOWN, "unknown_keyframe"),
        (BODY.replace("60", "20"), SHOWN, "zero_area_box"),
        (BODY.replace("20", "NaN"), SHOWN, "invalid_boxes"),
        (BODY.replace("20", "1e999"), SHOWN, "invalid_boxes"),
        (BODY.replace("0.8", "null"), SHOWN, "missing_keyframe"),
        (BODY.replace("20, ", ""), SHOWN, "invalid_boxes"),
        (BODY.replace("[20, 40, 60, 80]", "[20, 40, 60, 80], 3"), SHOWN, "invalid_boxes"),
        (BODY.replace("[20, 40, 60, 80]", ", ".join(["[1, 1, 9, 9]"] * (MAX_BOXES + 1))), SHOWN, "too_many_boxes"),
    ],
)
def test_repaired_reply_that_stays_invalid_has_the_reason_of_the_repaired_text(body, shown, reason):
    read, _ = repaired(tagged(f"```{body}```"), ANSWER_FORM, shown)
    with pytest.raises(AnswerError) as caught:
        parse_answer(read, shown)
    assert caught.value.reason == reason


def test_repaired_keyframe_unit_is_that_of_the_labels():
    read, repairs = repaired(tagged(BODY.replace("0.8", '"frame 8:"')), ANSWER_FORM, NUMBERED)
    assert (parse_answer(read, NUMBERED).keyframe, repairs) == (8, ("keyframe_unit",))


def test_repaired_python_none_is_no_target():
    read, repairs = repaired(tagged("{'keyframe_timestamp': None, 'bbox_2d_list': []}"), ANSWER_FORM, SHOWN)
    assert (parse_answer(read, SHOWN).keyframe, repairs) == (None, ("single_quotes", "python_literal"))


def test_repaired_quotes_in_single_quotes_stay_in_the_text():
    body = r"""[{'frame_idx': 1, 'object description': 'the \'red\' "one", \u00e9, None'}]"""
    read, repairs = repaired(tagged(body), CHOICE_FORM, SHOWN)
    assert (parse_choice(read, SHOWN).description, repairs) == ("the 'red' \"one\", é, None", ("single_quotes",))


def test_repaired_thinking_with_tags_is_escaped():
    read, repairs = repaired(f"<think>in <answer> tags <think></think><answer>{BODY}</answer>", ANSWER_FORM, SHOWN)
    assert (parse_answer(read, SHOWN).thinking, repairs) == ("in < answer> tags < think>", ("thinking_tags",))


boxes = st.lists(st.tuples(*[st.integers(0, 99)] * 2, *[st.integers(100, 200)] * 2), min_size=1, max_size=4)


@given(st.text(alphabet="ab <{['\"`", max_size=20), boxes)
def test_repaired_valid_text_is_identical(thinking, corners):
    for form, text in (
        (ANSWER_FORM, write_answer(thinking, 8, np.array(corners), SHOWN)),
        (BOXES_FORM, write_boxes(np.array(corners), SHOWN)),
        (CHOICE_FORM, CHOICE.replace("it is red", thinking)),
    ):
        assert repaired(text, form, SHOWN) == (text, ())


@given(boxes, st.lists(st.sampled_from(["around", "fence", "quotes", "comma", "list"]), unique=True))
def test_repaired_combined_repairs_parse_to_intended_values(corners, kinds):
    body = json.dumps({"keyframe_timestamp": 1.6, "bbox_2d_list": corners})
    for kind, change in (
        ("quotes", lambda text: text.replace('"', "'")),
        ("comma", lambda text: f"{text[:-1]},}}"),
        ("list", lambda text: f"[{text}]"),
        ("fence", lambda text: f"```json\n{text}\n```"),
    ):
        body = change(body) if kind in kinds else body
    read, repairs = repaired(tagged(body) + "." * ("around" in kinds), ANSWER_FORM, SHOWN)
    answer = parse_answer(read, SHOWN)
    assert (answer.keyframe, answer.boxes.tolist()) == (16, [list(map(float, box)) for box in corners])
    assert len(repairs) == len(kinds)
    assert repaired(read, ANSWER_FORM, SHOWN) == (read, ())


PARTS = [*"{}[](),:'\"\\` 1ax", "```", "<think>", "</think>", "<answer>", "</answer>", "None", BODY, CHOSEN, FOUND]


@given(st.lists(st.sampled_from([*PARTS, '"bbox_2d"', '"frame_idx"', "\ud800"]), max_size=30).map("".join))
def test_repaired_any_text_raises_only_answer_error(text):
    for form in FORMS:
        read, repairs = repaired(text, form, SHOWN)
        assert set(repairs) <= set(REPAIRS)
        assert bool(repairs) or read == text
        with suppress(AnswerError):
            form.parse(read, SHOWN)


@pytest.mark.parametrize(
    "junk", [*PARTS, "\\'", '"\\', ", ", "{'", "<answer>{}</answer>", "```[]```", "(((", "frame 1"]
)
def test_repaired_long_text_is_answered(junk):
    text = junk * (500_000 // len(junk))
    for form in FORMS:
        for whole in (text, tagged(text), tagged(text[:16_000])):
            repaired(whole, form, SHOWN)


def test_repairs_are_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "methods.md").read_text("utf-8")
    assert [name for name, meaning in REPAIRS.items() if f"| `{name}` | {meaning} |" not in text] == []
