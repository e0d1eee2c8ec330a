import base64
import json
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scriptedserver import completion
from thinkseg.errors import SettingsError
from thinkseg.models.policies.chat_format import (
    MAX_BODY_BYTES,
    MalformedReplyError,
    data_url,
    messages_of,
    parse_completion,
    server_message,
)
from thinkseg.models.policies.qwen.encoder import GeneratedText
from thinkseg.types import Reply, Turn
from tinymodels import picture


def decoded(url, kind):
    head, data = url.split(",")
    assert head == f"data:image/{kind};base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR_RGB)


@pytest.mark.parametrize("size_wh", [(1, 1), (56, 28)])
def test_data_url_png_is_lossless(size_wh):
    image = picture(3, size_wh)
    assert np.array_equal(decoded(data_url(image), "png"), image)


def test_data_url_jpeg_has_given_quality():
    smooth = np.broadcast_to(np.linspace(0, 255, 64)[:, None], (64, 64, 3)).astype(np.uint8).transpose(2, 0, 1)
    smooth = np.ascontiguousarray(np.moveaxis(smooth, 0, -1))
    fine, coarse = data_url(smooth, 95), data_url(smooth, 10)
    assert len(coarse) < len(fine)
    assert np.abs(decoded(fine, "jpeg").astype(int) - smooth).max() < 8


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_data_url_invalid_quality_raises(quality):
    with pytest.raises(SettingsError, match=f"JPEG quality {quality}"):
        data_url(picture(0), quality)


def test_messages_of_reply_has_no_control_tokens():
    reply = "<think>An <image> and <|im_end|>.</think><answer>[]</answer>"
    _, message = messages_of((Turn(("Where?",)), reply))
    assert message["content"] == "<think>An < image> and < |im_end|>.</think><answer>[]</answer>"


def test_messages_of_dialogue_keeps_order():
    first, second = picture(0), picture(1)
    dialogue = (Turn(("0.0 s:", first, "Where?")), GeneratedText("Here.", [1, 2]), Turn((second, "And there?")))
    user, assistant, again = messages_of(dialogue)
    assert [part["type"] for part in user["content"]] == ["text", "image_url", "text"]
    assert (user["role"], user["content"][0]["text"], user["content"][2]["text"]) == ("user", "0.0 s:", "Where?")
    assert user["content"][1]["image_url"]["url"] == data_url(first)
    assert assistant == {"role": "assistant", "content": "Here."}
    assert again["content"][0]["image_url"]["url"] == data_url(second)
    assert json.loads(json.dumps([user, assistant, again])) == [user, assistant, again]


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (completion("yes"), Reply("yes", 3, False, 7)),
        (completion("ye", "length"), Reply("ye", 3, True, 7)),
        (completion(None, refusal="I would rather not."), Reply("I would rather not.", 3, False, 7)),
        (completion(None, "content_filter"), Reply("", 3, False, 7)),
        (completion("half \ud800 a letter"), Reply("half ? a letter", 3, False, 7)),
        (completion("yes", None), Reply("yes", 3, False, 7)),
        (completion("yes", "some_new_reason"), Reply("yes", 3, False, 7)),
        (completion("yes", 3), Reply("yes", 3, False, 7)),
        ({**completion("yes"), "usage": None}, Reply("yes")),
        ({**completion("yes"), "usage": {"prompt_tokens": 10**400, "completion_tokens": True}}, Reply("yes")),
        ({**completion("yes"), "usage": {"prompt_tokens": "many", "completion_tokens": -4}}, Reply("yes")),
    ],
)
def test_parse_completion_returns_reply(body, reply):
    assert parse_completion(json.dumps(body).encode()) == reply


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("", "not JSON"),
        ('{"choices": [', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no message"),
        ('{"choices": []}', "no message"),
        ('{"choices": [3]}', "no message"),
        ('{"choices": [{"message": null}]}', "no message"),
        ('{"choices": [{"message": {"content": 3}}]}', "not text"),
        ('{"choices": [{"message": {"content": [{"type": "text"}]}}]}', "not text"),
        ('{"error": {"message": "upstream\\n fell over"}}', "upstream fell over"),
    ],
)
def test_parse_completion_other_body_raises(body, why):
    with pytest.raises(MalformedReplyError, match=why):
        parse_completion(body.encode())


REASONED = "The left one."


