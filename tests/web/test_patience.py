"""Connections whose requests do not arrive are closed; others are answered."""

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from thinkseg.web import patience
from thinkseg.web.patience import PatientProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, int]]:
    monkeypatch.setattr(patience, "HEAD_SECONDS", 0.3)
    server = uvicorn.Server(uvicorn.Config(hello, http=PatientProtocol, log_level="critical", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield bound.getsockname()
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", REQUEST[:-2], REQUEST + REQUEST[:10]])
def test_half_sent_request_is_closed(address, sent):
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(sent)
        received = b"".join(iter(lambda: connection.recv(1000), b""))
    assert received.count(b"HTTP/1.1 200") == sent.count(REQUEST)


def test_requests_on_one_connection_are_answered(address, monkeypatch):
    monkeypatch.setattr(patience, "HEAD_SECONDS", 60)
    with socket.create_connection(address, timeout=30) as connection:
        for _ in range(3):
            connection.sendall(REQUEST)
            received = b""
            while not received.endswith(b"hi"):
                received += connection.recv(1000)
