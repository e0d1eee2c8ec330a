import json
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.chains.frames import MAX_QUERY_CHARS, Shown
from thinkseg.chains.parsing import (
    MAX_ANSWER_CHARS,
    MAX_BOXES,
    MAX_BRACKETS,
    REASONS,
    TAGS,
    Choice,
    explained,
    parse_answer,
    parse_boxes,
    parse_choice,
    write_answer,
    write_boxes,
    write_choice,
)
from thinkseg.errors import AnswerError

# A 100x50 frame shown at 200x200: x doubles and y grows fourfold, or each becomes a share of 1000.
PIXELS = Shown((0, 8, 16), ("0.0", "0.8", "1.6"), (200, 200), (100, 50), "pixels")
NORMALIZED = Shown((0, 8, 16), ("0.0", "0.8", "1.6"), (200, 200), (100, 50), "normalized_1000")
NONE = '<think>no bar</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'


def reply(keyframe="0.8", boxes="[[20, 40, 60, 80]]", thinking="it is red"):
    return f'<think>{thinking}</think><answer>{{"keyframe_timestamp": {keyframe}, "bbox_2d_list": {boxes}}}</answer>'


def reason(text, shown=PIXELS, parse=parse_answer):
    with pytest.raises(AnswerError) as caught:
        parse(text, shown)
    assert caught.value.reason in REASONS
    return caught.value.reason


def test_parse_answer_pixel_boxes_scale_to_source():
    answer = parse_answer(reply(), PIXELS)
    assert (answer.thinking, answer.keyframe) == ("it is red", 8)
    assert answer.boxes.dtype == np.float32
    np.testing.assert_array_equal(answer.boxes, [[10, 10, 30, 20]])


def test_parse_answer_normalized_boxes_scale_to_source():
    answer = parse_answer(reply(boxes="[[100, 200, 300, 400], [0, 0, 1000, 1000]]"), NORMALIZED)
    np.testing.assert_array_equal(answer.boxes, [[10, 10, 30, 20], [0, 0, 100, 50]])


def test_parse_answer_null_keyframe_is_no_target():
    answer = parse_answer(NONE, PIXELS)
    assert (answer.thinking, answer.keyframe) == ("no bar", None)
    assert (answer.boxes.shape, answer.boxes.dtype) == ((0, 4), np.float32)


def test_parse_answer_whitespace_around_tags_is_valid():
    spaced = reply().replace("</think><answer>", " </think>\n\n<answer> \n").replace("{", "{\n")
    answer = parse_answer(f"\n {spaced}\t\n", PIXELS)
    assert (answer.thinking, answer.keyframe) == ("it is red", 8)


@pytest.mark.parametrize("keyframe", ["0.8", "0.80", "8e-1", "0.8000"])
def test_parse_answer_timestamps_compare_as_numbers(keyframe):
    assert parse_answer(reply(keyframe), PIXELS).keyframe == 8


@pytest.mark.parametrize("keyframe", ["12", "12.0"])
def test_parse_answer_index_labels(keyframe):
    shown = Shown((4, 12), ("4", "12"), (200, 200), (100, 50), "pixels", "index")
    assert parse_answer(reply(keyframe), shown).keyframe == 12


