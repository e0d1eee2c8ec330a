"""`ChatClient` against a scripted server, over real HTTP."""

import asyncio
import gc
import gzip
import html
import json
import logging
import threading
import time
from dataclasses import replace
from urllib.parse import quote

import pytest

from scriptedserver import Response, ScriptedServer, busy, completion, failed, pieces, said
from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.policies import chat_format, client
from thinkseg.models.policies.client import KEY, OPENAI_KEY, ChatClient, ClientSettings, key_for
from thinkseg.types import Reply

SECRET = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def _no_keys_and_no_delay(monkeypatch):
    monkeypatch.setattr(client, "MALFORMED_DELAY", 0.0)
    for name in (KEY, OPENAI_KEY):
        monkeypatch.delenv(name, raising=False)


def request(text="?"):
    return lambda: {"model": "m", "messages": [{"role": "user", "content": text}]}


def complete(server, count=1, **settings):
    chat = ChatClient(server.base_url, ClientSettings(**settings))
    return chat.complete([request(str(number)) for number in range(count)])


def text_of(reply):
    assert reply.seconds > 0
    return reply.text


def soon(response):
    """The response with a header that makes the client retry immediately."""
    return replace(response, headers={"Retry-After-Ms": "1"})


@pytest.mark.parametrize(
    "fault",
    [
        soon(busy()),
        busy(0.01),
        *(soon(failed(status)) for status in (408, 409, 500, 502, 503)),
        Response(b"<html>gateway</html>"),
        Response(b""),
        Response(b'{"choices": [{"mess'),
        Response({"error": {"message": "upstream is gone"}}),
    ],
    ids=lambda fault: f"{fault.status} {str(fault.body)[:20]}",
)
def test_complete_passing_fault_is_retried(fault):
    with ScriptedServer([fault, fault, said("at last")]) as server:
        assert [text_of(reply) for reply in complete(server)] == ["at last"]
        assert len(server.asked) == 3


@pytest.mark.parametrize("fault", [Response(b'{"choices"', cut=100), Response(completion("late"), delay=1.0)])
def test_complete_lost_response_is_retried(fault):
    with ScriptedServer([fault, said("at last")]) as server:
        assert [text_of(reply) for reply in complete(server, timeout=0.5 if fault.delay else 30)] == ["at last"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (soon(busy()), "status 429: slow down (1 retry)"),
        (soon(failed(500, "oh\nno")), "status 500: oh no (1 retry)"),
        (Response(b"<html>"), "the response is not a chat completion: not JSON"),
        (Response(completion("late"), delay=2), "no response within 0.5 s (1 retry)"),
        (Response(b"{", cut=9), "no connection"),
    ],
)
def test_complete_lasting_fault_raises_with_its_reason(fault, message):
    with ScriptedServer([fault] * 2) as server:
        with pytest.raises(ModelError) as caught:
            complete(server, timeout=0.5 if fault.delay else 30, max_retries=1)
        assert len(server.asked) == 2
    assert message in str(caught.value)
    assert server.base_url in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (failed(400, "too many tokens"), "status 400: too many tokens"),
        (failed(401, "no such key"), f"status 401: no such key; set {KEY}"),
        (failed(404, "no such model"), "status 404: no such model"),
        (busy(3600), "status 429: slow down"),
        (Response(b"", 418), "status 418: without a reason"),
    ],
)
def test_complete_permanent_fault_is_not_retried(fault, message):
    with ScriptedServer([fault, said("never")]) as server:
        with pytest.raises(ModelError, match=message):
            complete(server)
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("http://256.256.256.256/v1", {}),
        ("http://127.0.0.1:9/v1\x01", {}),
        ("http://127.0.0.1:9/" + "a" * 70_000, {}),
        ("http://127.0.0.1:9/v1", {"HTTP_PROXY": "ftp://me:hidden@localhost:1"}),
        ("http://127.0.0.1:9/v1", {"SSL_CERT_FILE": "/no/such/file"}),
    ],
)
def test_client_invalid_url_or_environment_raises_one_line(monkeypatch, url, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"cannot connect: .*SSL_CERT_FILE") as caught:
        ChatClient(url)
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_complete_without_server_raises():
    with ScriptedServer() as server:
        pass
    with pytest.raises(ModelError, match=r"no connection: .* \(1 retry\)"):
        complete(server, max_retries=1)


def test_complete_retry_after_is_honored():
    with ScriptedServer([busy(0.3), said("yes")]) as server:
        complete(server)
        assert server.times[1] - server.times[0] >= 0.3


