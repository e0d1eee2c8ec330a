"""Times for frames that have none, such as folders of images and arrays.

Their number of frames per second comes from the first of these that states it:

1. the caller: `--fps`, `fps` in a recipe, `fps=` in Python
2. the data set: `thinkseg.data.BenchmarkInfo.fps`, where one rate is right for all of its videos
3. a file fps.json, {"fps": 12.0}, in the folder of the video's frames or in the one above it

`Rates` holds the first two and looks for the third. `FrameTimes` compares what is known with the clock of a policy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thinkseg.console import warn
from thinkseg.data.readers.json_tree import read_json
from thinkseg.data.readers.wrapped_frames import WrappedFrames
from thinkseg.errors import SettingsError
from thinkseg.types import Clock, Frames, View

RATE_FILE = "fps.json"

GIVEN = "--fps or fps="
"""The source of a rate that the caller states."""

SLOWEST, FASTEST = 1e-8, 1e9
"""Frames per second that a video file can have."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Frames per second, and what states them."""

    fps: float
    source: str

    def __str__(self) -> str:
        return f"{self.fps:g} frames per second, from {self.source}"


@dataclass(frozen=True, slots=True)
class Rates:
    """Where rates are taken from. given: by the caller. nominal: of the data set.

    Raises SettingsError if `given` is not a rate.
    """

    given: float | None = None
    nominal: float | None = None

    def __post_init__(self) -> None:
        if self.given is not None and not _is_rate(self.given):
            raise SettingsError(f"fps: {self.given!r} is not a frame rate; give a number > 0, e.g. 12")

    def at(self, folder: Path | None) -> Rate | None:
        """Returns the rate of frames without times; None if it is unknown.

        folder: of their files; None for frames in memory. Raises DatasetFileError for an invalid fps.json.
        """
        if self.given is not None:
            return Rate(self.given, GIVEN)
        if self.nominal is not None:
            return Rate(self.nominal, "the data set")
        return None if folder is None else _stated(folder)

    def of(self, frames: Frames) -> Rate | None:
        """Returns the rate of one video; None if it is unknown, or not needed.

        Raises SettingsError if a rate is given for a video that has times.
        """
        if frames.time_of(0) is not None:
            if self.given is not None:
                raise SettingsError(f"fps: {frames.name} has times of its own; drop it")
            return None
        paths: Sequence[Path] = getattr(frames, "paths", ())
        return self.at(paths[0].parent if paths else None)

    def times_of(self, frames: Frames) -> FrameTimes:
        """Returns what is known about the times of one video. Raises SettingsError as `of` does."""
        rate = self.of(frames)
        return FrameTimes.of({} if has_times(frames) else {frames.name: rate})

    def timed(self, frames: Frames) -> Frames:
        """Returns a video with times if its rate is known, else as it is. Raises SettingsError as `of` does."""
        rate = self.of(frames)
        if rate is None and len(frames) == 1 and frames.time_of(0) is None:
            return with_rate(frames, 1.0)
        return frames if rate is None else with_rate(frames, rate.fps)


def has_times(frames: Frames) -> bool:
    """Whether the times of all frames are known. A single frame is at 0 seconds, whatever the rate."""
    return len(frames) == 1 or frames.time_of(0) is not None


def with_rate(frames: Frames, fps: float) -> Frames:
    """Returns a video without times as one of evenly spaced frames."""
    return _TimedFrames(frames, fps)


class _TimedFrames(WrappedFrames):
    """Frames at an even rate."""

    def __init__(self, inner: Frames, fps: float) -> None:
        super().__init__(inner)
        self.fps = self._rate = fps

    def time_of(self, index: int) -> float:
        self._inner.time_of(index)  # raises IndexError
        return index / self._rate


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """What is known about the times of some videos.

    rates: of the videos that have no times of their own. unknown: a video without times and without a rate, if any.
    """

    rates: frozenset[Rate] = frozenset()
    unknown: str | None = None

    @classmethod
    def of(cls, rates: Mapping[str, Rate | None]) -> FrameTimes:
        """Returns what the rates of videos without times say, by the name of the video."""
        unknown = next((name for name, rate in rates.items() if rate is None), None)
        return cls(frozenset(filter(None, rates.values())), unknown)

    def check(self, clock: Clock) -> None:
        """Raises SettingsError if the labels of frames must be seconds, and the times of a video are unknown."""
        if clock == "seconds" and self.unknown is not None:
            raise SettingsError(
                f"{self.unknown}: its frames have no times, and must be shown with seconds; give --fps (a recipe: fps),"
                f' or put {RATE_FILE} ({{"fps": 12}}) beside them'
            )

    def decide(self, view: View) -> View:
        """Returns a view with "seconds" or "index" for "auto", and prints once where frames have no times.

        Raises SettingsError as `check` does.
        """
        self.check(view.label_unit)
        if view.label_unit == "auto" and self.unknown is not None:
            warn(f"{self.unknown}: frames have no times: they are numbered; give --fps to label them with seconds")
            return replace(view, label_unit="index")
        if view.label_unit != "index" and self.rates:
            warn(f"frames have no times: {self._described()}")
        return view if view.label_unit == "index" else replace(view, label_unit="seconds")

    def _described(self) -> str:
        if len(self.rates) == 1:
            return str(*self.rates)
        rates = [rate.fps for rate in self.rates]
        return f"{min(rates):g} to {max(rates):g} frames per second, from {len(rates)} files {RATE_FILE}"


def write_rate(folder: Path, fps: float) -> None:
    """Writes the rate of the frames in a folder and in the folders directly below it."""
    (folder / RATE_FILE).write_text(json.dumps({"fps": fps}) + "\n", "utf-8")


def _stated(folder: Path) -> Rate | None:
    """Reads fps.json from a folder of frames, or else from the one above it; None if neither has the file."""
    for path in (folder / RATE_FILE, folder.parent / RATE_FILE):
        if path.is_file():
            node = read_json(path)["fps"]
            if not _is_rate(node.value):
                raise node.error("invalid_field", f"must be a number > 0, not {node.value!r}")
            return Rate(float(node.value), str(path))
    return None


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and SLOWEST <= value <= FASTEST