def test_parse_answer_boxes_are_clipped():
    answer = parse_answer(reply(boxes="[[-50, -1e300, 60.5, 1e308]]"), PIXELS)
    np.testing.assert_array_equal(answer.boxes, [[0, 0, 30.25, 50]])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "it is the red one",
        NONE.replace("<think>", ""),
        NONE.replace("</think>", ""),
        NONE.replace("<answer>", ""),
        NONE.replace("</answer>", ""),
        NONE + NONE,
        "<think>a</think>" + NONE,
        NONE + "</answer>",
        "Sure! " + NONE,
        NONE + "<|im_end|>",
        NONE.replace("</think><answer>", "</think> so: <answer>"),
        "<answer>{}</answer><think></think>",
        "</think><think><answer></answer>",
        "<think><answer></think></answer>",
        NONE.upper(),
        reply(thinking="a </think> b"),
    ],
)
def test_parse_answer_invalid_tags(text):
    assert reason(text) == "invalid_tags"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        '"keyframe_timestamp"',
        "{'keyframe_timestamp': null, 'bbox_2d_list': []}",
        '{"keyframe_timestamp": null, "bbox_2d_list": [],}',
        '{"keyframe_timestamp": null, "bbox_2d_list": []} and that is all',
        '```json\n{"keyframe_timestamp": null, "bbox_2d_list": []}\n```',
        '[{"keyframe_timestamp": null, "bbox_2d_list": []}]',
        '{"keyframe_timestamp": null, "bbox_2d_list": [}',
        '{"keyframe_timestamp": 0x1, "bbox_2d_list": []}',
        '\x00{"keyframe_timestamp": null, "bbox_2d_list": []}',
    ],
)
def test_parse_answer_invalid_json(body):
    assert reason(f"<think></think><answer>{body}</answer>") == "invalid_json"


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"keyframe_timestamp": null}',
        '{"keyframe_timestamp": null, "boxes": []}',
        '{"keyframe_timestamp": null, "bbox_2d_list": [], "sure": true}',
        '{"keyframe_timestamp": null, "keyframe_timestamp": 0.8, "bbox_2d_list": []}',
        '{"keyframe_timestamp": null, "bbox_2d_list": [], "bbox_2d_list": []}',
        '{"Keyframe_timestamp": null, "bbox_2d_list": []}',
    ],
)
def test_parse_answer_invalid_fields(body):
    assert reason(f"<think></think><answer>{body}</answer>") == "invalid_fields"


@pytest.mark.parametrize(
    "keyframe",
    ["0.7", "8", '"0.8"', "true", "false", "[0.8]", "{}", "NaN", "Infinity", "-Infinity", "1e999", "9" * 10_000],
)
def test_parse_answer_unknown_keyframe(keyframe):
    assert reason(reply(keyframe)) == "unknown_keyframe"


@pytest.mark.parametrize(
    "boxes",
    [
        "null",
        "20",
        '"[[20, 40, 60, 80]]"',
        "[20, 40, 60, 80]",
        "[[20, 40, 60]]",
        "[[20, 40, 60, 80, 1]]",
        "[[]]",
        "[[[20, 40, 60, 80]]]",
        '[["20", 40, 60, 80]]',
        "[[20, 40, 60, true]]",
        "[[20, 40, 60, null]]",
        "[[20, 40, 60, NaN]]",
        "[[20, 40, Infinity, 80]]",
        "[[20, 40, 1e999, 80]]",
        f"[[20, 40, {'9' * 10_000}, 80]]",
        "[[20, 40, 60, 80], 3]",
        '[{"bbox_2d": [20, 40, 60, 80]}]',
        '{"bbox_2d": [20, 40, 60, 80]}',
        "{}",
    ],
)
def test_parse_answer_invalid_boxes(boxes):
    assert reason(reply(boxes=boxes)) == "invalid_boxes"


@pytest.mark.parametrize(
    "box",
    [
        [60, 40, 20, 80],
        [20, 80, 60, 40],
        [20, 40, 20, 80],
        [200, 40, 260, 80],
        [-9, -9, 0, 0],
        [20, 40, 20 + 1e-9, 80],
    ],
)
def test_parse_answer_zero_area_box(box):
    assert reason(reply(boxes=json.dumps([[1, 1, 9, 9], box]))) == "zero_area_box"


def test_parse_answer_missing_boxes_or_keyframe():
    assert reason(reply(boxes="[]")) == "missing_boxes"
    assert reason(reply(keyframe="null")) == "missing_keyframe"


@pytest.mark.parametrize(
    "boxes", ["[[20, 40, 60]]", "null", "[[20, 40, 20, 80]]", "[]", f"[{'[1, 1, 9, 9], ' * 64}[]]"]
)
def test_parse_answer_error_of_boxes_has_the_keyframe(boxes):
    with pytest.raises(AnswerError) as caught:
        parse_answer(reply(boxes=boxes), PIXELS)
    assert caught.value.keyframe == 8


