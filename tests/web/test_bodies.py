"""Bodies that are too large or too slow."""

import asyncio

import pytest
from starlette.exceptions import HTTPException

from thinkseg.web import bodies
from thinkseg.web.bodies import PatientExchange


def receiving(*parts, seconds=0.0):
    """What a server passes on: parts of a body, each after some seconds, of which the last is not the end."""
    waiting = iter(parts)

    async def receive():
        await asyncio.sleep(seconds)
        try:
            return {"type": "http.request", "body": next(waiting), "more_body": True}
        except StopIteration:
            await asyncio.sleep(60)

    return receive


async def read_all(receive, max_bytes):
    exchange = PatientExchange(receive, sending, max_bytes)
    while True:
        await exchange.receive()


async def sending(message):
    pass


def test_receive_refuses_body_that_stops(monkeypatch):
    monkeypatch.setattr(bodies, "IDLE_SECONDS", 0.2)
    with pytest.raises(HTTPException, match="nothing of the body arrived") as error:
        asyncio.run(read_all(receiving(b"half"), 100))
    assert error.value.status_code == 408


def test_receive_refuses_body_that_drips(monkeypatch):
    monkeypatch.setattr(bodies, "IDLE_SECONDS", 0.2)
    with pytest.raises(HTTPException, match="less than 16,384 bytes per second"):
        asyncio.run(read_all(receiving(*[b"1"] * 100, seconds=0.005), 1000))


def test_receive_refuses_body_longer_than_announced():
    with pytest.raises(HTTPException, match="more than 10 bytes"):
        asyncio.run(read_all(receiving(b"123456", b"123456"), 10))


def test_receive_slow_body_of_answered_request_is_disconnect(monkeypatch):
    monkeypatch.setattr(bodies, "IDLE_SECONDS", 0.01)

    async def received():
        exchange = PatientExchange(receiving(), sending, 100)
        await exchange.send({"type": "http.response.start"})
        return await exchange.receive()

    assert asyncio.run(received()) == {"type": "http.disconnect"}


def test_receive_body_that_waits_for_the_application_is_not_slow(monkeypatch):
    monkeypatch.setattr(bodies, "IDLE_SECONDS", 0.05)

    async def received():
        exchange = PatientExchange(receiving(b"1", b"2"), sending, 100)
        await asyncio.sleep(0.1)
        return [(await exchange.receive())["body"] for _ in range(2)]

    assert asyncio.run(received()) == [b"1", b"2"]
