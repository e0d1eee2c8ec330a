import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.models.policy import Sampling
from thinkseg.models.wire import data_url, messages_of
from thinkseg.server.limits import Limits, RefusedError
from thinkseg.server.requests import read_request
from thinkseg.types import Turn
from tinymodels import asked, picture

HELLO = [{"role": "user", "content": "hello"}]
SMALL = Limits(pictures=2, side=60, pixels=5_000, characters=40, samples=4, tokens=100)
TEXT = {"type": "text", "text": "look"}
IMAGE = {"type": "image_url", "image_url": {"url": data_url(picture(0, (28, 28)))}}


def read(limits=SMALL, **fields):
    return read_request(json.dumps({"model": "m", "messages": HELLO, **fields}).encode(), "m", 28, limits)


def refused(**fields):
    with pytest.raises(RefusedError) as caught:
        read(**fields)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_dialogue_arrives_as_it_was_sent():
    first, second = picture(0), picture(1)
    dialogue = (asked("Where?", [first]), "Here.", Turn((second, "And there?")))
    got = read(Limits(), messages=messages_of(dialogue)).dialogue
    assert len(got) == 3
    assert got[1] == "Here."
    for sent, arrived in ((dialogue[0], got[0]), (dialogue[2], got[2])):
        assert [part for part in arrived.content if isinstance(part, str)] == [
            part for part in sent.content if isinstance(part, str)
        ]
        assert all(np.array_equal(a, b) for a, b in zip(sent.images, arrived.images, strict=True))


def test_settings():
    one = read(temperature=0, max_tokens=7, seed=3, n=2)
    assert (one.sampling, one.samples, one.stream, one.with_usage) == (Sampling(0.0, 7, 3), 2, False, False)
    assert read(max_completion_tokens=9, max_tokens=None).sampling.max_new_tokens == 9
    stream = read(stream=True, stream_options={"include_usage": True}, temperature=1.5)
    assert (stream.stream, stream.with_usage, stream.sampling.temperature) == (True, True, 1.5)


def test_without_settings_chance_decides():
    one, other = read(Limits()), read(Limits())
    assert (one.sampling.temperature, one.sampling.max_new_tokens, one.samples) == (1.0, 1024, 1)
    assert one.sampling.seed != other.sampling.seed


@pytest.mark.parametrize(
    "fields",
    [
        {"top_p": 1},
        {"top_p": 1.0, "top_k": -1, "frequency_penalty": 0.0, "presence_penalty": 0, "repetition_penalty": 1.0},
        {"stop": [], "tools": [], "tool_choice": "none", "logprobs": False, "logit_bias": {}},
        {"stop": None, "tools": None, "response_format": {"type": "text"}, "whatever": None},
        {"user": "me", "metadata": {"a": "b"}, "store": True},
    ],
)
def test_settings_that_ask_for_nothing_are_fine(fields):
    assert read(max_tokens=5, **fields).dialogue[0].content == ("hello",)


@pytest.mark.parametrize(
    "fields",
    [
        {"top_p": 0.9},
        {"top_k": 5},
        {"stop": ["."]},
        {"tools": [{}]},
        {"logprobs": True},
        {"guided_json": "{}"},
        {"response_format": {"type": "json_object"}},
        {"repetition_penalty": 1.05},
    ],
)
def test_settings_that_would_change_the_answer_are_not_passed_over(fields):
    error = refused(max_tokens=5, **fields)
    assert (error.status, error.code, error.param) == (400, "unsupported_value", next(iter(fields)))


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": -1}, {"temperature": 1e-9}, {"temperature": 3}, {"temperature": "hot"}, {"temperature": True},
        {"temperature": float("nan")}, {"temperature": float("inf")}, {"n": 0}, {"n": 5}, {"n": True}, {"n": 1.5},
        {"max_tokens": 0}, {"max_tokens": 101}, {"max_tokens": "5"}, {"seed": -1}, {"seed": 2**63}, {"seed": 0.5},
        {"stream": 1}, {"stream": "yes"}, {"stream": True, "stream_options": []},
        {"stream": True, "stream_options": {"include_usage": 1}},
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(fields):
    fields = {"max_tokens": 5, **fields}
    assert refused(**fields).status == 400


def test_another_model_is_not_found():
    error = refused(model="n")
    assert (error.status, error.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("messages", "contents"),
    [
        ([{"role": "system", "content": "Be brief."}, *HELLO], [("Be brief.", "hello")]),
        ([*HELLO, {"role": "user", "content": [TEXT]}], [("hello", "look")]),
        ([*HELLO, {"role": "assistant", "content": [TEXT]}, *HELLO], [("hello",), "look", ("hello",)]),
        ([{"role": "user", "content": "half \ud800"}], [("half ?",)]),
    ],
)
def test_messages_become_turns(messages, contents):
    dialogue = read(max_tokens=5, messages=messages).dialogue
    assert [part if isinstance(part, str) else part.content for part in dialogue] == contents


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        {},
        ["hello"],
        [{"role": "user"}],
        [{"role": "user", "content": []}],
        [{"role": "user", "content": 3}],
        [{"role": "user", "content": ["look"]}],
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,"}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 3}}]}],
        [{"role": "tool", "content": "x"}],
        [{"role": "assistant", "content": "x"}, *HELLO],
        [*HELLO, {"role": "assistant", "content": "x"}],
        [*HELLO, {"role": "assistant", "content": [IMAGE]}, *HELLO],
        [*HELLO, {"role": "assistant", "content": "x"}, {"role": "assistant", "content": "x"}, *HELLO],
    ],
)
def test_other_messages_are_refused(messages):
    assert refused(max_tokens=5, messages=messages).param == "messages"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ([TEXT] * 11, "context_length_exceeded"),
        ([IMAGE] * 3, "too_many_images"),
        ([{"type": "image_url", "image_url": {"url": data_url(picture(0, (61, 28)))}}], "image_too_large"),
        ([{"type": "image_url", "image_url": {"url": data_url(picture(0, (56, 56)))}}] * 2, "image_too_large"),
        ([{"type": "image_url", "image_url": {"url": "http://a.org/b.png"}}], "invalid_image_url"),
    ],
)
def test_a_request_holds_no_more_than_it_may(content, code):
    assert read(max_tokens=5, messages=[{"role": "user", "content": content[:1]}]) if len(content) > 1 else True
    assert refused(max_tokens=5, messages=[{"role": "user", "content": content}]).code == code


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"model": "m"}'])
def test_other_bodies_are_refused(body):
    with pytest.raises(RefusedError):
        read_request(body, "m", 28, SMALL)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "type"]), some),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["messages", "n", "temperature", "seed", "stream", "stop", "x"]), json_values))
def test_whatever_is_asked_is_understood_or_refused(fields):
    try:
        read(**fields)
    except RefusedError as error:
        assert error.status == 400  # noqa: PT017