@pytest.mark.parametrize("text", [reply("0.7"), reply("null"), reply() + ".", reply().replace("bbox_2d_list", "boxes")])
def test_parse_answer_error_without_a_keyframe_has_none(text):
    with pytest.raises(AnswerError) as caught:
        parse_answer(text, PIXELS)
    assert caught.value.keyframe is None


def test_parse_answer_too_many_boxes():
    box = [1, 1, 9, 9]
    assert len(parse_answer(reply(boxes=json.dumps([box] * MAX_BOXES)), PIXELS).boxes) == MAX_BOXES
    assert reason(reply(boxes=json.dumps([box] * (MAX_BOXES + 1)))) == "too_many_boxes"


def test_parse_answer_longest_answer_is_valid():
    boxes = [[math.pi * 1e-100] * 2 + [math.pi * 1e-5] * 2] * MAX_BOXES
    text = json.dumps({"keyframe_timestamp": 0.8, "bbox_2d_list": boxes}, indent=2)
    assert len(text) <= MAX_ANSWER_CHARS


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("[" * 100_000, "answer_too_long"),
        ('{"a":' * 100_000, "answer_too_long"),
        ("[" * 16_000, "answer_too_long"),
        ('{"a":' * 3_000, "answer_too_long"),
        ("[" * MAX_BRACKETS, "invalid_json"),
        ('{"a":' * MAX_BRACKETS, "invalid_json"),
        ('{"keyframe_timestamp": ' + "9" * 100_000, "answer_too_long"),
        (" " * 1_000_000, "answer_too_long"),
        ("\x00" * 1_000_000, "answer_too_long"),
    ],
)
def test_parse_answer_deep_or_long_text_is_rejected(body, expected):
    assert reason(f"<think></think><answer>{body}</answer>") == expected


@pytest.mark.parametrize(
    "junk", ["<think>", "<", "</think><answer>", "{", "\ud800", "\x00", "a b\n", "<think></think><answer>"]
)
def test_parse_answer_long_text_is_fast(junk):
    junk *= 1_000_000 // len(junk)
    started = time.process_time()
    for text in (junk, reply() + junk, junk + reply(), reply().replace("0.8", junk)):
        with pytest.raises(AnswerError):
            parse_answer(text, PIXELS)
    assert time.process_time() - started < 1


def test_parse_answer_long_thinking_is_valid():
    assert len(parse_answer(reply(thinking="hm " * 300_000), PIXELS).thinking) == 899_999


TOKENS = st.sampled_from(
    [
        *TAGS,
        *("{", "}", "[", "]", ",", ":", '"', "-", " ", "\n"),
        *('"keyframe_timestamp"', '"bbox_2d_list"', "null", "true", "NaN", "1e999", "0.8", "20", "9" * 5_000),
        *("\x00", "\ud800", "\ufeff", "é", "\u2028"),
    ]
)
ANY_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.lists(TOKENS, max_size=60).map("".join),
    st.lists(TOKENS, max_size=30).map(lambda parts: f"<think></think><answer>{''.join(parts)}</answer>"),
)


def read_or_reject(text, shown):
    """Parses any text, and checks the answer if there is one."""
    try:
        answer = parse_answer(text, shown)
    except AnswerError as rejected:
        answer, why = None, rejected.reason
    if answer is None:
        assert why in REASONS
        return
    assert (answer.keyframe is None) == (len(answer.boxes) == 0)
    assert answer.keyframe is None or answer.keyframe in shown.indices
    width, height = shown.source_wh
    assert (answer.boxes >= 0).all()
    assert (answer.boxes <= [width, height, width, height]).all()
    assert (answer.boxes[:, :2] < answer.boxes[:, 2:]).all()


@given(ANY_TEXT, st.sampled_from([PIXELS, NORMALIZED]))
def test_parse_answer_any_text_raises_only_answer_error(text, shown):
    read_or_reject(text, shown)


