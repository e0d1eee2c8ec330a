"""What the app accepts: limits of uploads and videos, and the requests that are refused before they are read."""

from __future__ import annotations

from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinkseg.web.bodies import PatientExchange
from thinkseg.web.errors import error_response, is_token
from thinkseg.web.guard import refuse_body, refuse_host

UPLOAD_PATH = "/api/videos"
COOKIE = "thinkseg_token"

MAX_JSON_BYTES = 1 << 20
"""Of a body that is no upload."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Of each response: the page loads nothing from elsewhere, and no other page can embed or read it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of uploads, videos, and what is kept.

    max_pixels: width times height. quota_bytes: of all videos and results. max_uploads: at the same time.
    max_queued: questions that wait. max_streams: clients that follow questions.
    """

    max_upload_bytes: int = 1 << 30
    max_seconds: float = 600.0
    max_frames: int = 20_000
    max_pixels: int = 4096 * 2304
    quota_bytes: int = 20 << 30
    max_uploads: int = 32
    max_queued: int = 100
    max_streams: int = 100


class Guard:
    """Refuses requests by their headers, and bodies that are too large or too slow. Adds `HEADERS` to responses.

    token: of all requests, as "Authorization: Bearer TOKEN" or in a cookie, which /?token=TOKEN sets. Without one, the
    Host must be this machine, so that no other site can be resolved to it.
    """

    def __init__(self, app: ASGIApp, limits: Limits, token: str | None) -> None:
        self._app, self._limits, self._token = app, limits, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request. Satisfies ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._answer(scope, Headers(scope=scope)) or self._app
        patient = PatientExchange(receive, send, self._max_bytes(scope))
        await answer(scope, patient.receive, _with_headers(patient.send))

    def _answer(self, scope: Scope, headers: Headers) -> Response | None:
        """Returns the response to a request that does not reach the app."""
        if self._token is None and (answer := refuse_host(headers)):
            return answer
        if "origin" in headers and _host_of(headers["origin"]) != headers.get("host"):
            return error_response(403, "requests of other web pages are refused")
        if self._token is not None and (answer := _without_token(scope, headers, self._token)):
            return answer
        return refuse_body(headers, self._max_bytes(scope))

    def _max_bytes(self, scope: Scope) -> int:
        return self._limits.max_upload_bytes if scope["path"] == UPLOAD_PATH else MAX_JSON_BYTES


def _host_of(origin: str) -> str | None:
    """Returns the host of an Origin header, with its port; None for an invalid one."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _without_token(scope: Scope, headers: Headers, token: str) -> Response | None:
    """Returns the response to a request without the token. One that brings it in its address gets a cookie."""
    given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
    if scope["path"] == "/" and is_token(given, token):
        page = RedirectResponse("/", 303)
        page.set_cookie(COOKIE, token, httponly=True, samesite="strict")
        return page
    if is_token(headers.get("authorization", ""), f"Bearer {token}") or is_token(_cookie(headers), token):
        return None
    return error_response(401, "the token is missing or wrong; open the address that thinkseg app prints")


def _cookie(headers: Headers) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers
