"""From a policy to a running server: a place to listen at in, requests answered until it is interrupted."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from importlib import import_module
from ipaddress import ip_address

from thinkseg.errors import ModelError, SettingsError
from thinkseg.models.service import KEY
from thinkseg.server.desk import Answerer

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

GRACE_SECONDS = 1
"""How long answers that are being written are waited for once the server is to end."""


def serve(policy: Answerer, name: str, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Answers requests until it is interrupted.

    name: what the model is called. port: 0 takes any that is free. ready: called with the base URL once requests are
    heard. Raises SettingsError if it cannot listen there, or would answer anybody on a network without a key.
    """
    import uvicorn

    from thinkseg.server.app import create_app

    key = checked_key(host)
    hosts = LOOPBACK_NAMES if is_loopback(host) else None
    app = create_app(policy, name, key=key, hosts=hosts)
    with listening(host, port) as listener:
        ready(f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/v1")
        settings = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=GRACE_SECONDS
        )
        uvicorn.Server(settings).run(sockets=[listener])


def check_packages() -> None:
    """Raises ModelError if what serving needs is not installed."""
    missing = [name for name in ("fastapi", "uvicorn") if not _is_there(name)]
    if missing:
        raise ModelError(f"serving needs {' and '.join(missing)}: pip install 'thinkseg[serve]'")


def _is_there(package: str) -> bool:
    try:
        import_module(package)
    except ImportError:
        return False
    return True


def served_name(policy: str) -> str:
    """What a policy is called by its clients: the last part of a folder's name, so that paths are nobody's business."""
    return os.path.basename(os.path.abspath(policy)) if os.path.isdir(policy) else policy


def checked_key(host: str) -> str | None:
    """What clients must send, from the environment. Raises SettingsError if that is needed and missing."""
    key = os.environ.get(KEY) or None
    if key is not None and not re.fullmatch(r"[!-~]+", key):
        raise SettingsError(f"{KEY}: a key is made of printable ASCII characters without spaces")
    if key is None and not is_loopback(host):
        raise SettingsError(f"anybody who reaches {host} could ask: set {KEY}, which clients must then send")
    return key


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine can reach a host by that name."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises SettingsError if there can be none."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        raise SettingsError(f"cannot listen at {host}, port {port}: {error}; choose others") from None