@given(st.data(), st.sampled_from([PIXELS, NORMALIZED]))
def test_parse_answer_mutated_reply_raises_only_answer_error(data, shown):
    text = data.draw(st.sampled_from([NONE, reply(), reply(boxes="[[1, 2, 3, 4], [5, 6, 7, 8]]")]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + data.draw(st.one_of(TOKENS, st.just(""), st.text(max_size=3))) + text[end:]
    read_or_reject(text, shown)


NUMBERS = st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.text(max_size=3))


@given(
    st.one_of(NUMBERS, st.sampled_from([0.0, 0.8])),
    st.one_of(NUMBERS, st.lists(st.one_of(NUMBERS, st.lists(NUMBERS, max_size=5)), max_size=4)),
)
def test_parse_answer_any_json_raises_only_answer_error(keyframe, boxes):
    read_or_reject(reply(json.dumps(keyframe), json.dumps(boxes)), PIXELS)


@st.composite
def truths(draw):
    """A record of frames and an answer, with boxes anywhere in the source frame."""
    size = st.tuples(st.integers(28, 2_000), st.integers(28, 2_000))
    width, height = source = draw(size)
    indices = sorted(draw(st.sets(st.integers(0, 500), min_size=1, max_size=8)))
    labels = tuple(f"{index / 30:.3f}" for index in indices)
    shown = Shown(tuple(indices), labels, draw(size), source, draw(st.sampled_from(["pixels", "normalized_1000"])))
    x = st.lists(st.integers(0, width), min_size=2, max_size=2, unique=True).map(sorted)
    y = st.lists(st.integers(0, height), min_size=2, max_size=2, unique=True).map(sorted)
    pairs = draw(st.lists(st.tuples(x, y), max_size=5))
    boxes = np.array([(x[0], y[0], x[1], y[1]) for x, y in pairs], np.float32).reshape(-1, 4)
    keyframe = draw(st.sampled_from(indices)) if len(boxes) else None
    thinking = draw(st.text().filter(lambda text: not any(tag in text for tag in TAGS)))
    return shown, thinking, keyframe, boxes


@given(truths())
def test_write_answer_parses_back(truth):
    shown, thinking, keyframe, boxes = truth
    answer = parse_answer(write_answer(thinking, keyframe, boxes, shown), shown)
    assert (answer.thinking, answer.keyframe) == (thinking.strip(), keyframe)
    limit = (1000, 1000) if shown.coordinates == "normalized_1000" else shown.frame_wh
    unit = np.array(shown.source_wh * 2) / np.array(limit * 2)
    # Half a unit from rounding; one where a box thinner than a unit was widened.
    thin = (boxes[:, 2:] - boxes[:, :2]) / unit[:2] <= 1
    allowed = np.where(np.tile(thin, 2), 1.0, 0.5) * unit + 1e-3
    assert (np.abs(answer.boxes - boxes) <= allowed).all()


@given(truths())
def test_write_answer_parsed_answer_is_written_the_same(truth):
    shown, thinking, keyframe, boxes = truth
    text = write_answer(thinking.strip(), keyframe, boxes, shown)
    answer = parse_answer(text, shown)
    assert write_answer(answer.thinking, answer.keyframe, answer.boxes, shown) == text


def test_write_answer_text():
    written = write_answer("it is red", 8, np.array([[10, 10, 30, 20]]), PIXELS)
    assert written == reply()
    assert write_answer("no bar", None, np.zeros((0, 4)), PIXELS) == NONE


def test_write_answer_thin_box_is_widened():
    coarse = Shown((0,), ("0.0",), (10, 10), (100, 100), "pixels")
    boxes = np.array([[6, 40, 9, 80], [96, 99, 100, 100], [14, 0, 16, 1]])
    read = parse_answer(write_answer("", 0, boxes, coarse), coarse).boxes
    np.testing.assert_array_equal(read, [[0, 40, 10, 80], [90, 90, 100, 100], [10, 0, 20, 10]])


BOX = np.array([[10.0, 10, 30, 20]])


@pytest.mark.parametrize(
    ("thinking", "keyframe", "boxes", "words"),
    [
        ("", 9, BOX, "must be one of the frames shown"),
        ("", 8, BOX[:0], "not an answer"),
        ("", None, BOX, "not an answer"),
        ("", 8, np.repeat(BOX, MAX_BOXES + 1, axis=0), "not an answer"),
        ("so </think>", 8, BOX, "tags"),
        ("", 8, BOX[:, ::-1], "boxes must be finite"),
        ("", 8, BOX * np.nan, "boxes must be finite"),
        ("", 8, BOX + 100, "boxes must be finite"),
    ],
)
def test_write_answer_invalid_answer_raises(thinking, keyframe, boxes, words):
    with pytest.raises(ValueError, match=words):
        write_answer(thinking, keyframe, boxes, PIXELS)


def choice(frame="1", description='"the red one"', more="", thinking="it is red"):
    entry = f'{{"frame_idx": {frame}, "object description": {description}}}'
    return f"<think>{thinking}</think><answer>[{entry}{more}]</answer>"


def test_parse_choice_returns_frame_index():
    assert parse_choice(choice(), PIXELS) == Choice("it is red", 8, "the red one")
    assert parse_choice(choice("2.0"), PIXELS).keyframe == 16
    assert parse_choice(choice(description='" the\\n red\\tone "'), PIXELS).description == "the red one"
    assert parse_choice(choice(description='"[it], {one} of <them>"'), PIXELS).description == "[it], {one} of <them>"


def test_parse_choice_empty_list_is_no_target():
    assert parse_choice("<think>no bar</think> <answer> [ ] </answer>", PIXELS) == Choice("no bar", None, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the second frame", "invalid_tags"),
        ('[{"frame_idx": 1, "object description": "it"}]', "invalid_tags"),
        (choice().replace("[", "").replace("]", ""), "invalid_json"),
        (choice("null", "null").replace('{"frame_idx": null, "object description": null}', "null"), "invalid_json"),
        (choice("N"), "invalid_json"),
        (choice(more=","), "invalid_json"),
        (choice(more=', {"frame_idx": 0, "object description": "it"}'), "invalid_fields"),
        (choice(description='"it", "sure": true'), "invalid_fields"),
        (choice(description='"it", "frame_idx": 0'), "invalid_fields"),
        (choice().replace("object description", "object_description"), "invalid_fields"),
        *(
            (choice(frame), "unknown_keyframe")
            for frame in ("3", "-1", "0.5", '"1"', "true", "null", "NaN", "1e999", "[1]")
        ),
        (choice("9" * 10_000), "unknown_keyframe"),
        *(
            (choice(description=text), "invalid_description")
            for text in ('""', '" \\n"', "null", "3", '["it"]', '{"a": 1}')
        ),
        (choice(description=f'"{"x" * (MAX_QUERY_CHARS + 1)}"'), "invalid_description"),
        (choice(description='"caf\\udce9"'), "invalid_description"),
        (choice(description=f'"{"x" * MAX_ANSWER_CHARS}"'), "answer_too_long"),
        ("<think></think><answer>" + "[" * 16_000 + "</answer>", "answer_too_long"),
        ("<think></think><answer>" + '{"a":' * MAX_BRACKETS + "</answer>", "invalid_json"),
    ],
)
def test_parse_choice_invalid_reply_raises(text, expected):
    assert reason(text, parse=parse_choice) == expected


