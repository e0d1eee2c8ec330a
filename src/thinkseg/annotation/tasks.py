"""Questions prepared for an annotator: a sample without its thinking, its frames and the masks of its targets."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from thinkseg.annotation.source import AnnotationSource
from thinkseg.chains.frames import Shown, checked_query, fit, sample_indices, select_frames
from thinkseg.chains.parsing import MAX_BOXES
from thinkseg.data.cot import CotSample, frame_names
from thinkseg.data.readers.issues import ISSUES, Issue
from thinkseg.errors import SettingsError
from thinkseg.selection.draw import seeded_hash
from thinkseg.selection.strata import Candidate
from thinkseg.types import Masklets, VideoSample, View

SkipReason = Literal["target_not_visible", "too_many_targets", "invalid_query"]

KEYFRAME_CHOICES = 5
"""The keyframe is one of this many frames with the largest targets: always the largest would reveal its position."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A question to be explained.

    draft: the sample with empty thinking. images: its frames, uint8 RGB (H, W, 3) of the view's size, without overlays.
    masks: bool (N, H, W) per frame, None where a frame is not annotated. num_objects: targets in the whole video.
    """

    draft: CotSample
    images: list[np.ndarray]
    masks: list[np.ndarray | None]
    num_objects: int

    @property
    def keyframe_label(self) -> str | None:
        return keyframe_label(self.draft)


@dataclass(frozen=True, slots=True)
class SkippedQuestion:
    """A question that cannot become a sample."""

    candidate: Candidate
    query: str
    reason: SkipReason


class Preparer:
    """Prepares questions, by their ids. A `thinkseg.scale.workers.Worker`.

    view: number and size of the frames. seed: see `prepare`.
    """

    def __init__(self, source: AnnotationSource, view: View, seed: int) -> None:
        self._source, self._view, self._seed = source, view, seed
        self._candidates = {one.id: one for one in source.candidates}
        self.settings: dict[str, Any] = {}

    def answer(self, items: Sequence[str]) -> Generator[tuple[str, Task | SkippedQuestion | Issue], None, None]:
        """Yields each question as a task, why it is none, or the issue of its files."""
        for name in items:
            found: Task | SkippedQuestion | Issue
            try:
                self._source.fingerprint(name)  # that of its row is taken before its files are read
                found = prepare(self._candidates[name], *self._source.sample(name), self._view, self._seed)
            except ISSUES as issue:
                found = issue
            yield name, found


def keyframe_label(draft: CotSample) -> str | None:
    """Returns the label shown before the keyframe; None without a target."""
    return None if draft.keyframe is None else draft.labels[draft.indices.index(draft.keyframe)]


def prepare(
    candidate: Candidate, sample: VideoSample, annotated: Sequence[int], view: View, seed: int
) -> Task | SkippedQuestion:
    """Draws the keyframe and reads the frames. annotated: frames whose masks are known.

    Raises VideoError or DatasetError if frames or masks cannot be read, or the id is not safe as a path.
    """
    truth = sample.truth
    assert truth is not None  # guaranteed by AnnotationSource.sample
    try:
        query = checked_query(sample.query)
    except SettingsError:
        return SkippedQuestion(candidate, sample.query[:200], "invalid_query")
    keyframe = choose_keyframe(truth, annotated, seeded_hash(seed, "keyframe", candidate.id))
    if keyframe is None and truth.num_objects:
        return SkippedQuestion(candidate, query, "target_not_visible")
    boxes = np.zeros((0, 4), np.float32) if keyframe is None else truth.boxes(keyframe)
    if len(boxes) > MAX_BOXES:
        return SkippedQuestion(candidate, query, "too_many_targets")
    shown = select_frames(sample.video, view, frames_with(keyframe, len(sample.video), view.num_frames))
    draft = _draft(candidate, query, sample.category, shown, keyframe, boxes)
    images = [fit(frame, view.frame_wh) for frame in sample.video.read(shown.indices)]
    known = set(annotated)
    masks = [_resized_masks(truth, index, view.frame_wh) if index in known else None for index in shown.indices]
    return Task(draft, images, masks, truth.num_objects)


def _draft(
    candidate: Candidate, query: str, category: str, shown: Shown, keyframe: int | None, boxes: np.ndarray
) -> CotSample:
    """Returns the sample with empty thinking."""
    return CotSample(
        id=candidate.id,
        video=candidate.video,
        query=query,
        category=category,
        type=candidate.type,
        targets=candidate.targets,
        indices=shown.indices,
        labels=shown.labels,
        label_unit=shown.label_unit,
        size_wh=shown.source_wh,
        frames=frame_names(candidate.id, len(shown.indices)),
        keyframe=keyframe,
        boxes=boxes,
        thinking="",
    )


def _resized_masks(truth: Masklets, index: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Returns the masks of one frame, bool (N, H, W). A pixel is set if any source pixel in it is: no mask vanishes."""
    import cv2

    masks = truth.masks(index)
    small = [cv2.resize(mask.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA) > 0 for mask in masks]
    return np.stack(small) if small else np.zeros((0, *size_wh[::-1]), bool)


def choose_keyframe(truth: Masklets, annotated: Sequence[int], number: int) -> int | None:
    """Returns one of the frames with the largest target area; None if no target is visible.

    annotated: frames whose masks are known. number: a random integer >= 0 that selects the frame.
    """
    areas = {frame: truth.area(frame) for frame in annotated}
    visible = sorted((frame for frame in areas if areas[frame]), key=lambda frame: (-areas[frame], frame))
    largest = visible[:KEYFRAME_CHOICES]
    return largest[number % len(largest)] if largest else None


def frames_with(keyframe: int | None, total: int, count: int) -> tuple[int, ...]:
    """Returns min(count, total) evenly spaced frame indices, ascending; the keyframe replaces the nearest of them."""
    spaced = sample_indices(total, count)
    if keyframe is None or keyframe in spaced:
        return spaced
    nearest = min(spaced, key=lambda index: abs(index - keyframe))
    return tuple(keyframe if index == nearest else index for index in spaced)