def test_submit_cancelled_future_sends_no_request():
    with ScriptedServer(lambda _: Response(completion("yes"), delay=0.1)) as server:
        chat = ChatClient(server.base_url, ClientSettings(concurrency=1))
        first, *rest = [chat.submit(request()) for _ in range(4)]
        assert all(future.cancel() for future in rest)
        assert first.result().text == "yes"
        assert chat.submit(request()).result().text == "yes"
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (said(None, refusal="No."), "No."),
        (said(None), ""),
        (said(""), ""),
        (failed(400, "filtered", "content_filter"), "filtered"),
    ],
)
def test_complete_refusal_is_a_reply(response, text):
    with ScriptedServer([response]) as server:
        assert text_of(complete(server)[0]) == text


def test_complete_returns_usage_and_truncation():
    with ScriptedServer([said("and so", "length")]) as server:
        (reply,) = complete(server)
    assert reply == Reply("and so", 3, True, 7, reply.seconds)


def test_complete_returns_replies_in_order_of_requests():
    def answer(body):
        number = int(body["messages"][0]["content"])
        return Response(completion(str(number)), delay=0.1 - number / 100)

    with ScriptedServer(answer) as server:
        assert [reply.text for reply in complete(server, 8)] == [str(number) for number in range(8)]
        assert server.most_at_once > 1


def test_complete_keeps_concurrency_limit():
    with ScriptedServer(lambda _: Response(completion("yes"), delay=0.02)) as server:
        assert len(complete(server, 9, concurrency=3)) == 9
        assert server.most_at_once == 3


def test_complete_first_failure_cancels_other_requests():
    def answer(body):
        return failed(400, "bad") if body["messages"][0]["content"] == "0" else Response(completion("yes"), delay=0.3)

    with ScriptedServer(answer) as server:
        with pytest.raises(ModelError, match="bad"):
            complete(server, 20, concurrency=2)
        time.sleep(0.1)
        assert len(server.asked) < 20


def test_complete_works_inside_another_event_loop():
    async def notebook(server):
        return complete(server)

    with ScriptedServer([said("yes")]) as server:
        assert asyncio.run(notebook(server))[0].text == "yes"


def test_client_garbage_collected_ends_its_thread():
    before = threading.active_count()
    with ScriptedServer(lambda _: said("yes")) as server:
        chat = ChatClient(server.base_url)
        chat.complete([request()])
        assert any(thread.name == "chat client" for thread in threading.enumerate())
        del chat
        gc.collect()
        ends = time.monotonic() + 10
        while any(thread.name == "chat client" for thread in threading.enumerate()) and time.monotonic() < ends:
            time.sleep(0.01)
    assert threading.active_count() <= before + 1


@pytest.mark.parametrize("models", [[], [{"id": "a"}, 3], None, Response({}, 307, {"Location": "/v1/models/"})])
def test_check_passes_with_or_without_model_list(models):
    with ScriptedServer(models=models) as server:
        ChatClient(server.base_url).check()


def test_key_is_sent_and_appears_nowhere_else(monkeypatch, caplog):
    monkeypatch.setenv(KEY, SECRET)
    caplog.set_level(logging.DEBUG)
    echo = failed(401, f"no such key: {SECRET}")
    with ScriptedServer([said("yes"), echo, Response(SECRET.encode())], models=[]) as server:
        chat = ChatClient(server.base_url, ClientSettings(max_retries=0))
        chat.complete([request()])
        assert server.headers[0]["authorization"] == f"Bearer {SECRET}"
        for _ in range(2):
            with pytest.raises(ModelError) as caught:
                chat.complete([request()])
            assert SECRET not in str(caught.value)
        assert SECRET not in repr(chat)
    assert "HTTP" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("secret", [SECRET, "aa/bb+cc&dd=="])
def test_key_repeated_by_the_server_is_in_no_reply(monkeypatch, secret):
    monkeypatch.setenv(KEY, secret)
    repeated = f"You sent Authorization: Bearer {secret}, {quote(secret, safe='')} or {html.escape(secret)}."
    script = [said(repeated), said(None, refusal=repeated), said("yes", reasoning_content=repeated)]
    script += [
        failed(400, repeated, "content_filter"),
        Response(json.dumps(completion(secret)).replace("/", r"\/").encode()),
    ]
    with ScriptedServer(script) as server:
        texts = [text_of(reply) for reply in complete(server, 5, concurrency=1)]
    assert all("(key)" in text for text in texts)
    assert not any(form in text for text in texts for form in (secret, quote(secret, safe=""), html.escape(secret)))


