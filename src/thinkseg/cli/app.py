"""The command line as a whole: from arguments to an exit status.

0: success. 1: the model's reply could not be used. 2: user error, with a one-line message on standard error.
70: a bug, with its traceback on standard error. 128 plus the number of a signal that ended the program: 130 after
Ctrl-C, 143 after SIGTERM, 141 if the reader of the output left before its end.
"""

from __future__ import annotations

import errno
import io
import math
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from types import FrameType
from typing import Annotated, Any, TextIO

import typer

from thinkseg import __version__
from thinkseg.cli.commands import (
    annotate,
    check_policy,
    config,
    data,
    export,
    models,
    prompts,
    reward_server,
    train,
)
from thinkseg.cli.commands import app as web_app
from thinkseg.cli.commands.scoring import compare, evaluate, report, score
from thinkseg.cli.commands.videos import convert, demo, frame, segment
from thinkseg.errors import ThinkSegError, one_line
from thinkseg.export import FORMATS

PROGRAM = "thinkseg"
COMPLETE = "_THINKSEG_COMPLETE"
"""Environment variable by which the completion of a shell requests suggestions."""

MISSING_COMMAND = "Missing command."

USER_ERROR, BUG, SIGNALED = 2, os.EX_SOFTWARE, 128

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

REPEAT_SECONDS = 2.0
"""Some programs, such as timeout(1), send a signal twice. Within this time, the second does not end the cleaning up."""

app = typer.Typer(
    name=PROGRAM,
    help="Segments what a sentence means in a video, and shows the reasoning.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (
    segment.app,
    frame.app,
    convert.app,
    models.app,
    config.app,
    demo.app,
    web_app.app,
    data.app,
    annotate.app,
    train.app,
    train.ablation,
    evaluate.app,
    score.app,
    score.submission,
    data.validation,
    compare.app,
    report.app,
    check_policy.app,
    prompts.app,
    export.app,
    reward_server.app,
):
    app.add_typer(part)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Holds the options of the program itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _stopping_on_signals():
            status = _run(sys.argv[1:] if argv is None else list(argv))
            if sys.stdout:
                sys.stdout.flush()
            return status
    except typer.TyperException as error:
        return _report(_usage_error(error, sys.argv[1:] if argv is None else argv))
    except ThinkSegError as error:
        return _report(str(error))
    except KeyboardInterrupt as stop:
        number = stop.number if isinstance(stop, _Stop) else signal.SIGINT
        return _report(f"stopped by {number.name}; run the command again to resume or repeat it", SIGNALED + number)
    except BrokenPipeError:
        # The reader closed our output early, which is its right.
        _discard(sys.stdout)
        return SIGNALED + signal.SIGPIPE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return _report_bug()
        _discard(sys.stdout)
        return _report(f"{error.filename or 'standard output or a temporary file'}: {error.strerror}; free some space")
    except Exception:
        return _report_bug()


class _Stop(KeyboardInterrupt):
    """A signal that ends the program. What cleans up after Ctrl-C does so after any of them."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Raises _Stop in the block on a signal of `STOPPING` that is not ignored, as SIGHUP is under nohup."""
    raised = -math.inf

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal raised
        if time.monotonic() - raised > REPEAT_SECONDS:
            raised = time.monotonic()
            raise _Stop(signal.Signals(number))

    earlier = {}
    if threading.current_thread() is threading.main_thread():
        earlier = {number: signal.signal(number, stop) for number in STOPPING if _is_default(number)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _is_default(number: signal.Signals) -> bool:
    return signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


def _open_missing_streams() -> None:
    """Opens standard streams that the caller closed. A file of results would get their numbers, and messages in it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _discard(stream: TextIO | None) -> None:
    """Lets a stream lead nowhere. Python would report an error of its file once more on leaving."""
    if stream:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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


def _report(message: str, status: int = USER_ERROR) -> int:
    try:
        if sys.stderr:
            print(f"{PROGRAM}: {one_line(' '.join(message.split()))}", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)
    return status


def _report_bug() -> int:
    # Python's own status would be 1, which says that a reply could not be used.
    traceback.print_exc()
    return BUG


def _usage_error(error: typer.TyperException, argv: Sequence[str]) -> str:
    """The message of a usage error, which names the option or argument and the help to read."""
    context = getattr(error, "ctx", None)
    if context and error.format_message() == MISSING_COMMAND:
        print(context.get_help(), end="\n\n", file=sys.stderr)
    return f"{_named(error, argv)}; see {_command_path(argv)} --help"


def _command_path(argv: Sequence[str]) -> str:
    """The words of the command that arguments call, without its options and arguments."""
    command, path = typer.main.get_command(app), [PROGRAM]
    for word in argv:
        inner = getattr(command, "commands", {}).get(word)
        command = inner or command
        if inner or (path[-1] == "export" and word in FORMATS):
            path.append(word)
        elif path[-1] == "export" and not word.startswith("-"):
            break
    return " ".join(path)


def _named(error: typer.TyperException, argv: Sequence[str]) -> str:
    if hasattr(error, "option_name") and hasattr(error, "possibilities"):
        return _unknown_option(error, argv)
    if isinstance(error, typer.BadParameter) and error.param is not None:
        # An option is named by its long form, an argument by its metavar.
        name = max(error.param.opts, key=len) if error.param.param_type_name == "option" else error.param.metavar
        return f"{name}: {error.message or 'is missing'}"
    message = error.format_message().rstrip(".?").replace(". Did you mean", "; did you mean")
    if extra := re.fullmatch(r"Got unexpected extra argument(s?)(?:\(s\))? \((.*)\)", message):
        return f"unexpected {extra[2]!r}; put a text of several words in quotes"
    return message[:1].lower() + message[1:]


def _unknown_option(error: Any, argv: Sequence[str]) -> str:
    """Names an unknown option as it was typed, and a close one: -frames is parsed as -f, but stands for --frames."""
    name: str = error.option_name
    typed = name if len(name) > 2 else next((word for word in argv if word.startswith(name)), name)
    known = ["--help", *(option for param in error.ctx.command.params for option in param.opts if len(option) > 2)]
    close = get_close_matches(f"--{typed.lstrip('-')}", known, 1) if len(typed) > 2 else []
    return f"no such option: {typed}" + (f"; did you mean {close[0]}" if close else "")
