"""What an annotator is given: a question with its truth in; a sample that lacks its thinking, and its frames, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from thinkseg.annotation.candidates import Candidate
from thinkseg.annotation.sampling import chance
from thinkseg.chains.frames import checked_query, describe, fit, sample_indices
from thinkseg.chains.parsing import MAX_BOXES
from thinkseg.data.cot import CotSample, frame_names
from thinkseg.errors import SettingsError
from thinkseg.types import Masklets, VideoSample, View

Flaw = Literal["unseen", "crowded", "query"]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A question to be explained.

    draft: the sample, its thinking still empty. images: its frames, uint8 RGB of the view's size, without any marks.
    masks: bool (N, H, W) for each of them, where it is known, else None. num_objects: targets in the whole video.
    """

    draft: CotSample
    images: list[np.ndarray]
    masks: list[np.ndarray | None]
    num_objects: int

    @property
    def keyframe_label(self) -> str | None:
        """The keyframe's time or number as it is shown."""
        return label_of(self.draft)


@dataclass(frozen=True, slots=True)
class SkippedQuestion:
    """A question that nothing can be taught from. flaw: why."""

    candidate: Candidate
    query: str
    flaw: Flaw


def label_of(draft: CotSample) -> str | None:
    """The keyframe's time or number as it is shown; None without a target."""
    return None if draft.keyframe is None else draft.labels[draft.indices.index(draft.keyframe)]


def limits(view: View) -> tuple[int, int]:
    """Far ends of a frame, (width, height), in the units in which boxes are written."""
    return (1000, 1000) if view.coordinates == "thousandths" else view.frame_wh


def prepare(
    candidate: Candidate, sample: VideoSample, annotated: Sequence[int], view: View, seed: int
) -> Task | SkippedQuestion:
    """Draws the keyframe and reads the frames. annotated: frames whose masks are known.

    Raises VideoError or DatasetError if frames or masks cannot be read, or the id cannot be a file's name.
    """
    truth = sample.truth
    assert truth is not None  # a source only has questions whose truth is known
    try:
        query = checked_query(sample.query)
    except SettingsError:
        return SkippedQuestion(candidate, sample.query[:200], "query")
    keyframe = keyframe_of(truth, annotated, chance(seed, "keyframe", candidate.id))
    if keyframe is None and truth.num_objects:
        return SkippedQuestion(candidate, query, "unseen")
    boxes = np.zeros((0, 4), np.float32) if keyframe is None else truth.boxes(keyframe)
    if len(boxes) > MAX_BOXES:
        return SkippedQuestion(candidate, query, "crowded")
    shown = describe(sample.video, view, shown_with(len(sample.video), view.num_frames, keyframe))
    draft = CotSample(
        id=candidate.id,
        video=candidate.video,
        query=query,
        category=sample.category,
        type=candidate.type,
        targets=candidate.targets,
        indices=shown.indices,
        labels=shown.labels,
        clock=shown.clock,
        size_wh=shown.source_wh,
        frames=frame_names(candidate.id, len(shown.indices)),
        keyframe=keyframe,
        boxes=boxes,
        thinking="",
    )
    images = [fit(frame, view.frame_wh) for frame in sample.video.read(shown.indices)]
    known = set(annotated)
    masks = [_masks(truth, index, view.frame_wh) if index in known else None for index in shown.indices]
    return Task(draft, images, masks, truth.num_objects)


def _masks(truth: Masklets, index: int, size_wh: tuple[int, int]) -> np.ndarray:
    """Masks of all targets in one frame at another size, bool (N, H, W); none, however thin, is lost."""
    import cv2

    masks = truth.masks(index)
    small = [cv2.resize(mask.astype(np.float32), size_wh, interpolation=cv2.INTER_AREA) > 0 for mask in masks]
    return np.stack(small) if small else np.zeros((0, *size_wh[::-1]), bool)


LARGEST = 5
"""Frames among which the keyframe is drawn: were it always the largest, a model would learn its place by heart."""


def keyframe_of(truth: Masklets, annotated: Sequence[int], chance: int) -> int | None:
    """One of the frames in which the targets cover most, fewer where they are seen in fewer; None if never seen.

    annotated: frames whose masks are known. chance: any number of at least 0.
    """
    areas = {frame: truth.area(frame) for frame in annotated}
    largest = sorted((frame for frame in areas if areas[frame]), key=lambda frame: (-areas[frame], frame))[:LARGEST]
    return largest[chance % len(largest)] if largest else None


def shown_with(total: int, count: int, keyframe: int | None) -> tuple[int, ...]:
    """Exactly min(count, total) frames spread evenly over a video, ascending, the keyframe among them.

    It takes the place of the frame nearest to it.
    """
    spread = sample_indices(total, count)
    if keyframe is None or keyframe in spread:
        return spread
    nearest = min(spread, key=lambda index: abs(index - keyframe))
    return tuple(keyframe if index == nearest else index for index in spread)