@pytest.mark.parametrize("length", range(150, 200, 7))
def test_key_at_the_end_of_a_long_message_is_not_cut(monkeypatch, length):
    monkeypatch.setenv(KEY, SECRET)
    bodies = [failed(403, f"{'x' * length}{SECRET}"), Response({"error": f"{'x' * length} {SECRET}"})]
    for body in bodies:
        with ScriptedServer([body]) as server, pytest.raises(ModelError) as caught:
            complete(server, max_retries=0)
        assert SECRET[:4] not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_key_that_is_no_secret_may_be_in_a_reply(monkeypatch):
    monkeypatch.setenv(KEY, "EMPTY")
    with ScriptedServer([said("EMPTY")]) as server:
        assert complete(server)[0].text == "EMPTY"


def test_key_in_the_base_url_raises_without_showing_it(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    with pytest.raises(SettingsError, match="must not contain the key") as caught:
        key_for(f"http://localhost:8000/{SECRET}/v1")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_complete_redirect_is_not_followed(monkeypatch, status):
    monkeypatch.setenv(KEY, SECRET)
    with ScriptedServer() as other:
        address = f"{other.base_url}/chat/completions"
        redirect = Response({}, status, {"Location": f"{address}?key={SECRET}"})
        problem = f"status {status}: .*not followed: .*{address}"
        with ScriptedServer([redirect]) as server, pytest.raises(ModelError, match=problem) as caught:
            complete(server)
        assert other.asked == []
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "slow",
    [
        Response(completion("late"), drip=0.01),
        Response(b" " * 1000, 500, drip=0.01),
        Response(b"data: {}" * 1000, headers={"Content-Type": "text/event-stream"}, drip=0.01),
    ],
)
def test_complete_response_that_never_ends_is_a_timeout(slow):
    with ScriptedServer([slow]) as server, pytest.raises(ModelError, match=r"no response within 0\.2 s"):
        complete(server, timeout=0.2, max_retries=0)


@pytest.mark.parametrize("packed", [False, True])
def test_complete_huge_response_raises_one_line(monkeypatch, packed):
    for module in (client, chat_format):
        monkeypatch.setattr(module, "MAX_BODY_BYTES", 10_000)
    body = b" " * 1_000_000
    huge = Response(gzip.compress(body, 1), headers={"Content-Encoding": "gzip"}) if packed else Response(body)
    with (
        ScriptedServer([huge]) as server,
        pytest.raises(ModelError, match="not a chat completion: longer than 10,000 bytes"),
    ):
        complete(server, max_retries=0)


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (Response("<html><body>502 Bad Gateway</body></html>".encode("utf-16")), "not a chat completion: not JSON"),
        (Response(b"\x1f\x8b broken", headers={"Content-Encoding": "gzip"}), "no connection"),
        (Response(b"<html>\n<h1>Bad Gateway</h1></html>", 502), "status 502: <html> <h1>Bad Gateway</h1></html>"),
        (Response({"choices": []}), "not a chat completion: no message"),
        (Response({"choices": [{"message": None}]}), "not a chat completion: no message"),
        (Response({"choices": [{"message": {"content": 3}}]}), "not a chat completion: content is not text"),
        (Response(b"", 304), "status 304: without a reason"),
    ],
)
def test_complete_malformed_response_raises_one_line(response, message):
    with ScriptedServer([response]) as server, pytest.raises(ModelError, match=message) as caught:
        complete(server, max_retries=0)
    assert "\n" not in str(caught.value)


def test_complete_compressed_response_is_read():
    body = gzip.compress(json.dumps(completion("yes")).encode())
    with ScriptedServer([Response(body, headers={"Content-Encoding": "gzip"})]) as server:
        assert complete(server)[0].text == "yes"


def test_openai_key_is_sent_to_openai_only(monkeypatch):
    monkeypatch.setenv(OPENAI_KEY, SECRET)
    assert key_for("https://api.openai.com/v1") == SECRET
    for other in ("http://api.openai.com/v1", "https://api.openai.com.example.org/v1", "http://localhost:8000/v1"):
        assert key_for(other) is None
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {SECRET}")
    with ScriptedServer([said("yes")]) as server:
        complete(server)
    assert SECRET not in str(server.headers)
    monkeypatch.setenv(KEY, "mine")
    assert key_for("http://localhost:8000/v1") == key_for("https://api.openai.com/v1") == "mine"


def test_key_for_invalid_key_raises_without_showing_it(monkeypatch):
    monkeypatch.setenv(KEY, f"{SECRET}\n")
    with pytest.raises(SettingsError, match=KEY) as caught:
        key_for("http://localhost:8000/v1")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"concurrency": 0}, {"max_retries": -1}, {"timeout": 0.0}, {"timeout": float("nan")}]
)
def test_client_settings_out_of_range_raises(wrong):
    with pytest.raises(SettingsError, match="concurrency must be >= 1"):
        ClientSettings(**wrong)