def test_parse_boxes_scale_to_source():
    read = parse_boxes('[{"bbox_2d": [20, 40, 60, 80]}, {"bbox_2d": [-9, 0, 999, 20.5]}]', PIXELS)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, [[10, 10, 30, 20], [0, 0, 100, 5.125]])
    np.testing.assert_array_equal(parse_boxes('[{"bbox_2d": [0, 0, 500, 1000]}]', NORMALIZED), [[0, 0, 50, 50]])


@pytest.mark.parametrize(
    "text",
    [
        '```json\n[\n\t{"bbox_2d": [20, 40, 60, 80], "label": "the red one"}\n]\n```',
        ' ```\n[{"label": "[{", "bbox_2d": [20, 40, 60, 80]}]``` ',
        '[{"bbox_2d": [20, 40, 60, 80], "label": null}]',
        '<think>\n\n</think>\n\n[{"bbox_2d": [20, 40, 60, 80]}]',
        ' <think>Is it [{1}]?</think>```json\n[{"bbox_2d": [20, 40, 60, 80]}]\n```',
    ],
)
def test_parse_boxes_labels_code_fence_and_thinking_are_valid(text):
    np.testing.assert_array_equal(parse_boxes(text, PIXELS), [[10, 10, 30, 20]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "invalid_json"),
        ("``", "invalid_json"),
        ('<think>[{"bbox_2d": [20, 40, 60, 80]}]', "invalid_json"),
        ('So</think>[{"bbox_2d": [20, 40, 60, 80]}]', "invalid_json"),
        ('<think></think><think></think>[{"bbox_2d": [20, 40, 60, 80]}]', "invalid_json"),
        ("`````", "invalid_json"),
        ("``````", "invalid_json"),
        ("```json", "invalid_json"),
        ('```python\n[{"bbox_2d": [20, 40, 60, 80]}]\n```', "invalid_json"),
        ('It is here: [{"bbox_2d": [20, 40, 60, 80]}]', "invalid_json"),
        ('{"bbox_2d": [20, 40, 60, 80]}', "invalid_json"),
        ("[[20, 40, 60, 80]]", "invalid_json"),
        ("null", "invalid_json"),
        ("[]", "missing_boxes"),
        ("{}", "invalid_json"),
        ("[{}]", "invalid_fields"),
        ('[{"bbox": [20, 40, 60, 80]}]', "invalid_fields"),
        ('[{"bbox_2d": [20, 40, 60, 80], "score": 1}]', "invalid_fields"),
        ('[{"bbox_2d": [20, 40, 60, 80], "bbox_2d": [20, 40, 60, 80]}]', "invalid_fields"),
        ('[{"bbox_2d": [20, 40, 60, 80], "label": "a", "label": "b"}]', "invalid_fields"),
        ('[{"bbox_2d": [20, 40, 60]}]', "invalid_boxes"),
        ('[{"bbox_2d": {"x1": 20}}]', "invalid_boxes"),
        ('[{"bbox_2d": [20, 40, 60, NaN]}]', "invalid_boxes"),
        ('[{"bbox_2d": [60, 40, 20, 80]}]', "zero_area_box"),
        ("[" * 16_000, "answer_too_long"),
        ('{"a":' * 3_000, "answer_too_long"),
        ("[" * MAX_BRACKETS, "invalid_json"),
        ('{"a":' * MAX_BRACKETS, "invalid_json"),
        (" " * 20 + "x" * 1_000_000, "answer_too_long"),
    ],
)
def test_parse_boxes_invalid_reply_raises(text, expected):
    assert reason(text, parse=parse_boxes) == expected


