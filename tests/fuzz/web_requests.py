"""HTTP requests to the app and to the reward server: as messages of ASGI, and as bytes on a socket.

An answer is below 500 or 503, and an error is one short line of JSON. A request of which nothing more arrives is
answered, or its connection closed.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, unquote

import uvicorn

import scriptedapp
from appclient import new_service
from footage import clip
from fuzzing import WrongError, check_message
from mutation import LONG_TEXTS, SCALARS, TEXTS, mutated_bytes, mutated_json_file, mutated_text
from thinkseg.app.serve import create_app
from thinkseg.server.app import create_app as create_reward_app
from thinkseg.server.questions import Questions, read_specs
from thinkseg.server.scoring import RewardService
from thinkseg.web import bodies, patience
from thinkseg.web.serve import bind

HOST = "localhost:8787"
JSON = "application/json"

ANSWER_SECONDS = 60.0
"""Of the clock, in which even a busy machine answers. Processor time is limited as everywhere."""

HEADERS = [
    *(
        ("host", value)
        for value in ("", "evil.example", "[::1", "localhost:x", "localhost:99999", "[::1]:1", "a" * 9000)
    ),
    *(("origin", value) for value in ("null", "http://[::1", "http://" + HOST, "//", "http://[x]/", "é")),
    *(("content-length", value) for value in ("0", "1", "5", "9" * 20, "4194305", "00012")),
    *(("content-type", value) for value in ("", JSON, "text/html", "application/json; charset=é", ";")),
    *(("cookie", value) for value in ("", "thinkseg_token=", "thinkseg_token=é; =;;", "a" * 4000, '"')),
    *(("authorization", value) for value in ("", "Bearer", "Bearer é", "Basic x")),
    *(
        ("range", value)
        for value in ("bytes=0-", "bytes=5-2", "bytes=-1", "bytes=0-0,2-9,4-5", "bytes=" + "0-1," * 500)
    ),
    *(("if-range", "x"), ("if-none-match", "*"), ("if-modified-since", "x"), ("expect", "100-continue")),
    *(("transfer-encoding", "chunked"), ("upgrade", "websocket"), ("accept-encoding", "gzip"), ("x-y", "\xff")),
]
"""Names and values as h11 lets them through, so that the application gets them."""

RAW = [
    *(
        b"GET /api/videos HTTP/1.1\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /\r\n\r\n",
    ),
    *(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5000, b"A" * 200_000, b"GET " + b"/" * 100_000),
    *(
        b"POST /api/questions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ),
    *(b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n{}", b"\0" * 1000),
]
"""What is hardly HTTP."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request. target: path and query, percent-encoded."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def raw(self) -> bytes:
        """Returns its bytes."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        return f"{self.method} {self.target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1", "replace") + self.body


class Requests:
    """What both services have in common. share_on_sockets: of the cases."""

    name: str
    count = 3000
    share_on_sockets = 0.15

    def make(self, folder: Path) -> Any:
        """Returns the application."""
        raise NotImplementedError

    def seeds(self) -> Sequence[Sent]:
        """Returns valid requests."""
        raise NotImplementedError

    def prepare(self, folder: Path) -> None:
        self.app = self.make(folder)
        self.bound = bind("127.0.0.1", 0, None)
        self.bound.listen()
        protocol: Any = patience.PatientProtocol
        config = uvicorn.Config(self.app, http=protocol, log_level="critical", ws="none", server_header=False)
        self.server = _Server(config)
        threading.Thread(target=self.server.run, args=([self.bound],), daemon=True).start()
        self.server.ready.wait()
        self.seeds()  # the first requests start processes
        patience.HEAD_SECONDS, bodies.IDLE_SECONDS = 1.0, 2.0

    def run(self, rng: Random, folder: Path) -> None:
        sent = _damaged(rng, rng.choice(self.seeds()))
        if rng.random() < self.share_on_sockets:
            self._send_raw(rng, sent)
        else:
            check_answer(*self.call(sent, leaves=rng.random() < 0.2), sent)

    def call(self, sent: Sent, leaves: bool = False) -> tuple[int, bytes]:
        """Returns the status and the body of the answer. leaves: the client does, once it has sent the body."""
        answering: Future[Any] = asyncio.run_coroutine_threadsafe(_call(self.app, sent, leaves), self.server.loop)
        try:
            status, body = answering.result(ANSWER_SECONDS)
        except TimeoutError:
            raise WrongError(f"no answer after {ANSWER_SECONDS} s: {sent!r}"[:1000]) from None
        return status, body

    def _send_raw(self, rng: Random, sent: Sent) -> None:
        data = sent.raw() if rng.random() < 0.8 else rng.choice(RAW)
        data = mutated_bytes(rng, data) if rng.random() < 0.5 else data[: rng.randint(0, len(data))]
        with socket.create_connection(self.bound.getsockname(), ANSWER_SECONDS) as connection:
            try:
                connection.sendall(data)
                if rng.random() < 0.7:
                    connection.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: connection.recv(1 << 16), b"")) if rng.random() < 0.8 else b""
            except TimeoutError:
                raise WrongError(f"the connection stays open: {data!r}"[:1000]) from None
            except OSError:  # the server has closed it
                return
        if answer.startswith(b"HTTP/1.1 500"):
            raise WrongError(f"{answer[-300:]!r} to {data!r}"[:1000])


class _Server(uvicorn.Server):
    """A server that says when it listens, and has its loop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.ready.set()


async def _call(app: Any, sent: Sent, leaves: bool) -> tuple[int, bytes]:
    """Sends a request as a server does: its body in two parts. Returns the status and the body."""
    half = len(sent.body) // 2
    parts = [
        {"type": "http.request", "body": sent.body[:half], "more_body": True},
        {"type": "http.request", "body": sent.body[half:], "more_body": False},
        *([{"type": "http.disconnect"}] if leaves else []),
    ]
    messages: list[Any] = []

    async def receive() -> Any:
        return parts.pop(0) if parts else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        messages.append(message)

    await app(_scope(sent), receive, send)
    statuses = [message["status"] for message in messages if message["type"] == "http.response.start"]
    body = b"".join(message.get("body", b"") for message in messages)
    return (statuses or [0])[0], body


def _scope(sent: Sent) -> dict[str, Any]:
    path, _, query = sent.target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": sent.method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8787),
        "state": {},
    }


def check_answer(status: int, body: bytes, sent: Sent) -> None:
    """Raises WrongError for an answer that must not be. status: 0 for none, as to a client that has left."""
    if status >= 500 and status not in (503, 507):
        raise WrongError(f"status {status} {body[:300]!r} to {sent!r}"[:1500])
    answers_range = status in (400, 416) and any(name == "range" for name, _ in sent.headers)  # in the words of HTTP
    if status >= 400 and sent.method != "HEAD" and not answers_range:
        check_message(json.loads(body)["error"])


def _damaged(rng: Random, sent: Sent) -> Sent:
    for _ in range(rng.choice([1, 1, 2, 3])):
        sent = rng.choice(CHANGES)(rng, sent)
    lengths = {name for name, _ in sent.headers}
    missing = () if "content-length" in lengths else (("content-length", str(len(sent.body))),)
    return replace(sent, headers=(*sent.headers, *missing))


def _change_body(rng: Random, sent: Sent) -> Sent:
    is_json = sent.body.startswith(b"{")
    return replace(sent, body=(mutated_json_file if is_json else mutated_bytes)(rng, sent.body))


def _change_target(rng: Random, sent: Sent) -> Sent:
    text = mutated_text(rng, unquote(sent.target))
    path, mark, query = text.partition("?")
    return replace(
        sent,
        target="/"
        + quote(path.lstrip("/"), safe="/", errors="replace")
        + mark
        + quote(query, safe="=&", errors="replace"),
    )


