"""What the services refuse by the headers of a request."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from fastapi.responses import Response
from starlette.datastructures import Headers

from thinkseg.web.errors import error_response


def refuse_host(headers: Headers) -> Response | None:
    """Returns the response to a request without a token for another Host than this machine.

    Such a request comes from a web page whose site is resolved to this machine.
    """
    if is_this_machine(headers.get("host", "")):
        return None
    return error_response(403, "Host: is not this machine; use the address that the command prints")


def refuse_body(headers: Headers, max_bytes: int) -> Response | None:
    """Returns the response to a request with a body of unknown length or of more bytes."""
    if "transfer-encoding" in headers:
        return error_response(411, "the request must have a Content-Length")
    if int(headers.get("content-length", 0)) > max_bytes:
        return error_response(413, f"the request has more than {max_bytes:,} bytes")
    return None


def is_this_machine(host: str) -> bool:
    """Whether a Host header, with or without a port, names the machine of the server."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
