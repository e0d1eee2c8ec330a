"""Requests that are refused before they are read."""

import pytest
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from thinkseg.app.limits import COOKIE, Guard, Limits

TOKEN = "0123456789;abcdef"


async def echo(request):
    return PlainTextResponse(f"{len(await request.body())} bytes")


def client(token=None, base_url="http://localhost:8787"):
    app = Starlette(
        routes=[Route(path, echo, methods=["GET", "POST"]) for path in ("/", "/api/videos", "/api/questions")]
    )
    app.add_middleware(Guard, limits=Limits(max_upload_bytes=2 << 20), token=token)
    return TestClient(app, base_url=base_url, follow_redirects=False)


def test_guard_refuses_host_that_resolves_to_this_machine():
    answer = client(base_url="http://rebound.example:8787").get("/")
    assert (answer.status_code, list(answer.json())) == (403, ["error"])


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9999", "https://localhost.evil.example", "http://[::1"]
)
def test_guard_refuses_requests_of_other_pages(origin):
    assert client().post("/api/questions", json={}, headers={"Origin": origin}).status_code == 403


def test_guard_passes_its_own_page_and_adds_headers():
    answer = client().post("/api/questions", content=b"12", headers={"Origin": "http://localhost:8787"})
    assert (answer.status_code, answer.text) == (200, "2 bytes")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_guard_with_token_takes_header_or_cookie_from_any_host():
    guarded = client(TOKEN, "http://machine.example:8787")
    assert guarded.get("/").status_code == 401
    assert guarded.get("/", params={"token": "wrong"}).status_code == 401
    assert guarded.get("/api/videos", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    answer = guarded.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "SameSite=strict" in answer.headers["set-cookie"]
    assert COOKIE in guarded.cookies
    assert guarded.get("/api/videos").status_code == 200


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [("/api/questions", (1 << 20) + 1, 413), ("/api/videos", 2 << 20, 200), ("/api/videos", (2 << 20) + 1, 413)],
)
def test_guard_limits_size_by_path(path, size, status):
    assert client().post(path, content=bytes(size)).status_code == status


def test_guard_refuses_body_without_length():
    assert client().post("/api/videos", content=iter([b"1"])).status_code == 411