def _change_parameter(rng: Random, sent: Sent) -> Sent:
    path, _, query = sent.target.partition("?")
    names = [part.partition("=")[0] for part in query.split("&")]
    value = rng.choice([*TEXTS, *LONG_TEXTS, *map(str, SCALARS), "nan", "-inf", "1e9", "%"])
    return replace(sent, target=f"{path}?{rng.choice(names)}={quote(value, errors='replace')[:60_000]}")


def _change_headers(rng: Random, sent: Sent) -> Sent:
    name, value = rng.choice(HEADERS)
    kept = [pair for pair in sent.headers if pair[0] != name or rng.random() < 0.2]
    return replace(sent, headers=(*kept, (name, value)))


def _change_method(rng: Random, sent: Sent) -> Sent:
    return replace(sent, method=rng.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "X"]))


CHANGES = [_change_body, _change_body, _change_body, _change_target, _change_parameter, _change_headers, _change_method]


class AppRequests(Requests):
    name = "app requests"

    def make(self, folder: Path) -> Any:
        self.service = new_service(folder / "data")
        self.clip = clip(folder, count=6).read_bytes()
        return create_app(self.service)

    def seeds(self) -> Sequence[Sent]:
        """Valid requests, about the newest video and question."""
        host = (("host", HOST),)
        video, question = self._newest()
        ask = {"video": video, "query": "it", "chain": "veason", "reading": "repair", "preset": None, "device": "cpu"}
        prompt = {"frame": 0, "object": 1, "box": [1, 2, 30, 20], "points": [[4, 5]], "labels": [1]}
        bodies = [ask, {"video": video, "prompts": [prompt]}, {"result": question, "prompts": [prompt], "drop": [1]}]
        posted = [
            Sent("POST", "/api/questions", (*host, ("content-type", JSON)), json.dumps(one).encode()) for one in bodies
        ]
        upload = Sent("POST", "/api/videos?name=clip.mp4", host, self.clip)
        paths = [
            *("/", "/static/app.js", "/openapi.json", "/api/models", "/api/videos", "/api/questions"),
            *(
                f"/api/videos/{video}{rest}"
                for rest in ("", "/frame?index=0&small=true", "/frame?t=0.2", "/frames?frame=3")
            ),
            *(
                f"/api/questions/{question}{rest}"
                for rest in ("", "/events", "/masks?frame=0", "/files/coco", "/files/result")
            ),
            f"/api/questions?video={video}",
        ]
        deleted = Sent("DELETE", f"/api/questions/{question}", host)
        return [*posted * 3, upload, deleted, *(Sent("GET", path, host) for path in paths)]

    def _newest(self) -> tuple[str, str]:
        """Returns the ids of the newest video and question, made if there is none."""
        videos = self.service.store.videos()
        if not videos:
            upload = Sent("POST", "/api/videos", (("host", HOST), ("content-length", str(len(self.clip)))), self.clip)
            status, body = self.call(upload)
            if status != 201:
                raise WrongError(f"status {status} {body!r} to an upload")
            videos = self.service.store.videos()
        questions = self.service.store.questions()
        return videos[0].id, questions[0].id if questions else 32 * "0"


class RewardRequests(Requests):
    name = "reward requests"

    def make(self, folder: Path) -> Any:
        questions = Questions(read_specs(["shapes:train"]))
        service = RewardService(questions, scriptedapp.Filler(), workers=2, max_prompts=3)
        return create_reward_app(service, None)

    def seeds(self) -> Sequence[Sent]:
        headers = (("host", HOST), ("content-type", JSON))
        labels = ["0.0", "0.8", "1.7", "2.6"]
        asked = {
            "dataset": "shapes:train",
            "id": "train-000000/0",
            "chain": "veason",
            "indices": [0, 10, 20, 31],
            "labels": labels,
            "frame_wh": [112, 112],
            "source_wh": [224, 224],
            "coordinates": "pixels",
            "replies": [scriptedapp.ANSWER],
            "weights": {"format": 1.0, "keyframe": 1.0, "boxes": 0.5, "consistency": 1.0},
        }
        return [*[Sent("POST", "/score", headers, json.dumps(asked).encode())] * 5, Sent("GET", "/status", headers[:1])]
