"""Which part of a video is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from thinkseg.cli import parsers
from thinkseg.cli.declare import option

if TYPE_CHECKING:
    from thinkseg.data.readers.video_window import Window


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """The first and the last frame, every how many, and how large."""

    start: Annotated[int | float | None, option(parsers.moment, "T", "first frame: a time (2.4s) or an index (57)")] = (
        None
    )
    end: Annotated[
        int | float | None, option(parsers.moment, "T", "end: the first frame that is not used, a time or an index")
    ] = None
    stride: Annotated[int, option(parsers.count, "N", "use one of N frames")] = 1
    max_side: Annotated[
        int | None, option(parsers.count, "PIXELS", "scale frames down to this longest side; masks have this size, too")
    ] = None

    def window(self) -> Window:
        """The part of each video."""
        from thinkseg.data.readers.video_window import Window

        return Window(0 if self.start is None else self.start, self.end, self.stride, self.max_side)
