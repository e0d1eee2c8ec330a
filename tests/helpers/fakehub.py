"""A hub of models on this machine, with files in memory, for tests of downloads."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789" * 4


class FakeHub:
    """The files of models by name. requests: the names of the files sent."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.models: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    """Makes an address the hub, with a cache of its own."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Runs a hub without models."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        hub = FakeHub(f"http://127.0.0.1:{server.server_port}")
        server.hub = hub  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield hub
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        hub: FakeHub = self.server.hub  # type: ignore[attr-defined]
        words = self.path.partition("?")[0].strip("/").split("/")
        is_api = words[:2] == ["api", "models"]
        owner, model, *rest = words[2:] if is_api else words
        files = hub.models.get(f"{owner}/{model}")
        if files is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, body)
        elif is_api:
            self._send(200, json.dumps(_described(f"{owner}/{model}", files, rest)).encode(), {}, body)
        else:
            self._file(hub, files, rest[-1], body)

    def _file(self, hub: FakeHub, files: dict[str, bytes], name: str, body: bool) -> None:
        if body:
            hub.requests.append(name)
        self._send(200, files[name], {"ETag": f'"{_digest(files[name])}"', "X-Repo-Commit": COMMIT}, body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def _described(name: str, files: dict[str, bytes], rest: list[str]) -> Any:
    if rest[:1] == ["tree"]:
        return [
            {"type": "file", "path": path, "size": len(content), "oid": _digest(content)}
            for path, content in files.items()
        ]
    return {"id": name, "modelId": name, "sha": COMMIT, "siblings": [{"rfilename": path} for path in files]}


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
