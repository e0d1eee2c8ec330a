import json

import pytest

from scriptedserver import completion, pieces
from thinkseg.models.policies.chat_format import MalformedReplyError
from thinkseg.models.policies.chat_stream import parse_stream, text_so_far
from thinkseg.types import Reply


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (pieces("It ", "moves."), Reply("It moves.", 3, False, 7)),
        (pieces("It ", "mo", finish_reason="length"), Reply("It mo", 3, True, 7)),
        (pieces({"role": "assistant", "content": ""}, "yes"), Reply("yes", 3, False, 7)),
        (pieces({"refusal": "I would "}, {"refusal": "rather not."}), Reply("I would rather not.", 3, False, 7)),
        (pieces({"reasoning": "Re"}, {"reasoning": "d."}, "yes"), Reply("<think>Red.</think>yes", 3, False, 7)),
        (
            pieces({"content": [{"type": "thinking", "thinking": "Red."}]}, "yes"),
            Reply("<think>Red.</think>yes", 3, False, 7),
        ),
        ([*pieces("yes", finish_reason=None), b"data: [DONE]\n\n"], Reply("yes")),
        (
            [b": alive\r\n\r\nevent: x\r\n", *(line.replace(b"\n", b"\r\n") for line in pieces("yes"))],
            Reply("yes", 3, False, 7),
        ),
        ([json.dumps(completion("not streamed")).encode()], Reply("not streamed", 3, False, 7)),
    ],
)
def test_parse_stream_returns_reply(body, reply):
    assert parse_stream(b"".join(body)) == reply


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (pieces("yes", finish_reason=None), "the stream has no end"),
        ([*pieces("yes", finish_reason=None), b'data: {"error": {"message": "out of memory"}}\n\n'], "out of memory"),
        ([*pieces("yes", finish_reason=None), b'data: {"error": {"code": 5}}\n\ndata: [DONE]\n\n'], "without a reason"),
        ([*pieces("yes", finish_reason=None), b'data: {"message": "aborted"}\n\ndata: [DONE]\n\n'], "aborted"),
        ([b"data: {\n\n"], "not JSON"),
        ([b"data: 3\n\n"], "not a JSON object"),
        (pieces({"content": 3}), "content is not text"),
        ([b"data: [DONE]\n\n"], "not JSON"),
        ([b"<html>"], "not JSON"),
    ],
)
def test_parse_stream_other_body_raises(body, why):
    with pytest.raises(MalformedReplyError, match=why):
        parse_stream(b"".join(body))


def test_text_so_far_grows_by_complete_events():
    body = b"".join(pieces({"reasoning": "Grün"}, {"reasoning": " 🐢"}, "so", " be it"))
    texts = list(dict.fromkeys(text_so_far(body[:end]) for end in range(len(body) + 1)))
    assert texts == ["", "<think>Grün", "<think>Grün 🐢", "<think>Grün 🐢</think>so", "<think>Grün 🐢</think>so be it"]


@pytest.mark.parametrize("body", [b"", b'{"error": "busy"}\n', b"data: {\n", b"data: [DONE]\n"])
def test_text_so_far_without_reply_is_empty(body):
    assert text_so_far(body) == ""
