"""Commands of the command line, parsed and found without running them."""

from collections.abc import Iterator, Sequence
from typing import Any

import typer

from thinkseg.cli import app


def parse(arguments: Sequence[str]) -> Any:
    """The context of the command that the arguments call, with its `params`. Raises typer.TyperException."""
    context: Any = typer.main.get_command(app.app).make_context(app.PROGRAM, list(arguments))
    while hasattr(context.command, "commands") and (words := [*context._protected_args, *context.args]):
        name, command, rest = context.command.resolve_command(context, words)
        context = command.make_context(name, rest, parent=context)
    return context


def all_commands() -> Iterator[tuple[list[str], Any]]:
    """Every command and group with the words that call it, except the program itself. Exports are those for TRL."""

    def below(words: list[str], group: Any) -> Iterator[tuple[list[str], Any]]:
        for name, command in group.commands.items():
            yield [*words, name], command
            if hasattr(command, "commands"):
                yield from below([name, "trl"] if name == "export" else [*words, name], command)

    return below([], typer.main.get_command(app.app))
