"""The app with a scripted model, and the reward server, as their commands serve them."""

from __future__ import annotations

from functools import partial

import uvicorn  # noqa: F401, imported once

from scriptedapp import make
from thinkseg.app import service
from thinkseg.cli import app


def run(words: list[str]) -> int:
    """Runs one command, and returns its exit status."""
    service.Service = partial(service.Service, make=make, examples=())
    return app.main(words)
