"""The command line: arguments in, an exit status out.

0 all went well; 1 the model's reply could not be used; 2 something the user can mend, said in one line on standard
error; 130 interrupted. Each command is one function in `thinkseg.cli`, and loads what it needs when it runs.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from thinkseg import __version__
from thinkseg.cli import annotate, check_policy, compare, data, demo, evaluate, export, score, segment, submit, train
from thinkseg.errors import SettingsError, ThinkSegError

USER_ERROR, INTERRUPTED = 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        # What a terminal has no letter for is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = build_parser().parse_args(argv)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except ThinkSegError as error:
        print(f"thinkseg: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more on leaving, so it gets a new target.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each leaves its function in `run`."""
    parser = _Parser(prog="thinkseg", description="Segment what a sentence means in a video, and see the reasoning.")
    parser.add_argument("--version", action="version", version=f"thinkseg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    for add_to in (
        segment.add_to,
        demo.add_to,
        data.add_to,
        annotate.add_to,
        train.add_to,
        train.add_ablate,
        evaluate.add_to,
        score.add_to,
        submit.add_to,
        data.add_validate,
        compare.add_to,
        check_policy.add_to,
        export.add_to,
    ):
        add_to(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are errors like all others, in one line."""

    def __init__(self, **settings: object) -> None:
        # Abbreviated options would turn into errors as soon as another option begins alike.
        super().__init__(allow_abbrev=False, **settings)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; see {self.prog} --help")
