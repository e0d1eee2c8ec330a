"""`thinkseg app`: a page where one drops a video, asks, and watches the answer, and its REST API."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from thinkseg.cli import options, parsers
from thinkseg.cli.declare import command, option, path
from thinkseg.cli.model_options import ModelOptions
from thinkseg.cli.server_options import ServerOptions
from thinkseg.console import say

GB = 10**9

STOP_SECONDS = 1
"""Pages that follow a question keep their connection open until the end."""

app = typer.Typer()


@command(app, "open a page to ask about videos in a browser", "app")
def serve_app(
    models: ModelOptions,
    listen: ServerOptions,
    device: options.Device = None,
    data: Annotated[
        Path | None, option(path, "DIR", "folder for videos and results (default: that of the user's data)")
    ] = None,
    quota: Annotated[
        float, option(parsers.positive, "GB", "most disk space for these; the oldest are deleted for new ones")
    ] = 20.0,
    max_upload: Annotated[float, option(parsers.positive, "GB", "largest video file")] = 1.0,
    max_minutes: Annotated[float, option(parsers.positive, "M", "longest video")] = 10.0,
) -> int:
    """Serves a page, where one drops a video, asks, watches the thinking, and corrects the masks, until it is stopped.

    It listens on this machine alone unless --host is given, and then needs a token. docs/app.md describes the page, its
    REST API, and its limits.
    """
    from thinkseg.web.serve import bind, check_installed, read_token, serve, url_of

    check_installed("app")
    from thinkseg.app.answering import ModelNames
    from thinkseg.app.limits import Limits
    from thinkseg.app.serve import create_app
    from thinkseg.app.service import Service
    from thinkseg.models.devices import resolve_device
    from thinkseg.storage.outputs import claimed

    token = read_token(listen.token_file)
    if device:
        resolve_device(device)
    limits = Limits(int(max_upload * GB), 60 * max_minutes, quota_bytes=int(quota * GB))
    names = ModelNames(models.preset, models.policy, models.tracker or "auto", device)
    folder = data or default_folder()
    with bind(listen.host, listen.port, token) as bound, claimed(folder):
        service = Service(folder, names, limits)
        if service.choice.note:
            say(service.choice.note)
        bound.listen()
        # Output that goes to a file must not hold the token.
        query = f"?token={token}" if token and sys.stdout.isatty() else ""
        print(f"the app is at {url_of(bound)}/{query}", flush=True)
        say(f"videos and results are in {folder}; Ctrl-C ends the app")
        serve(create_app(service, token), bound, STOP_SECONDS)
    return 0


def default_folder() -> Path:
    """Returns where videos and results are kept."""
    from platformdirs import user_data_path

    return user_data_path("thinkseg") / "app"
