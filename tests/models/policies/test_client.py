"""What a server can do to those who ask it, over real HTTP."""

import asyncio
import gc
import logging
import threading
import time

import pytest

from scriptedserver import Response, ScriptedServer, busy, completion, failed, said
from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.policies.client import KEY, OPENAI_KEY, ChatClient, ClientSettings, RetryPolicy, key_for
from thinkseg.types import Reply

SECRET = "sk-secret-0123456789"
QUICK = RetryPolicy(tries=4, first=0.01, longest=0.02)


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in (KEY, OPENAI_KEY):
        monkeypatch.delenv(name, raising=False)


def request(text="?"):
    return lambda: {"model": "m", "messages": [{"role": "user", "content": text}]}


def asked(server, count=1, **settings):
    service = ChatClient(server.base_url, ClientSettings(**{"patience": QUICK, **settings}))
    return service.complete([request(str(number)) for number in range(count)])


def text_of(reply):
    assert reply.seconds > 0
    return reply.text


@pytest.mark.parametrize(
    "trouble",
    [
        busy(),
        busy(0.01),
        failed(500),
        failed(502),
        failed(503),
        failed(408),
        Response(b"<html>gateway</html>"),
        Response(b""),
        Response(b'{"choices": [{"mess'),
        Response(b'{"choices": [{"message"', cut=100),
        Response({"error": {"message": "upstream is gone"}}),
        Response(completion("late"), delay=1.0),
    ],
    ids=lambda trouble: f"{trouble.status} {str(trouble.body)[:20]}",
)
def test_trouble_that_passes_is_waited_for(trouble):
    with ScriptedServer([trouble, trouble, said("at last")]) as server:
        assert [text_of(reply) for reply in asked(server, timeout=0.5)] == ["at last"]
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("trouble", "named"),
    [
        (busy(), "gave up after 4 tries: status 429: slow down"),
        (failed(500, "oh\nno"), "gave up after 4 tries: status 500: oh no"),
        (Response(b"<html>"), "gave up after 4 tries: the reply is not a chat completion: not JSON"),
        (Response(completion("late"), delay=0.5), "gave up after 4 tries: no answer within 0.1 s"),
        (Response(b"{", cut=9), "gave up after 4 tries: no connection"),
    ],
)
def test_trouble_that_stays_is_an_error_that_names_it(trouble, named):
    with ScriptedServer([trouble] * 4) as server:
        with pytest.raises(ModelError) as caught:
            asked(server, timeout=0.1)
        assert len(server.asked) == 4
    assert named in str(caught.value)
    assert server.base_url in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("trouble", "named"),
    [
        (failed(400, "too many tokens"), "status 400: too many tokens"),
        (failed(401, "no such key"), f"status 401: no such key .*{KEY}"),
        (failed(404, "no such model"), "status 404: no such model"),
        (failed(429, "pay first", "insufficient_quota"), "status 429: pay first"),
        (busy(3600), "gave up after 1 try: .* asks to wait for 3600 s"),
        (Response(b"", 418), "status 418: without a reason"),
    ],
)
def test_what_waiting_does_not_mend_is_not_tried_again(trouble, named):
    with ScriptedServer([trouble, said("never")]) as server:
        with pytest.raises(ModelError, match=named):
            asked(server)
        assert len(server.asked) == 1


def test_nobody_there_is_an_error():
    with ScriptedServer() as server:
        pass
    with pytest.raises(ModelError, match=r"gave up after 4 tries: no connection"):
        asked(server)


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (said(None, refusal="No."), "No."),
        (said(None), ""),
        (said(""), ""),
        (failed(400, "filtered", "content_filter"), "filtered"),
    ],
)
def test_a_refusal_is_an_answer(response, text):
    with ScriptedServer([response]) as server:
        assert text_of(asked(server)[0]) == text


def test_usage_and_truncation_are_noted():
    with ScriptedServer([said("and so", "length")]) as server:
        (reply,) = asked(server)
    assert reply == Reply("and so", 3, True, 7, reply.seconds)


def test_replies_come_in_the_order_asked_whatever_the_order_answered():
    def answer(body):
        number = int(body["messages"][0]["content"])
        return Response(completion(str(number)), delay=0.1 - number / 100)

    with ScriptedServer(answer) as server:
        assert [reply.text for reply in asked(server, 8)] == [str(number) for number in range(8)]
        assert server.most_at_once > 1


