"""Writes the table of docs/licenses.md: python docs/make_licenses.py

In: the requirements of pyproject.toml, and the metadata of the packages that are installed. Out: each package that the
package itself or an extra needs, directly or not, with its license as its metadata state it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licenses.md"
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)
MAX_CHARS = 60
"""Longer texts in the field License are the license itself."""

DEVELOPMENT = {"dev", "docs", "formats-test"}
"""Extras of those who work on the package."""


def main() -> None:
    text, count = TABLE.subn("\n".join(table()) + "\n", PAGE.read_text("utf-8"))
    if count != 1:
        sys.exit(f"{PAGE}: has {count} tables; it must have the one that this program writes")
    PAGE.write_text(text, "utf-8")


def table() -> Iterator[str]:
    """Yields the lines of the table, by name."""
    yield "| package | license | needed by |"
    yield "|---|---|---|"
    for name, extras in sorted(needed().items()):
        yield f"| {name} | {license_of(distribution(name))} | {', '.join(extras)} |"


def needed() -> dict[str, list[str]]:
    """Returns the packages with the extras that need them; ["thinkseg"] for those that the package itself needs.

    Raises SystemExit if one is not installed.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {name: each for name, each in project["optional-dependencies"].items() if name not in DEVELOPMENT}
    found: dict[str, list[str]] = defaultdict(list)
    core = closure(project["dependencies"])
    for name in core:
        found[name] = ["thinkseg"]
    for extra, requirements in sorted(extras.items()):
        for name in closure(requirements) - core:
            found[name].append(extra)
    return found


def closure(requirements: Iterable[str]) -> set[str]:
    """Returns the names of required packages, of what these require, and so on, for this machine."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in found:
                found.add((name, extra))
                waiting += _required(name, extra)
    return {name for name, _ in found}


def _required(name: str, extra: str) -> Iterator[Requirement]:
    try:
        texts = distribution(name).requires or []
    except PackageNotFoundError:
        sys.exit(f"{name} is not installed; install all extras but those for development")
    for requirement in map(Requirement, texts):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


def license_of(package: Distribution) -> str:
    """Returns the license as the metadata of a package state it: an SPDX expression, a name, or classifiers."""
    facts: Any = package.metadata
    stated = facts.get("License") or ""
    if len(stated) > MAX_CHARS:
        stated = ""
    if name := facts.get("License-Expression") or stated:
        return " ".join(name.split())
    classifiers = facts.get_all("Classifier") or []
    names = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: ")]
    return ", ".join(names) or "in its files"


if __name__ == "__main__":
    main()
