"""The server over real HTTP, asked by OpenAI's own client and by those who mean it no good."""

import http.client
import json
import threading
import time
from urllib.parse import urlsplit

import openai
import pytest

from thinkseg.errors import ModelError
from thinkseg.server.limits import Limits

HELLO = [{"role": "user", "content": "hello"}]
NOTHING = b"{"
REMOTE = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}
ASK = {"model": "parrot", "messages": HELLO, "max_tokens": 3}


def client(base_url, key="none"):
    return openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=20)


def post(base_url, body, **headers):
    """Status, headers and JSON of a request in so many bytes."""
    address = urlsplit(base_url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/v1/chat/completions", body, headers)
    response = connection.getresponse()
    answer = response.status, response.headers, json.loads(response.read())
    connection.close()
    return answer


def refused(base_url):
    """The status of a request that nobody can answer: 400, or 429 if there is no room to look at it."""
    return post(base_url, NOTHING)[0]


def until(condition):
    ends = time.monotonic() + 10
    while not condition() and time.monotonic() < ends:
        time.sleep(0.01)
    assert condition()


def test_a_completion(parrot, serving):
    with serving(parrot) as base_url:
        answer = client(base_url).chat.completions.create(**ASK, n=2, temperature=0.5, seed=4)
    assert [choice.message.content for choice in answer.choices] == ["word word word end"] * 2
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "length"]
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert (answer.model, answer.object, answer.choices[0].message.role) == ("parrot", "chat.completion", "assistant")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (9, 6, 15)
    ((dialogues, sampling),) = parrot.asked
    assert len(dialogues) == 2
    assert (sampling.temperature, sampling.max_new_tokens, sampling.seed) == (0.5, 3, 4)


def test_a_stream(parrot, serving):
    with serving(parrot) as base_url:
        events = list(
            client(base_url).chat.completions.create(**ASK, n=2, stream=True, stream_options={"include_usage": True})
        )
    *pieces, bill = events
    for index, reason in enumerate(("stop", "length")):
        own = [piece.choices[0] for piece in pieces if piece.choices[0].index == index]
        assert "".join(choice.delta.content or "" for choice in own) == "word word word end"
        assert own[0].delta.role == "assistant"
        assert [choice.finish_reason for choice in own] == [None] * (len(own) - 1) + [reason]
        assert len(own) > 4
    assert (bill.choices, bill.usage.total_tokens) == ([], 15)
    assert len({event.id for event in events}) == 1


def test_a_stream_flows_while_it_is_written(parrot, serving):
    parrot.hold.clear()
    with serving(parrot) as base_url:
        stream = client(base_url).chat.completions.create(**ASK, stream=True)
        pieces = (piece.choices[0].delta.content for piece in stream)
        assert next(piece for piece in pieces if piece) == "word "
        parrot.hold.set()
        assert "".join(filter(None, pieces)) == "word word end"


def test_the_list_of_models_tells_how_to_show_it_a_video(parrot, serving):
    with serving(parrot) as base_url:
        (entry,) = client(base_url).models.list().data
    assert entry.id == "parrot"
    assert entry.thinkseg == {
        "coordinates": "pixels",
        "size_multiple": 4,
        "view": {"num_frames": 3, "frame_wh": [8, 12]},
    }


def test_errors_have_the_shape_clients_know(parrot, serving):
    with serving(parrot) as base_url:
        ask = client(base_url).chat.completions.create
        with pytest.raises(openai.NotFoundError, match="there is: parrot") as missing:
            ask(**{**ASK, "model": "other"})
        with pytest.raises(openai.BadRequestError, match="no address is fetched") as remote:
            ask(**{**ASK, "messages": [{"role": "user", "content": [REMOTE]}]})
        with pytest.raises(openai.NotFoundError):
            client(base_url).embeddings.create(model="parrot", input="x")
    assert missing.value.code == "model_not_found"
    assert (remote.value.type, remote.value.param) == ("invalid_request_error", "messages")
    assert parrot.asked == []


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"x" * 5_000, {}, 413),
        (json.dumps(ASK).encode(), {"Content_Type": "text/plain"}, 415),
        (json.dumps(ASK).encode(), {"Host": "evil.example"}, 403),
        (json.dumps(ASK).encode(), {"Host": "evil.example:127.0.0.1"}, 403),
        (json.dumps(ASK).encode(), {"Host": "["}, 403),
        (json.dumps(ASK).encode(), {"Host": "127.0.0.1:99"}, 200),
        (json.dumps(ASK).encode(), {}, 200),
    ],
)
def test_what_is_not_to_be_read_is_not(parrot, serving, body, headers, status):
    with serving(parrot, limits=Limits(body_bytes=1_000), hosts=("127.0.0.1",)) as base_url:
        got, _, content = post(base_url, body, **headers)
    assert got == status
    assert ("error" in content) == (status != 200)
    assert len(parrot.asked) == (status == 200)


