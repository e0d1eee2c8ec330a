"""What `segment` writes and prints."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass
from typing import Annotated

from thinkseg.cli import parsers
from thinkseg.cli.declare import flag, option
from thinkseg.cli.options import FORMATS_HELP
from thinkseg.errors import SettingsError
from thinkseg.report.formats import DEFAULT


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """The formats of masks, how much is printed, and in which form."""

    save: Annotated[
        tuple[str, ...] | None,
        option(parsers.formats, "NAME,NAME", f"{FORMATS_HELP} (default: {','.join(DEFAULT)})"),
    ] = None
    no_overlay: Annotated[bool, flag("--no-overlay", "write the default formats without the overlay")] = False
    json: Annotated[bool, flag("--json", "print answer.json alone, of many questions as one line each")] = False
    quiet: Annotated[bool, flag("--quiet", "print errors alone")] = False
    verbose: Annotated[bool, flag("--verbose", "also print the thinking, and where the time goes")] = False

    @contextmanager
    def streams(self) -> Iterator[None]:
        """Drops what the block writes to standard error, for --quiet. Errors are reported after it.

        Raises SettingsError for options that exclude one another.
        """
        if self.verbose and (self.quiet or self.json):
            raise SettingsError(f"--verbose: not together with {'--quiet' if self.quiet else '--json'}; drop one")
        with redirect_stderr(io.StringIO()) if self.quiet else nullcontext():
            yield

    def formats(self) -> tuple[str, ...]:
        """The formats requested. Raises SettingsError for options that exclude one another."""
        if self.no_overlay and self.save:
            raise SettingsError("--no-overlay: --save names the formats; leave overlay out there")
        return tuple(name for name in self.save or DEFAULT if not (self.no_overlay and name == "overlay"))

    @property
    def text(self) -> bool:
        """Whether text for people is printed."""
        return not self.json and not self.quiet
