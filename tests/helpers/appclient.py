"""A client of an app whose model is scripted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

import scriptedapp
from thinkseg.app.limits import Limits
from thinkseg.app.service import Service

LIMITS = Limits(max_upload_bytes=1 << 20, max_seconds=20, max_frames=60, quota_bytes=4 << 20, max_queued=3)


class AppClient(TestClient):
    """A client with the service that it uses."""

    service: Service

    def ask(self, **asked: Any) -> str:
        """Asks a question, and returns its id."""
        answer = self.post("/api/questions", json=asked)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def events(self, question: str) -> list[dict[str, Any]]:
        """Follows a question to its end."""
        lines = self.get(f"/api/questions/{question}/events").text.splitlines()
        return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]

    def state(self, question: str) -> tuple[str, str | None]:
        """Waits for the end of a question, and returns its state and its error."""
        last = self.events(question)[-1]
        return last["state"], last["error"]


def new_service(folder: Path, limits: Limits = LIMITS) -> Service:
    """A service without example clips."""
    folder.mkdir(exist_ok=True)
    return Service(folder, scriptedapp.NAMES, limits, scriptedapp.make, examples=())
