"""A `Segmentation` as Python code uses it: as arrays, pictures and files, in other packages, and in notebooks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from operator import index as as_index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thinkseg.chains.parsing import explained
from thinkseg.errors import SettingsError
from thinkseg.report.formats import DEFAULT, FORMATS, checked_formats
from thinkseg.types import ProgressCallback, Segmentation, Track, part_of

if TYPE_CHECKING:
    from supervision import Detections

STRIP_FRAMES, STRIP_WIDTH = 7, 1200
"""Frames, and width in pixels, of the picture of a result in a notebook."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Result(Segmentation):
    """A result: what `thinkseg.segment` and `thinkseg.Segmenter` return.

    `len` is the number of frames; `result[i]` are the masks of all objects in frame i, bool (N, H, W), and iteration
    goes over the frames. Masks are decoded on access.
    """

    @classmethod
    def of(cls, segmentation: Segmentation) -> Result:
        """Makes a result of what `thinkseg.pipeline` returns."""
        return cls(**{field.name: getattr(segmentation, field.name) for field in fields(segmentation)})

    def __len__(self) -> int:
        return self.masklets.num_frames

    def __getitem__(self, frame: int) -> np.ndarray:
        """Returns the masks of a frame, bool (N, H, W); a negative index counts from the end."""
        return self.masklets.masks(self._frame(frame))

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.masklets.masks(frame) for frame in range(len(self)))

    @property
    def masks(self) -> np.ndarray:
        """All masks, bool (N, T, H, W), decoded anew on each access; for long videos, rather iterate."""
        width, height = self.masklets.size_wh
        stack = np.zeros((self.masklets.num_objects, len(self), height, width), bool)
        for frame, masks in enumerate(self):
            stack[:, frame] = masks
        return stack

    def overlay(self, frame: int) -> np.ndarray:
        """Returns a frame with its objects tinted and numbered, as in overlay.mp4; uint8 RGB (H, W, 3)."""
        from thinkseg.ops.draw import ObjectColors
        from thinkseg.report.formats.videos import overlaid

        frame, video, colors = self._frame(frame), self.sample.video, ObjectColors(self.masklets.num_objects)
        first = sorted({seen[0] for track in self.masklets.rles if (seen := _visible(track))})
        for index, image in zip(first, video.read(first), strict=True):
            colors.of(image, self.masklets.masks(index))
        return overlaid(self, frame, video[frame], self.masklets.masks(frame), colors)

    def to_supervision(self, frame: int) -> Detections:
        """Returns the objects visible in a frame as `supervision.Detections`; `tracker_id` is an object's number.

        Raises SettingsError if the package supervision is not installed.
        """
        from thinkseg.report.formats.coco import category_of
        from thinkseg.rle import rle_box

        try:
            import supervision
        except ImportError:
            raise SettingsError("to_supervision: supervision is not installed; pip install supervision") from None
        frame, confidence = self._frame(frame), self.masklets.confidence
        boxes = [rle and rle_box(rle) for rle in (track[frame] for track in self.masklets.rles)]
        seen = np.flatnonzero([box is not None for box in boxes])
        return supervision.Detections(
            xyxy=np.array([boxes[obj] for obj in seen], np.float32).reshape(-1, 4),
            mask=self.masklets.masks(frame)[seen],
            class_id=np.zeros(len(seen), int),
            tracker_id=seen + 1,
            confidence=None if confidence is None else confidence[seen, frame],
            data={"class_name": np.array([category_of(self)] * len(seen))},
        )

    def to_coco(self) -> dict[str, Any]:
        """Returns the masks as COCO JSON values, the content of coco.json."""
        from thinkseg.report.formats.coco import coco_of

        return coco_of(self)

    def save(
        self,
        folder: str | Path,
        formats: Iterable[str] = DEFAULT,
        settings: Mapping[str, Any] | None = None,
        progress: ProgressCallback | None = None,
    ) -> Path:
        """Writes a folder as `thinkseg segment` does, and returns it. An earlier result there is replaced.

        formats: names of docs/formats.md. settings: JSON values for answer.json. progress: called with (done, total).
        Warns of videos that cannot be written. Raises SettingsError for an unknown format or a folder of other files.
        """
        from thinkseg.report.result_files import write_result

        left_out = write_result(self, folder, settings, progress, checked_formats(formats))
        for name, error in left_out.items():
            warnings.warn(f"{FORMATS[name].file} is missing: {error}", stacklevel=2)
        return Path(folder)

    def __repr__(self) -> str:
        video, seconds = self.sample.video, ", ".join(f"{step} {time:.1f} s" for step, time in self.seconds.items())
        extent = "{} frames of {}x{}".format(len(video), *video.size_wh)
        head = f"{type(self).__name__}({self.sample.id!r}, {self.sample.query!r})"
        return f"{head}\n  {self._found()}\n  {extent}; {seconds}"

    def _repr_html_(self) -> str:
        """The result in a notebook: its text above a film strip."""
        from html import escape

        from thinkseg.chains.frames import sample_indices
        from thinkseg.report.film_strips import strip_of
        from thinkseg.report.page import jpeg_url

        chosen = {*sample_indices(len(self), STRIP_FRAMES), self.outcome.keyframe or 0}
        strip = strip_of(self, sorted(chosen), captions=True, width=STRIP_WIDTH)
        return f'<pre>{escape(repr(self))}</pre><img src="{jpeg_url(strip)}" style="max-width: 100%">'

    def _found(self) -> str:
        """What was found, in one line."""
        if self.answer is None:
            return f"invalid reply: {explained(str(self.failure))}"
        if self.answer.keyframe is None:
            return "no such object"
        time = self.sample.video.time_of(self.answer.keyframe)
        index = part_of(self.sample.video).indices[self.answer.keyframe]
        keyframe = f"keyframe {index}" + ("" if time is None else f" ({time:.2f} s)")
        seen = [f"object {number} in {len(_visible(track))}" for number, track in enumerate(self.masklets.rles, 1)]
        return f"{keyframe}; {', '.join(seen)} of {len(self)} frames"

    def _frame(self, frame: int) -> int:
        frame = as_index(frame)
        if not -len(self) <= frame < len(self):
            raise IndexError(f"frame {frame} is not in the video; give an index from 0 to {len(self) - 1}")
        return frame % len(self)


def _visible(track: Track) -> list[int]:
    """Returns the frames in which an object is visible."""
    return [frame for frame, rle in enumerate(track) if rle is not None]
