"""Faults as lines, and the table of all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Protocol

RECOVERED = "recovered"

HARMS = ("lost", "doubled", "corrupt", "left over", "status")
"""What must not be after a fault. status: a run ends in another way than it should."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. kind: such as "SIGKILL". when: its moment. harm: `RECOVERED` or one of `HARMS`, with its details."""

    subject: str
    case: int
    kind: str
    when: str
    harm: str = RECOVERED
    details: str = ""

    def to_json(self) -> str:
        """Returns the fault as a line."""
        return json.dumps(asdict(self))


class HarmError(Exception):
    """Something was lost, doubled or damaged. harm: one of `HARMS`."""

    def __init__(self, harm: str, details: str) -> None:
        super().__init__(details)
        self.harm = harm


class SkippedError(Exception):
    """A case needs what this machine does not permit."""


class Subject(Protocol):
    """What is struck. count: cases at full scale. modules: of `programs` to import once.

    A case has one fault or several.
    """

    name: str
    count: int
    modules: Sequence[str]

    def prepare(self, folder: Path) -> None:
        """Makes what all cases share, and runs undisturbed what they are compared with."""
        ...

    def run(self, rng: Random, folder: Path, struck: list[tuple[str, str]]) -> None:
        """Runs one case in an empty folder. struck: gets the kind and the moment of each fault.

        Raises HarmError or SkippedError.
        """
        ...


def compare(expected: dict[str, object], found: dict[str, object]) -> None:
    """Raises HarmError if the contents of a folder after faults differ from those without."""
    if missing := sorted(expected.keys() - found.keys()):
        raise HarmError("lost", f"{len(missing)} files are missing, such as {missing[0]}")
    if more := sorted(found.keys() - expected.keys()):
        raise HarmError("left over", f"{len(more)} files are left over, such as {more[0]}")
    for name, content in expected.items():
        if found[name] != content:
            raise HarmError(*_difference(name, content, found[name]))


def _difference(name: str, expected: object, found: object) -> tuple[str, str]:
    if not (isinstance(expected, list) and isinstance(found, list)):
        return "corrupt", f"{name} differs"
    if len(found) != len(expected):
        harm = "doubled" if len(found) > len(expected) else "lost"
        return harm, f"{name} has {len(found)} rows, not {len(expected)}"
    at = next(at for at, pair in enumerate(zip(expected, found, strict=True)) if pair[0] != pair[1])
    return "corrupt", f"{name}, line {at + 1}: {found[at]!r}, not {expected[at]!r}"[:1000]


def table(faults: Sequence[Fault], skipped: dict[str, str]) -> str:
    """Returns the table: per subject the faults by kind, and how many did harm."""
    return "\n".join(["| subject | faults | kinds | harm |", "|---|---|---|---|", *_rows(faults), *_skips(skipped)])


def _rows(faults: Sequence[Fault]) -> Iterator[str]:
    for name in [*dict.fromkeys(fault.subject for fault in faults), None]:
        chosen = [fault for fault in faults if name in (None, fault.subject)]
        kinds, harms = (_counts([getattr(one, field) for one in chosen]) for field in ("kind", "harm"))
        harm = ", ".join(f"{count} {harm}" for harm, count in harms.items() if harm != RECOVERED) or "0"
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) if name else ""
        yield f"| {name or 'all'} | {len(chosen)} | {listed} | {harm} |"


def _skips(skipped: dict[str, str]) -> Iterator[str]:
    for name, reason in skipped.items():
        yield f"\nskipped: {name}: {reason}"


def _counts(values: Sequence[str]) -> dict[str, int]:
    return {value: values.count(value) for value in sorted(set(values))}
