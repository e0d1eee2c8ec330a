"""Address and token of a service, and the process that serves it."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from thinkseg.errors import SettingsError

if TYPE_CHECKING:
    from fastapi import FastAPI

TOKEN = "THINKSEG_TOKEN"
"""Environment variable with the token, here and in the kits."""

MIN_TOKEN_CHARS = 16
STOP_SECONDS = 10
"""Time for requests in progress once the server is to stop."""

MAX_CONNECTIONS = 2_500
"""More connections are answered with the status 503."""


def read_token(file: Path | None) -> str | None:
    """Returns the token in a file, or else in the environment variable `TOKEN`; None if there is neither.

    Raises SettingsError for an unreadable file or a token that is short or not of printable ASCII characters.
    """
    where = TOKEN if file is None else str(file)
    try:
        token = os.environ.get(TOKEN, "") if file is None else file.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"--token-file: cannot read {where}: {getattr(error, 'strerror', 'not ASCII')}") from None
    if file is None and not token:
        return None
    if not re.fullmatch(rf"[!-~]{{{MIN_TOKEN_CHARS},1000}}", token):
        raise SettingsError(
            f"{where}: not a token; give at least {MIN_TOKEN_CHARS} printable characters without spaces"
        )
    return token


def bind(host: str, port: int, token: str | None) -> socket.socket:
    """Returns a socket that is bound to an address, and does not listen yet. port: 0 for any free one.

    Raises SettingsError for an address beyond this machine without a token, or one that is invalid or in use.
    """
    if token is None and not _is_loopback(host):
        raise SettingsError(f"--host: {host} can be reached by other machines; set a token in {TOKEN} or --token-file")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise SettingsError(f"--host, --port: cannot use {host} port {port}: {error.strerror}; choose others") from None
    return bound


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(bound: socket.socket) -> str:
    """Returns the address of a socket as a URL."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: FastAPI, bound: socket.socket, stop_seconds: int = STOP_SECONDS) -> None:
    """Serves an application on a socket until a signal ends the process, which is raised again afterwards.

    stop_seconds: time for requests in progress once the server is to stop.
    """
    import uvicorn

    from thinkseg.web.patience import PatientProtocol

    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        access_log=False,
        log_level="warning",
        ws="none",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=stop_seconds,
    )
    uvicorn.Server(config).run(sockets=[bound])


def check_installed(extra: str) -> None:
    """Raises SettingsError if a package of the server is missing. extra: of this package, which installs it."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise SettingsError(f"the package {error.name} is not installed; pip install 'thinkseg[{extra}]'") from None
