"""Where a command listens, and who may connect."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from thinkseg.cli import parsers
from thinkseg.cli.declare import option, path, text


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Address and token of a server."""

    host: Annotated[str, option(text, "HOST", "address to listen on; beyond this machine it needs a token")] = (
        "127.0.0.1"
    )
    port: Annotated[int, option(parsers.port, "P", "port to listen on; 0 for any free one")] = 8787
    token_file: Annotated[
        Path | None, option(path, "FILE", "file with the token of requests (default: that in THINKSEG_TOKEN)")
    ] = None
