"""The command line as a whole: from arguments to an exit status.

0: success. 1: the model's reply could not be used. 2: user error, with a one-line message on standard error.
70: a bug, with its traceback on standard error. 130: interrupted.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from thinkseg import __version__
from thinkseg.cli import annotate, check_policy, compare, data, demo, evaluate, export, score, segment, train
from thinkseg.errors import ThinkSegError, one_line

PROGRAM = "thinkseg"
COMPLETE = "_THINKSEG_COMPLETE"
"""Environment variable by which the completion of a shell requests suggestions."""

USER_ERROR, BUG, INTERRUPTED = 2, os.EX_SOFTWARE, 130

app = typer.Typer(
    name=PROGRAM,
    help="Segments what a sentence means in a video, and shows the reasoning.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (
    segment.app,
    demo.app,
    data.app,
    annotate.app,
    train.app,
    train.ablation,
    evaluate.app,
    score.app,
    score.submission,
    data.validation,
    compare.app,
    check_policy.app,
    export.app,
):
    app.add_typer(part)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Holds the options of the program itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
        return status
    except typer.TyperException as error:
        return _report(_usage_error(error))
    except ThinkSegError as error:
        return _report(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader closed our output early, which is its right. Python would report it once more on leaving.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:
        # Python's own status would be 1, which says that a reply could not be used.
        traceback.print_exc()
        return BUG


def _run(argv: list[str]) -> int:
    command = typer.main.get_command(app)
    if COMPLETE in os.environ:
        command.main(argv, PROGRAM)  # It prints suggestions and exits.
    try:
        # Not `main`, which ends the process with status 1 if the pipe is broken.
        with command.make_context(PROGRAM, argv) as context:
            status: int = command.invoke(context)
            return status
    except typer.Exit as leaving:
        return leaving.exit_code


def _report(message: str) -> int:
    print(f"{PROGRAM}: {one_line(' '.join(message.split()))}", file=sys.stderr)
    return USER_ERROR


def _usage_error(error: typer.TyperException) -> str:
    """The message of a usage error, which names the option or argument and the help to read."""
    context = getattr(error, "ctx", None)
    return f"{_named(error)}; see {context.command_path if context else PROGRAM} --help"


def _named(error: typer.TyperException) -> str:
    if isinstance(error, typer.BadParameter) and error.param is not None:
        # An option is named by its long form, an argument by its metavar.
        name = max(error.param.opts, key=len) if error.param.param_type_name == "option" else error.param.metavar
        return f"{name}: {error.message or 'is missing'}"
    message = error.format_message().rstrip(".?").replace(". Did you mean", "; did you mean")
    return message[:1].lower() + message[1:]