def test_parse_boxes_too_many_boxes():
    box = {"bbox_2d": [math.pi * 1e-100] * 2 + [math.pi * 1e-5] * 2, "label": "the red one"}
    text = json.dumps([box] * MAX_BOXES, indent=2)
    assert len(parse_boxes(text, PIXELS)) == MAX_BOXES
    assert reason(json.dumps([{"bbox_2d": [1, 1, 9, 9]}] * (MAX_BOXES + 1)), parse=parse_boxes) == "too_many_boxes"


WORDS = st.sampled_from(['"frame_idx"', '"object description"', '"bbox_2d"', '"label"', '"it"', "```", "```json", "1"])
PIECES = st.one_of(TOKENS, WORDS)
BOXES = '[{"bbox_2d": [20, 40, 60, 80], "label": "it"}, {"bbox_2d": [1, 2, 3, 4]}]'
ANY_TURN = st.one_of(
    ANY_TEXT,
    st.lists(PIECES, max_size=60).map("".join),
    st.lists(PIECES, max_size=30).map(lambda parts: f"<think></think><answer>[{''.join(parts)}]</answer>"),
)


def read_turns_or_reject(text, shown):
    """Parses any text as a choice and as boxes, and checks the results if there are any."""
    for parse in (parse_choice, parse_boxes):
        read = why = None
        try:
            read = parse(text, shown)
        except AnswerError as rejected:
            why = rejected.reason
        if read is None:
            assert why in REASONS
            continue
        if parse is parse_choice:
            assert read.keyframe is None or read.keyframe in shown.indices
            assert (read.keyframe is None) == (read.description == "")
            assert read.description == " ".join(read.description.split())
            read.description.encode()
            continue
        width, height = shown.source_wh
        assert len(read) >= 1
        assert (read[:, :2] < read[:, 2:]).all()
        assert ((read >= 0) & (read <= [width, height, width, height])).all()