@pytest.mark.parametrize(
    ("text", "message", "expected"),
    [
        (f"{REASONED}</think>[1]", {}, f"<think>{REASONED}</think>[1]"),
        ("\n</think>\n[1]", {}, "<think>\n</think>\n[1]"),
        ("[1]", {"reasoning_content": REASONED}, f"<think>{REASONED}</think>[1]"),
        ("[1]", {"reasoning": f"\n{REASONED}\n"}, f"<think>{REASONED}</think>[1]"),
        ("[1]", {"reasoning": REASONED, "reasoning_content": REASONED}, f"<think>{REASONED}</think>[1]"),
        ("[1]", {"reasoning": [{"type": "text", "text": REASONED}]}, f"<think>{REASONED}</think>[1]"),
        ("[1]", {"reasoning": {"content": REASONED}}, f"<think>{REASONED}</think>[1]"),
        ("[1]", {"reasoning_details": [{"type": "reasoning.text", "text": REASONED}]}, f"<think>{REASONED}</think>[1]"),
        ("[1]", {"reasoning_details": [{"summary": REASONED}, {"data": "x"}]}, f"<think>{REASONED}</think>[1]"),
        ("[1]", {"reasoning_content": f"<think>{REASONED}</think>"}, f"<think>{REASONED}</think>[1]"),
        ("[1]", {"reasoning_content": "", "reasoning": None}, "[1]"),
        ("[1]", {"reasoning_content": 3}, "[1]"),
        ("[1]", {"reasoning": "I write <answer> tags."}, "<think>I write < answer> tags.</think>[1]"),
        (f"<think>{REASONED}</think>[1]", {"reasoning_content": REASONED}, f"<think>{REASONED}</think>[1]"),
        (f"{REASONED}</think>[1]", {"reasoning_content": REASONED}, f"<think>{REASONED}</think>[1]"),
        ("</think>[1]", {"reasoning_content": REASONED}, f"<think>{REASONED}</think>[1]"),
        (None, {"reasoning_content": REASONED}, f"<think>{REASONED}</think>"),
        ([{"type": "text", "text": "[1"}, {"type": "text", "text": "]"}], {}, "[1]"),
        (
            [{"type": "thinking", "thinking": REASONED}, {"type": "text", "text": "[1]"}],
            {},
            f"<think>{REASONED}</think>[1]",
        ),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": REASONED}]}, {"type": "text", "text": "[1]"}],
            {},
            f"<think>{REASONED}</think>[1]",
        ),
        ([], {"refusal": "No."}, "No."),
    ],
)
def test_parse_completion_thinking_is_part_of_the_text_once(text, message, expected):
    assert parse_completion(json.dumps(completion(text, **message)).encode()).text == expected


@pytest.mark.parametrize("text", [None, "", []])
@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
def test_parse_completion_truncated_thinking_is_kept_open(text, reason):
    body = json.dumps(completion(text, reason, reasoning_content="The left")).encode()
    assert parse_completion(body) == Reply("<think>The left", 3, True, 7)


def test_parse_completion_is_utf_8_whatever_else():
    assert parse_completion('{"choices": [{"message": {"content": "é"}}], "logprobs": null}'.encode()).text == "é"
    assert parse_completion('\ufeff{"choices": [{"message": {"content": "é"}}]}'.encode()).text == "é"
    for body in (b'{"choices": [{"message": {"content": "\xe9"}}]}', b"\xff\xfe", b"data: {}\n\n"):
        with pytest.raises(MalformedReplyError, match="not JSON"):
            parse_completion(body)
    with pytest.raises(MalformedReplyError, match="longer than"):
        parse_completion(b" " * (MAX_BODY_BYTES + 1))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda some: st.lists(some) | st.dictionaries(st.sampled_from(["type", "text", "thinking", "content"]), some),
        max_leaves=5,
    )
)
def test_parse_completion_any_choice_returns_reply_or_raises(anything):
    fields = {"content": anything, "refusal": anything, "reasoning": anything, "reasoning_content": anything}
    messages = ({"content": anything}, {"content": "a", "reasoning_details": anything}, fields)
    bodies = [{"choices": anything}, {"choices": [anything]}, *({"choices": [{"message": m}]} for m in messages)]
    for body in bodies:
        with suppress(MalformedReplyError):
            assert isinstance(parse_completion(json.dumps(body).encode()), Reply)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "too\n much", "code": 3}}, "too much"),
        ({"error": "too much"}, "too much"),
        ({"message": "too much"}, "too much"),
        ({"detail": [{"loc": []}]}, ""),
        ("<html>", "<html>"),
        (None, ""),
    ],
)
def test_server_message_returns_one_line(body, message):
    assert server_message(body) == message
