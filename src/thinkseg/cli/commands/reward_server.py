"""`thinkseg reward-server`: rewards of replies over HTTP, for trainers in other programs."""

from __future__ import annotations

from typing import Annotated

import typer

from thinkseg.cli import model_options, options, parsers
from thinkseg.cli.declare import argument, command, option, text
from thinkseg.cli.server_options import ServerOptions
from thinkseg.console import Progress

CACHE_BYTES = 8 << 30
"""Limit on the image features of all prompts in memory together."""

app = typer.Typer()


@command(app, "compute rewards for another trainer", "reward-server")
def reward_server(
    data: Annotated[list[str], argument(text, "DATA...", "NAME:SPLIT=FOLDER, e.g. revos:train=datasets/ReVOS")],
    placed: model_options.PlacementOptions,
    listen: ServerOptions,
    tracker: options.TrackerName = "flow",
    workers: Annotated[
        int, option(parsers.count, "N", "threads that score", show_default="one per core")
    ] = options.CORES,
    prompts: Annotated[int, option(parsers.count, "N", "prompts kept in memory, at least those of a step")] = 32,
) -> int:
    """Scores replies to the questions of DATA with all rewards, the tracker's included, until it is stopped.

    DATA are the data sets that were exported, as NAME:SPLIT=FOLDER, or shapes:SPLIT. The protocol, and how verl, EasyR1
    and TRL use it, are described in docs/export.md.
    """
    from thinkseg.models import check_tracker
    from thinkseg.web.serve import bind, check_installed, read_token, serve, url_of

    check_installed("server")
    from thinkseg.server.app import create_app
    from thinkseg.server.questions import Questions, read_specs
    from thinkseg.server.scoring import RewardService

    specs = read_specs(data)
    check_tracker(tracker)
    token = read_token(listen.token_file)
    placement = placed.placement()
    with bind(listen.host, listen.port, token) as bound:
        with Progress() as progress:
            progress.show("reading annotations")
            questions = Questions(specs)
            features = {"feature_cache_bytes": CACHE_BYTES // prompts, "feature_cache_videos": prompts}
            loaded = model_options.load_tracker(tracker, progress, **placement, **features)
        service = RewardService(questions, loaded, workers, prompts)
        bound.listen()  # a client that reads the next line is not refused
        print(f"rewards of {', '.join(questions.describe())} with the tracker {tracker} at {url_of(bound)}", flush=True)
        serve(create_app(service, token), bound)
    return 0
