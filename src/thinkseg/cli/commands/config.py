"""`thinkseg config`: which models are used where a command does not name them, and why."""

from __future__ import annotations

import os

import typer

from thinkseg.cli.declare import command
from thinkseg.console import say, table

DEFAULTS = {"device": "a GPU if there is one", "precision": "auto"}
"""What holds where nothing is set."""

app = typer.Typer()


@command(app, "show the settings in force", "config")
def config() -> int:
    """Prints the settings of `segment` and of thinkseg.Segmenter in Python that hold unless an option is given.

    Options go before environment variables, these before the file, and the file before the defaults.
    """
    from thinkseg.models.choice import choose
    from thinkseg.storage.user_settings import UserSettings, config_path

    choice, path = choose(), config_path()
    rows = []
    for name in UserSettings.model_fields:
        held = getattr(choice, name) or (DEFAULTS[name], "default")
        rows.append((name, held[0] or "none: give --policy", held[1], f"THINKSEG_{name.upper()}"))
    print(table(("setting", "value", "from", "variable"), rows))
    say(f"file: {path}" + ("" if os.path.exists(path) else " (not there; `thinkseg models use NAME` writes it)"))
    return 0