def test_complete_makes_request_when_slot_is_free():
    alive, most = set(), []

    def make(number):
        def fields():
            alive.add(number)
            most.append(len(alive))
            return {"model": "m", "messages": [{"role": "user", "content": str(number)}]}

        return fields

    def answer(body):
        alive.discard(int(body["messages"][0]["content"]))
        return Response(completion("yes"), delay=0.01)

    with ScriptedServer(answer) as server:
        ChatClient(server.base_url, ClientSettings(concurrency=2)).complete([make(number) for number in range(8)])
    assert max(most) == 2


class Listener:
    """Lists what it receives. heard: is set with the first text. error: is raised once there is a text, or at once."""

    def __init__(self, error=None, at_once=False):
        self.texts, self.waits, self.heard = [], 0, threading.Event()
        self._error, self._at_once = error, at_once

    def waiting(self, done, total):
        assert (done, total) == (0, 0)
        self.waits += 1
        if self._at_once:
            raise self._error

    def text(self, index, text):
        if text and (index, text) not in self.texts[-1:]:
            self.texts.append((index, text))
            self.heard.set()
            if self._error:
                raise self._error


def stream(server, listener, count=1, **settings):
    chat = ChatClient(server.base_url, ClientSettings(**settings))
    return chat.complete([request(str(number)) for number in range(count)], listener)


@pytest.fixture
def _called_often(monkeypatch):
    monkeypatch.setattr(client, "LISTENER_SECONDS", 0.005)


def paused(listener, before, after):
    """Pieces of a body, of which the second half comes once the listener has the first half."""
    yield b"".join(before)
    assert listener.heard.wait(10)
    listener.heard.clear()
    yield b"".join(after)


@pytest.mark.usefixtures("_called_often")
def test_complete_with_listener_streams_and_counts_tokens():
    listener = Listener()
    first, *rest = pieces("It ", "moves.")
    with ScriptedServer([Response(paused(listener, [first], rest))]) as server:
        (reply,) = stream(server, listener)
    assert (reply.text, reply.num_tokens, reply.num_prompt_tokens) == ("It moves.", 3, 7)
    assert listener.texts[0] == (0, "It ")
    assert (server.asked[0]["stream"], server.asked[0]["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.usefixtures("_called_often")
@pytest.mark.parametrize("end", [[], [b'data: {"error": {"message": "lost"}}\n\n']])
def test_complete_lost_stream_is_retried_from_its_start(end):
    listener = Listener()
    lost = paused(listener, pieces("It mo", finish_reason=None), end)
    whole = paused(listener, pieces("She ", finish_reason=None), pieces("moves."))
    with ScriptedServer([Response(lost), Response(whole)]) as server:
        (reply,) = stream(server, listener)
    assert reply.text == "She moves."
    assert listener.texts[:2] == [(0, "It mo"), (0, "She ")]


def test_complete_with_listener_takes_complete_replies():
    with ScriptedServer([said("not streamed")]) as server:
        assert stream(server, Listener())[0].text == "not streamed"


def test_complete_refused_stream_is_requested_as_a_whole():
    def respond(body):
        return failed(400, "unknown field stream") if "stream" in body else said("yes")

    with ScriptedServer(respond) as server:
        assert stream(server, Listener())[0].text == "yes"
    too_long = failed(400, "too long")
    with ScriptedServer([too_long] * 2) as server, pytest.raises(ModelError, match="status 400: too long"):
        stream(server, Listener())


@pytest.mark.usefixtures("_called_often")
def test_complete_listener_raises_closes_the_stream():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield from pieces("on and ", finish_reason=None)
                time.sleep(0.002)
        finally:
            closed.set()

    with ScriptedServer([Response(endless()), said("again")]) as server:
        chat = ChatClient(server.base_url)
        with pytest.raises(InterruptedError):
            chat.complete([request()], Listener(InterruptedError()))
        assert closed.wait(10)
        assert chat.complete([request()])[0].text == "again"


@pytest.mark.usefixtures("_called_often")
def test_complete_listener_raises_while_server_is_silent():
    with ScriptedServer([Response(completion("late"), delay=5)]) as server:
        started = time.monotonic()
        with pytest.raises(InterruptedError):
            stream(server, Listener(InterruptedError(), at_once=True))
        assert time.monotonic() - started < 5


@pytest.mark.usefixtures("_called_often")
def test_complete_streamed_key_is_hidden(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    listener = Listener()
    body = paused(listener, pieces(f"key {SECRET} ", finish_reason=None), pieces("!"))
    with ScriptedServer([Response(body)]) as server:
        assert stream(server, listener)[0].text == "key (key) !"
    assert listener.texts[0] == (0, "key (key) ")
