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
        ({**completion("yes"), "usage": None}, Reply("yes")),
        ({**completion("yes"), "usage": {"prompt_tokens": "many", "completion_tokens": -4}}, Reply("yes")),
    ],
)
def test_parse_completion_returns_reply(body, reply):
    assert parse_completion(json.dumps(body)) == reply


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
        parse_completion(body)


@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda some: st.lists(some) | some, max_leaves=5)
)
def test_parse_completion_any_choice_returns_reply_or_raises(anything):
    for body in ({"choices": anything}, {"choices": [anything]}, {"choices": [{"message": {"content": anything}}]}):
        with suppress(MalformedReplyError):
            assert isinstance(parse_completion(json.dumps(body)), Reply)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "too\n much", "code": 3}}, "too much"),
        ({"error": "too much"}, "too much"),
        ({"message": "too much"}, "too much"),
        ({"detail": [{"loc": []}]}, ""),
        ("<html>", "<html>"),
        (None, ""),
        ({"error": "x" * 1000}, "x" * 200),
    ],
)
def test_server_message_returns_one_short_line(body, message):
    assert server_message(body) == message
