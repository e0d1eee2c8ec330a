"""How commands are declared: their options and arguments, and their registration with typer.

A command is a function of typed parameters that returns an exit status. A parameter that is a dataclass stands for
several options, its fields; `command` spreads them out for typer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup


def text(value: str) -> str:
    """Text that is not blank. Raises ValueError otherwise, like all parsers."""
    if not value.strip():
        raise ValueError(f"{value!r} is empty; give a value")
    return value


def path(value: str) -> Path:
    """A path. The empty one would stand for the current folder."""
    return Path(text(value))


def option(parser: Callable[[str], Any], metavar: str, help: str, *names: str, **settings: Any) -> Any:
    """An option with a value. names: default is that of the parameter. settings: more of `typer.Option`.

    metavar: in brackets, the value can be left out before another option or at the end, and is then "".
    """
    return typer.Option(*names, parser=_reporting(parser), metavar=metavar, help=help, **settings)


def flag(name: str, help: str) -> Any:
    """An option without a value, e.g. "--png"."""
    return typer.Option(name, help=help)


def choice(choices: Sequence[str], help: str) -> Any:
    """An option whose value is one of a few."""
    return option(_one_of(choices), "|".join(choices), help, autocompletion=_completing(choices))


def suggested(choices: Sequence[str], metavar: str, help: str) -> Any:
    """An option with common values that a shell completes; the command itself checks the value."""
    return option(text, metavar, help, autocompletion=_completing(choices))


def argument(parser: Callable[[str], Any], metavar: str, help: str) -> Any:
    """A positional argument."""
    return typer.Argument(parser=_reporting(parser), metavar=metavar, help=help, show_default=False)


def chosen_argument(choices: Sequence[str], metavar: str) -> Any:
    """A positional argument that is one of a few words."""
    complete = _completing(choices)
    return typer.Argument(
        parser=_reporting(_one_of(choices)), metavar=metavar, help=", ".join(choices), autocompletion=complete
    )


def _reporting(parser: Callable[[str], Any]) -> Callable[[Any], Any]:
    """A parser as typer takes it."""

    def parse(value: Any) -> Any:
        # typer parses default values as well.
        if not isinstance(value, str):
            return value
        try:
            return parser(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse


def _one_of(choices: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} must be one of {', '.join(choices)}")
        return text

    return parse


def _completing(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


class _PlainArguments:
    """A command whose help names arguments without the types in Python that typer adds, which parsers replace."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        for parameter in self.params:  # type: ignore[attr-defined]
            if parameter.param_type_name == "argument":
                parameter.display_type_rich = lambda ctx: None


class _Group(_PlainArguments, TyperGroup):
    """A group of commands, which may have an argument of its own."""


class _Command(_PlainArguments, TyperCommand):
    """A command that takes each option once: of two values, one would be dropped without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        args = self._with_left_out_values(args)
        order: list[Any] = self.make_parser(ctx).parse_args(args=list(args))[2]
        for parameter in order:
            repeatable = parameter.multiple or getattr(parameter, "is_flag", False)
            if parameter.param_type_name == "option" and not repeatable and order.count(parameter) > 1:
                raise typer.BadParameter(f"is given {order.count(parameter)} times; give it once", ctx, parameter)
        rest: list[str] = super().parse_args(ctx, args)
        return rest

    def _with_left_out_values(self, args: list[str]) -> list[str]:
        """The arguments with "" as the value of each option that can lack one and does."""
        declared = [one for one in self.params if one.param_type_name == "option" and str(one.metavar)[:1] == "["]
        optional = {name for one in declared for name in one.opts}
        pairs = pairwise([*args, "--"])
        return [f"{word}=" if word in optional and following.startswith("-") else word for word, following in pairs]


def new_group(name: str, summary: str, help: str, metavar: str) -> typer.Typer:
    """A group of commands. summary: its short help. metavar: what its commands are, e.g. "DATASET"."""
    return typer.Typer(
        name=name,
        cls=_Group,
        help=help,
        short_help=summary,
        subcommand_metavar=f"{metavar} [ARGS]...",
        rich_markup_mode=None,
    )


def command(
    app: typer.Typer, summary: str, name: str | None = None, title: str = "", **given: Any
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Registers a function, whose docstring is the long help, as a command. Returns it unchanged.

    title: takes the place of "{title}" in the long help.
    given: for a parameter of the function, a dataclass whose fields are its options, or a value, and no option.
    """

    def register(function: Callable[..., int]) -> Callable[..., int]:
        help = (function.__doc__ or "").replace("{title}", title)
        app.command(name, cls=_Command, help=help, short_help=summary)(_spread(function, given))
        return function

    return register


def _spread(function: Callable[..., int], given: dict[str, Any]) -> Callable[..., int]:
    """The function with options in place of dataclasses, and without the values given; see `command`."""
    hints = _hints(function)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    values = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = given.get(name, hints[name])
        if isinstance(hint, type) and is_dataclass(hint):
            options = _options(hint)
            groups[name] = hint, [option.name for option in options]
            parameters += options
        elif name in given:
            values[name] = hint
        else:
            parameters.append(_keyword(name, hint, parameter.default))

    def run(**options: Any) -> int:
        made = {name: group(**{name: options.pop(name) for name in names}) for name, (group, names) in groups.items()}
        return function(**values, **made, **options)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__name__ = function.__name__
    return run


@cache
def _hints(declared: Any) -> dict[str, Any]:
    return get_type_hints(declared, include_extras=True)


@cache
def _options(group: type) -> list[inspect.Parameter]:
    """The fields of a dataclass that are options, as parameters."""
    hints = _hints(group)
    return [
        _keyword(field.name, hints[field.name], field.default)
        for field in fields(group)
        if get_origin(hints[field.name]) is Annotated
    ]


def _keyword(name: str, hint: Any, default: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_typer_type(hint))


def _typer_type(hint: Any) -> Any:
    """The annotation that typer needs: parsers make the values, so only flags and lists differ from text."""
    if get_origin(hint) is not Annotated:
        return hint
    value, declaration = get_args(hint)
    if value is bool:
        return hint
    is_list = any(get_origin(part) is list for part in (value, *get_args(value)))
    return Annotated[list[str] if is_list else str, declaration]