def test_a_body_without_a_length_is_bounded_too(parrot, serving):
    with serving(parrot, limits=Limits(body_bytes=1_000)) as base_url:
        status, _, content = post(base_url, iter([b"x" * 400] * 5))
    assert status == 413
    assert "1,000 bytes" in content["error"]["message"]


def test_a_body_that_does_not_come_is_not_waited_for(parrot, serving):
    with serving(parrot, limits=Limits(body_seconds=0.1)) as base_url:
        status, _, _ = post(base_url, b"{", Content_Length="50")
    assert status == 408


def test_a_key_is_needed_where_there_is_one(parrot, serving):
    with serving(parrot, key="open sesame") as base_url:
        for wrong in ("none", "open sesame2", "öpen"):
            status, _, content = post(base_url, json.dumps(ASK), Authorization=f"Bearer {wrong}".encode())
            assert (status, content["error"]["code"]) == (401, "invalid_api_key")
        with pytest.raises(openai.AuthenticationError):
            client(base_url).models.list()
        assert client(base_url, "open sesame").chat.completions.create(**ASK).choices


def test_more_than_there_is_room_for_are_told_to_come_back(parrot, serving):
    parrot.hold.clear()
    done = []
    with serving(parrot, limits=Limits(requests=2)) as base_url:
        # What probes for room below takes some for a moment: a question that finds none comes back, as it is told.
        patient = client(base_url).with_options(max_retries=4)
        asking = [
            threading.Thread(target=lambda: done.append(patient.chat.completions.create(**ASK))) for _ in range(2)
        ]
        asking[0].start()
        until(lambda: parrot.asked)
        asking[1].start()
        until(lambda: refused(base_url) == 429)
        _, headers, content = post(base_url, NOTHING)
        assert headers["Retry-After"] == "2"
        assert content["error"]["code"] == "rate_limit_exceeded"
        parrot.hold.set()
        for thread in asking:
            thread.join()
        assert len(done) == 2
        assert client(base_url).chat.completions.create(**ASK).choices


@pytest.mark.parametrize("stream", [False, True])
def test_who_has_left_is_not_answered(parrot, serving, stream):
    parrot.hold.clear()
    with serving(parrot, limits=Limits(requests=1)) as base_url:
        address = urlsplit(base_url)
        connection = http.client.HTTPConnection(address.hostname, address.port)
        body = json.dumps({**ASK, "max_tokens": 8_000, "stream": stream})
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        until(lambda: parrot.heard)
        connection.sock.close()
        connection.close()
        # The only place at the desk is free again, and so is the policy, which would have said words for ever.
        until(lambda: refused(base_url) == 400)
        parrot.hold.set()
        assert post(base_url, json.dumps(ASK))[0] == 200
    assert parrot.heard < 8_000


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_cannot_answer_is_an_error(parrot, serving, stream):
    parrot.breaks = ModelError("parrot: out of memory")
    with serving(parrot) as base_url, pytest.raises(openai.APIError, match="out of memory"):
        list(client(base_url).chat.completions.create(**ASK, stream=stream))


def test_a_bug_is_not_told_to_clients(parrot, serving):
    parrot.breaks = ZeroDivisionError("secret of the house")
    with serving(parrot) as base_url:
        status, _, content = post(base_url, json.dumps(ASK))
        parrot.breaks = None
        assert client(base_url).chat.completions.create(**ASK).choices
    assert status == 500
    assert "secret" not in str(content)
