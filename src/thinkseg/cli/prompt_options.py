"""Options that mark objects by hand: boxes, points and masks on any frames, alone or in correction of a result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from thinkseg.cli import parsers
from thinkseg.cli.declare import option, path
from thinkseg.cli.parsers import Box, Placed, Point
from thinkseg.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np

    from thinkseg.types import Frames, ObjectPrompt, Segmentation

MARKS = "--keyframe, --box, --point, --mask, --fix and --drop"
"""The options."""

WHERE = "on a frame T and object N (default: --keyframe, and one object per box)"


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """What marks objects by hand."""

    keyframe: Annotated[
        int | float | None,
        option(parsers.moment, "T", "frame of boxes, points and masks without @: a time (2.4s) or an index (57)"),
    ] = None
    boxes: Annotated[
        list[Placed[Box]] | None,
        option(parsers.placed_box, "x1,y1,x2,y2[@T][#N]", f"a box in pixels {WHERE}; can be repeated", "--box"),
    ] = None
    points: Annotated[
        list[Placed[Point]] | None,
        option(
            parsers.placed_point,
            "x,y[,-][@T][#N]",
            "a point on the object, or beside it (-); can be repeated",
            "--point",
        ),
    ] = None
    masks: Annotated[
        list[Placed[Path]] | None,
        option(
            parsers.placed_mask,
            "FILE[@T][#N]",
            "an image of a mask, or a label map of several objects; can be repeated",
            "--mask",
        ),
    ] = None
    fix: Annotated[
        Path | None,
        option(path, "RESULT", "correct an earlier result of VIDEO, a folder, with these; no policy is prompted"),
    ] = None
    drop: Annotated[
        list[int] | None,
        option(parsers.count, "N", "an object of --fix whose earlier boxes, points and masks do not count", "--drop"),
    ] = None

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return any((self.boxes, self.points, self.masks, self.fix, self.drop)) or self.keyframe is not None

    def earlier(self, video: Path) -> Segmentation | None:
        """Returns the result to correct, if there is one, whose frames are those of a video.

        Raises SettingsError for options that need others, or if the video is not that of the result.
        """
        from thinkseg.report.stored_result import read_result

        if self.drop and not self.fix:
            raise SettingsError("--drop: is about the objects of an earlier result; give it with --fix")
        if not any((self.boxes, self.points, self.masks, self.drop)):
            also = ", --drop" if self.fix else ""
            raise SettingsError(f"nothing to track: mark an object with --box, --point or --mask{also}")
        if self.fix is None:
            return None
        result = read_result(self.fix, video)
        # Opens the video, which has to be that of the result, before anything long runs.
        result.sample.video[0]
        return result

    def earlier_settings(self) -> dict[str, Any]:
        """Returns the settings of the result to correct."""
        from thinkseg.report.stored_result import read_settings

        return read_settings(self.fix) if self.fix else {}

    def prompts(self, video: Frames, earlier: Segmentation | None = None) -> list[ObjectPrompt]:
        """Returns one prompt per object and frame, with frame indices, also those of the result that is corrected.

        Without a number, boxes and masks of a frame are objects 1, 2, ... in order, and points are on the only object.
        Raises SettingsError, or DatasetError for a mask.
        """
        from thinkseg.segmenter.corrections import corrected_prompts, prompts_of

        if earlier is None:
            return self._new(video, 0)
        new = self._new(video, earlier.masklets.num_objects)
        return corrected_prompts(prompts_of(earlier), new, [number - 1 for number in self.drop or []])

    def _new(self, video: Frames, num_known: int) -> list[ObjectPrompt]:
        """The prompts of the options. num_known: objects of the result that is corrected."""
        from thinkseg.types import ObjectPrompt

        marks = _Marks(num_known)
        # Numbers that are stated come first: the others take what is left.
        for stated in (True, False):
            for placed in self.boxes or []:
                if (placed.number is not None) == stated:
                    marks.add("box", self._frame(placed, video), placed.number, placed.value, placed.text)
            for frame, number, mask, text in self._read_masks(video):
                if (number is not None) == stated:
                    marks.add("mask", frame, number, mask, text)
        for point in self.points or []:
            marks.add_point(self._frame(point, video), point)
        return [ObjectPrompt(frame, number - 1, **parts) for (number, frame), parts in sorted(marks.found.items())]

    def _frame(self, placed: Placed[Any], video: Frames) -> int:
        from thinkseg.ops.inputs import frame_at

        moment = self.keyframe if placed.moment is None else placed.moment
        if moment is None:
            value, sign, number = placed.text.partition("#")
            raise SettingsError(f"{placed.text}: on which frame? give --keyframe, or {value}@2.4s{sign}{number}")
        return frame_at(video, moment)

    def _read_masks(self, video: Frames) -> Iterator[tuple[int, int | None, np.ndarray, str]]:
        """The frame, object number and mask of each object in the images, with the option; label maps state numbers."""
        from thinkseg.data.readers.mask_images import mask_image, objects_in_image

        for placed in self.masks or []:
            if not placed.value.is_file():
                raise SettingsError(f"{placed.value}: no such mask; check the path")
            frame = self._frame(placed, video)
            found: dict[int | None, np.ndarray]
            if placed.number is None:
                found = objects_in_image(placed.value, video.size_wh)
            else:
                found = {placed.number: mask_image(placed.value, video.size_wh)}
            for number, mask in found.items():
                yield frame, number, mask, placed.text


@dataclass(slots=True)
class _Marks:
    """What marks objects, by object number, from 1, and frame. num_known: objects of an earlier result."""

    num_known: int
    found: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)

    def add(self, kind: str, frame: int, number: int | None, value: Any, text: str) -> None:
        """Adds a box or a mask, which is the first one of its object on its frame."""
        if number is None:
            number = self._only_known(text) or next(
                n for n in range(1, len(self.found) + 2) if (n, frame) not in self.found
            )
        if (number, frame) in self.found:
            raise SettingsError(f"{text}: object {number} has two boxes or masks on frame {frame}; give one")
        self.found[number, frame] = {kind: value}

    def add_point(self, frame: int, placed: Placed[Point]) -> None:
        number = placed.number or self._only_known(placed.text) or self._only_found(placed.text)
        parts = self.found.setdefault((number, frame), {})
        *xy, label = placed.value
        parts.setdefault("points", []).append(xy)
        parts.setdefault("labels", []).append(label)

    def _only_known(self, text: str) -> int | None:
        if self.num_known > 1:
            raise SettingsError(f"{text}: the result has {self.num_known} objects; say which one, e.g. {text}#1")
        return self.num_known or None

    def _only_found(self, text: str) -> int:
        numbers = {number for number, _ in self.found} or {1}
        if len(numbers) > 1:
            raise SettingsError(f"{text}: there are {len(numbers)} objects; say which one, e.g. {text}#1")
        return numbers.pop()
