"""A server that plays OpenAI's API by a script: real HTTP on loopback, with all that can go wrong on the way.

    with ScriptedServer([busy(0.1), said("hello")]) as server:
        EndpointPolicy.connect(f"openai:qwen3-vl@{server.base_url}").reply([...])
    server.asked        bodies of the chat requests, in order; `server.headers` what came with them

A script is a list of responses, given one after another, or a function from a request's body to a response.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Response:
    """body: JSON, bytes sent as they are, or a generator of pieces, which is closed if the client hangs up.

    cut: bytes that are announced and never sent. delay: seconds before it. drip: seconds before each byte of the body.
    """

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int = 0
    drip: float = 0.0


def completion(text: str | None, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish_reason}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def said(text: str | None, finish_reason: str = "stop", **message: Any) -> Response:
    return Response(completion(text, finish_reason, **message))


def pieces(*deltas: str | dict[str, Any], finish_reason: str | None = "stop") -> list[bytes]:
    """A streamed completion, one event per text or delta, and the end of it unless `finish_reason` is None."""
    bodies: list[Any] = [{"delta": {"content": one} if isinstance(one, str) else one} for one in deltas]
    chunks: list[Any] = [{"choices": [body], "usage": None} for body in bodies]
    if finish_reason is not None:
        chunks.append({"choices": [{"delta": {}, "finish_reason": finish_reason}]})
        chunks.append({"choices": [], "usage": completion("")["usage"]})
    events = [b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks]
    return [*events, *([b"data: [DONE]\n\n"] if finish_reason else [])]


def failed(status: int, message: str = "something went wrong", code: str | None = None, **headers: str) -> Response:
    return Response({"error": {"message": message, "type": "error", "param": None, "code": code}}, status, headers)


def busy(seconds: float | str | None = None) -> Response:
    """Too many requests; seconds: what it asks to wait, in the header."""
    return failed(429, "slow down", "rate_limit_exceeded", **({} if seconds is None else {"Retry-After": str(seconds)}))


class _QuietServer(ThreadingHTTPServer):
    """Says nothing of clients that hang up or give up waiting: what a test prints may be what it reads."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class ScriptedServer:
    """Serves a script; models: what it lists, or its response to that; None for a server that has no list."""

    def __init__(
        self,
        script: Iterable[Response] | Callable[[dict[str, Any]], Response] = (),
        models: list[dict[str, Any]] | Response | None = None,
    ) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        self._models = models
        waiting = iter([] if callable(script) else script)
        self._respond = script if callable(script) else lambda _: next(waiting, failed(400, "the script has run out"))
        self._server = _QuietServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.base_url = f"{self.url}/v1"

    def __enter__(self) -> "ScriptedServer":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def get(self, path: str) -> Response:
        """The response to a GET request."""
        if path != "/v1/models" or self._models is None:
            return failed(404, f"no {path}")
        listed = self._models
        return listed if isinstance(listed, Response) else Response({"object": "list", "data": listed})

    def post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Response:
        """The response to a POST request."""
        assert path == "/v1/chat/completions"
        return self.answer(body, headers)

    def answer(self, body: dict[str, Any], headers: dict[str, str]) -> Response:
        """Notes a request and gives the response to it, once its delay is over."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.asked.append(body)
            self.headers.append(headers)
            self.times.append(time.monotonic())
            response = self._respond(body)
        time.sleep(response.delay)
        with self._lock:
            self._at_once -= 1
        return response

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one packet: sent apart, the second waits 40 ms for the first to be acknowledged.
            wbufsize = -1

            def do_GET(self) -> None:
                self.send(outer.get(self.path))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
                self.send(outer.post(self.path, body, {name.lower(): value for name, value in self.headers.items()}))

            def stream(self, response: Response) -> None:
                self.close_connection = True
                self.send_response(response.status)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                with closing(response.body):
                    for piece in response.body:
                        self.wfile.write(piece)
                        self.wfile.flush()

            def send(self, response: Response) -> None:
                if isinstance(response.body, Generator):
                    self.stream(response)
                    return
                data = response.body if isinstance(response.body, bytes) else json.dumps(response.body).encode()
                self.send_response(response.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data) + response.cut))
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in (bytes([byte]) for byte in data) if response.drip else [data]:
                    time.sleep(response.drip)
                    self.wfile.write(piece)
                    self.wfile.flush()
                self.close_connection = bool(response.cut)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