@given(ANY_TURN, st.sampled_from([PIXELS, NORMALIZED]))
def test_parse_choice_and_boxes_any_text_raises_only_answer_error(text, shown):
    read_turns_or_reject(text, shown)


@given(st.data(), st.sampled_from([PIXELS, NORMALIZED]))
def test_parse_choice_and_boxes_mutated_reply_raises_only_answer_error(data, shown):
    text = data.draw(st.sampled_from([choice(), "<think></think><answer>[]</answer>", BOXES, f"```json\n{BOXES}\n```"]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + data.draw(st.one_of(PIECES, st.just(""), st.text(max_size=3))) + text[end:]
    read_turns_or_reject(text, shown)


@given(truths(), st.text())
def test_write_choice_and_boxes_parse_back(truth, description):
    shown, thinking, keyframe, boxes = truth
    description = " ".join(description.split())
    if keyframe is None or not description or any(tag in description for tag in TAGS):
        assert parse_choice(write_choice(Choice(thinking, None, ""), shown), shown) == Choice(
            thinking.strip(), None, ""
        )
        return
    read = parse_choice(write_choice(Choice(thinking, keyframe, description), shown), shown)
    assert read == Choice(thinking.strip(), keyframe, description)
    closeup = Shown((keyframe,), ("0.0",), shown.frame_wh, shown.source_wh, shown.coordinates)
    one_turn = parse_answer(write_answer("", keyframe, boxes, closeup), closeup).boxes
    np.testing.assert_array_equal(parse_boxes(write_boxes(boxes, closeup), closeup), one_turn)


def test_write_choice_and_boxes_text():
    assert write_choice(Choice("it is red", 8, "the red one"), PIXELS) == choice()
    assert write_boxes(np.array([[10, 10, 30, 20]]), PIXELS) == '[{"bbox_2d": [20, 40, 60, 80]}]'


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Choice("", 9, "it"), "must be one of the frames shown"),
        (Choice("so </think>", 8, "it"), "tags"),
        (Choice("", 8, "<answer>"), "tags"),
        (Choice("so </think>", None, ""), "tags"),
        (Choice("", 8, ""), "cannot be written"),
        (Choice("", 8, "two\nlines"), "one line"),
        (Choice("", 8, "[" * MAX_BRACKETS), "cannot be written"),
    ],
)
def test_write_choice_invalid_choice_raises(wrong, words):
    with pytest.raises(ValueError, match=words):
        write_choice(wrong, PIXELS)


@pytest.mark.parametrize("boxes", [BOX[:0], np.repeat(BOX, MAX_BOXES + 1, axis=0), BOX[:, ::-1]])
def test_write_boxes_invalid_boxes_raise(boxes):
    with pytest.raises(ValueError, match=r"boxes"):
        write_boxes(boxes, PIXELS)


@pytest.mark.parametrize("reason", REASONS)
def test_explained_reason_is_a_sentence_with_a_remedy(reason):
    sentence = explained(reason)
    assert reason not in sentence.split()
    assert sentence.endswith("raise --max-tokens" if reason == "truncated" else "thinkseg check-policy`")


def test_explained_unknown_reason_is_unchanged():
    assert explained("of a later version") == "of a later version"
