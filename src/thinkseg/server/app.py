"""The HTTP interface of the reward service.

    POST /score     a `ScoreRequest` -> {"total": 2.5, "terms": {"format": 1.0, ...}, "failure": null}
    GET /status     {"version": ..., "tracker": "flow", "datasets": {"revos:train": 21512}}

A term is null where the reward does not apply to the prompt; "failure" is the reason why a reply is invalid. An error
is {"error": "one line"}: 401 without the token, another 4xx for a request that cannot be answered, 503 for one that may
be repeated, 500 for a failure of the service, such as a tracker out of memory, which is never a score.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from thinkseg import __version__
from thinkseg.server.requests import ScoreRequest
from thinkseg.server.scoring import RewardService
from thinkseg.web.bodies import PatientExchange
from thinkseg.web.errors import add_error_handlers, error_response, is_token
from thinkseg.web.guard import refuse_body, refuse_host

MAX_BODY_BYTES = 4 << 20


class Score(BaseModel):
    """The rewards of one dialogue, as `RolloutScore`. failure: of the `Outcome`."""

    total: float
    terms: Mapping[str, float | None]
    failure: str | None


def create_app(service: RewardService, token: str | None) -> FastAPI:
    """Returns the application. token: required in requests as "Authorization: Bearer TOKEN"; None if none is."""

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    # Without the pages of documentation, which load scripts from elsewhere.
    app = FastAPI(openapi_url=None, lifespan=closing)
    app.add_middleware(_Guard, token=token)

    @app.post("/score")
    async def score(asked: ScoreRequest) -> Score:
        outcome, found = await service.score(asked)
        return Score(total=found.total, terms=found.terms, failure=outcome.failure)

    @app.get("/status")
    async def status() -> dict[str, Any]:
        return {
            "version": __version__,
            "tracker": service.tracker.name,
            "datasets": service.questions.describe(),
        }

    add_error_handlers(app)
    return app


class _Guard:
    """Refuses requests by their headers: without the token, of a web page, or too large. A body must not be slow."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._refusal(scope["method"], Headers(scope=scope)) or self._app
        patient = PatientExchange(receive, send, MAX_BODY_BYTES)
        try:
            await answer(scope, patient.receive, patient.send)
        except asyncio.CancelledError:  # the server stops, which must not end the training
            await error_response(503, "the server stops; repeat the request later")(scope, receive, send)

    def _refusal(self, method: str, headers: Headers) -> Response | None:
        given = headers.get("authorization", "")
        if self._token is None and (answer := refuse_host(headers)):
            return answer
        if self._token is not None and not is_token(given, f"Bearer {self._token}"):
            return error_response(401, "the token is missing or wrong; set THINKSEG_TOKEN to that of the server")
        if "origin" in headers:
            return error_response(403, "requests of web pages are refused")
        if answer := refuse_body(headers, MAX_BODY_BYTES):
            return answer
        if method == "POST" and headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return error_response(415, "the Content-Type must be application/json")
        return None
