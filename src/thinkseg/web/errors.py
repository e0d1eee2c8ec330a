"""Answers to requests that cannot be answered: {"error": "one line"} and a status."""

from __future__ import annotations

import hmac
import sys

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from thinkseg.errors import ThinkSegError, one_line

MAX_ERROR_CHARS = 500


class RequestError(Exception):
    """A request cannot be answered. status: of the HTTP response, 4xx, or 503 for one that may be repeated."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def error_response(status: int, message: str) -> JSONResponse:
    """Returns the answer to a request that cannot be answered."""
    return JSONResponse({"error": one_line(message, MAX_ERROR_CHARS)}, status)


def is_token(given: str, token: str) -> bool:
    """Whether a text is the token, in a time that does not tell how much of it is right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


def add_error_handlers(app: FastAPI) -> None:
    """Makes an application answer all errors in this form."""

    @app.exception_handler(RequestError)
    async def refuse(_: Request, error: RequestError) -> JSONResponse:
        return error_response(error.status, str(error))

    @app.exception_handler(RequestValidationError)
    async def refuse_body(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return error_response(422, f"{where or 'body'}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def refuse_path(_: Request, error: HTTPException) -> JSONResponse:
        return error_response(error.status_code, str(error.detail))

    @app.exception_handler(ThinkSegError)
    async def fail(_: Request, error: ThinkSegError) -> JSONResponse:
        print(f"thinkseg: {error}", file=sys.stderr, flush=True)
        return error_response(500, str(error))

    @app.exception_handler(Exception)
    async def report_bug(_: Request, error: Exception) -> JSONResponse:
        # The server prints its traceback.
        return error_response(500, f"{type(error).__name__}: {error}")
