"""Hosts that are refused, and bodies that are too large or too slow."""

import asyncio

import pytest
from starlette.exceptions import HTTPException

from thinkseg.web import guard
from thinkseg.web.guard import PatientBody, is_this_machine


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9000", "127.0.0.1:8787", "127.1.2.3", "[::1]:8787", "LOCALHOST"]
)
def test_is_this_machine_of_loopback_is_true(host):
    assert is_this_machine(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:8787", "192.168.0.1", "localhost.evil.example", "[::1", "0.0.0.0"]
)
def test_is_this_machine_of_other_host_is_false(host):
    assert not is_this_machine(host)


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


async def read_all(receive):
    while True:
        await receive()


def test_patient_body_refuses_body_that_stops(monkeypatch):
    monkeypatch.setattr(guard, "IDLE_SECONDS", 0.01)
    with pytest.raises(HTTPException, match="nothing of the body arrived") as error:
        asyncio.run(read_all(PatientBody(receiving(b"half"), 100)))
    assert error.value.status_code == 408


def test_patient_body_refuses_body_that_drips(monkeypatch):
    monkeypatch.setattr(guard, "IDLE_SECONDS", 0.02)
    with pytest.raises(HTTPException, match="less than 16,384 bytes per second"):
        asyncio.run(read_all(PatientBody(receiving(*[b"1"] * 100, seconds=0.005), 1000)))


def test_patient_body_refuses_body_longer_than_announced():
    with pytest.raises(HTTPException, match="more than 10 bytes"):
        asyncio.run(read_all(PatientBody(receiving(b"123456", b"123456"), 10)))