def test_no_more_are_on_their_way_than_allowed():
    with ScriptedServer(lambda _: Response(completion("yes"), delay=0.02)) as server:
        assert len(asked(server, 9, concurrency=3)) == 9
        assert server.most_at_once == 3


def test_a_busy_server_is_left_alone_by_all():
    """One refusal holds back the requests that were not refused, for as long as the server asks."""
    responses = iter([busy(0.3)])
    with ScriptedServer(lambda _: next(responses, said("yes"))) as server:
        assert len(asked(server, 6, concurrency=1)) == 6
        assert server.times[1] - server.times[0] >= 0.3
    responses = iter([busy(0.3)])
    with ScriptedServer(lambda _: next(responses, Response(completion("yes"), delay=0.1))) as server:
        asked(server, 6, concurrency=2)
        after = [moment for moment in server.times if moment > server.times[1]]
        assert min(after) - server.times[0] >= 0.3


def test_the_first_failure_drops_what_is_unanswered():
    def answer(body):
        return failed(400, "bad") if body["messages"][0]["content"] == "0" else Response(completion("yes"), delay=0.3)

    with ScriptedServer(answer) as server:
        with pytest.raises(ModelError, match="bad"):
            asked(server, 20, concurrency=2)
        time.sleep(0.1)
        assert len(server.asked) < 20


def test_a_service_can_be_asked_inside_another_loop():
    async def notebook(server):
        return asked(server)

    with ScriptedServer([said("yes")]) as server:
        assert asyncio.run(notebook(server))[0].text == "yes"


def test_nothing_is_left_behind():
    before = threading.active_count()
    with ScriptedServer(lambda _: said("yes")) as server:
        service = ChatClient(server.base_url)
        service.complete([request()])
        assert any(thread.name == "service" for thread in threading.enumerate())
        del service
        gc.collect()
        ends = time.monotonic() + 10
        while any(thread.name == "service" for thread in threading.enumerate()) and time.monotonic() < ends:
            time.sleep(0.01)
    assert threading.active_count() <= before + 1


@pytest.mark.parametrize("models", [[], [{"id": "a"}, 3], None])
def test_check_of_a_server_with_or_without_a_list_of_models_passes(models):
    with ScriptedServer(models=models) as server:
        ChatClient(server.base_url).check()


def test_the_key_is_sent_and_seen_nowhere_else(monkeypatch, caplog):
    monkeypatch.setenv(KEY, SECRET)
    caplog.set_level(logging.DEBUG)
    echo = failed(401, f"no such key: {SECRET}")
    with ScriptedServer([said("yes"), echo, Response(SECRET.encode())], models=[]) as server:
        service = ChatClient(server.base_url, ClientSettings(patience=RetryPolicy(tries=1)))
        service.complete([request()])
        assert server.headers[0]["authorization"] == f"Bearer {SECRET}"
        for _ in range(2):
            with pytest.raises(ModelError) as caught:
                service.complete([request()])
            assert SECRET not in str(caught.value)
        assert SECRET not in repr(service)
    assert "HTTP" in caplog.text
    assert SECRET not in caplog.text


def test_a_key_for_openai_goes_to_openai_alone(monkeypatch):
    monkeypatch.setenv(OPENAI_KEY, SECRET)
    assert key_for("https://api.openai.com/v1") == SECRET
    for other in ("http://api.openai.com/v1", "https://api.openai.com.example.org/v1", "http://localhost:8000/v1"):
        assert key_for(other) is None
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {SECRET}")
    with ScriptedServer([said("yes")]) as server:
        asked(server)
    assert SECRET not in str(server.headers)
    monkeypatch.setenv(KEY, "mine")
    assert key_for("http://localhost:8000/v1") == key_for("https://api.openai.com/v1") == "mine"


def test_a_key_that_is_none_is_refused_without_being_shown(monkeypatch):
    monkeypatch.setenv(KEY, f"{SECRET}\n")
    with pytest.raises(SettingsError, match=KEY) as caught:
        key_for("http://localhost:8000/v1")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"timeout": 0.0}, {"timeout": float("nan")}])
def test_impossible_manners_are_refused(wrong):
    with pytest.raises(SettingsError, match="at least 1 request"):
        ClientSettings(**wrong)


def test_pictures_are_made_when_their_turn_has_come():
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
