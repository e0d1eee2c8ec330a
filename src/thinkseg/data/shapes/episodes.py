"""A clip with its questions as a pure function of (split, index), and the same as a `VideoSample`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thinkseg.data.shapes.questions import Question, questions
from thinkseg.data.shapes.render import ShapesVideo, corners, full_area, label_map, seen_boxes
from thinkseg.data.shapes.simulation import TRAINING_PATHS, UNSEEN_PATHS, Clip, simulate
from thinkseg.data.shapes.wordings import CATEGORIES, UNSEEN_WORDINGS, WORDINGS
from thinkseg.errors import DatasetError
from thinkseg.types import Masklets, VideoSample

SPLITS = ("train", "val", "zeroshot")
SHARES = {
    "referring": 0.26,
    "motion": 0.14,
    "time": 0.12,
    "cause": 0.12,
    "comparison": 0.14,
    "several": 0.14,
    "none": 0.08,
}
"""How often each category is asked first."""

SCENARIOS = {
    "referring": ("plain",),
    "motion": ("fast", "still", "resize"),
    "time": ("leave", "leave", "enter"),
    "cause": ("hit",),
    "comparison": ("size", "plain"),
    "several": ("plain", "still"),
    "none": ("plain", "plain", "hit", "still"),
}
"""What happens in clips in which a question of a category is to be asked."""

PROBES = 8  # frames in which the visibility of targets is checked
LEAST_SEEN = 0.6  # share of a target's full area that one probe at least must show


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """A clip and what is asked about it.

    asked: the questions, the one `load` asks first; texts: their wordings, in the same order.
    """

    id: str
    clip: Clip
    asked: tuple[Question, ...]
    texts: tuple[str, ...]


def episode(split: str, index: int, num_questions: int = 1, shares: Mapping[str, float] = SHARES) -> Episode:
    """The clip (split, index) with up to `num_questions` questions. Raises DatasetError.

    shares: how often a category is asked where that is not as in `SHARES`, 0 if never; clips and questions of other
    shares are others.
    """
    shares = SHARES | dict(shares)
    if split not in SPLITS:
        raise DatasetError(f"shapes: no split {split!r}; there are {', '.join(SPLITS)}")
    if index < 0:
        raise DatasetError(f"shapes: sample {index} of {split} cannot be: indices start at 0")
    rng = np.random.default_rng(np.random.SeedSequence([SPLITS.index(split), index]))
    paths = UNSEEN_PATHS if split == "zeroshot" else TRAINING_PATHS
    categories, weights = list(shares), np.array(list(shares.values()))
    category = str(rng.choice(categories, p=weights / weights.sum()))
    while True:  # a clip in which that category cannot be asked is thrown away
        clip = simulate(rng, str(rng.choice(SCENARIOS[category])), paths)
        possible = _answerable(clip, questions(clip, rng))
        first = _pick(rng, [q for q in possible if q.category == category])
        if first:
            break
    asked = [first, *_more(rng, [q for q in possible if q != first], num_questions - 1, shares)]
    wordings = UNSEEN_WORDINGS if split == "zeroshot" else WORDINGS
    texts = tuple(str(rng.choice(wordings[q.kind])).format(**dict(q.words)) for q in asked)
    return Episode(f"{split}-{index:06d}", clip, tuple(asked), texts)


def load(
    split: str, index: int, size_wh: tuple[int, int] = (224, 224), shares: Mapping[str, float] = SHARES
) -> VideoSample:
    """One question about one clip, with its truth; shares: as for `episode`.

    Raises DatasetError for a split or an index that cannot be.
    """
    one = episode(split, index, shares=shares)
    video = ShapesVideo(one.clip, size_wh, one.id)
    truth = episode_masklets(one.clip, one.asked[0].targets, size_wh)
    return VideoSample(one.id, video, one.texts[0], one.asked[0].category, truth)


def episode_masklets(clip: Clip, objects: Sequence[int], size_wh: tuple[int, int]) -> Masklets:
    """Exact masks of the named objects, in that order, over the whole clip."""
    from thinkseg.ops.masks import encode

    outlines = corners(clip, size_wh)
    tracks: list[list] = [[] for _ in objects]
    for frame in range(clip.num_frames):
        labels = label_map(outlines, frame, size_wh)
        for track, obj in zip(tracks, objects, strict=True):
            mask = labels == obj + 1
            track.append(encode(mask) if mask.any() else None)
    return Masklets(size_wh, clip.num_frames, tuple(map(tuple, tracks)))


def _pick(rng: np.random.Generator, possible: list[Question]) -> Question | None:
    """One question: first its kind is drawn, then its subject, so that kinds with many subjects do not crowd out."""
    if not possible:
        return None
    kind = str(rng.choice(sorted({q.kind for q in possible})))
    subjects = [q for q in possible if q.kind == kind]
    return subjects[rng.integers(len(subjects))]


def _more(
    rng: np.random.Generator, possible: list[Question], count: int, shares: Mapping[str, float]
) -> Iterator[Question]:
    """Further questions, by category shares, no question twice."""
    for _ in range(count):
        there = [c for c in CATEGORIES if shares[c] and any(q.category == c for q in possible)]
        if not there:
            return
        weights = np.array([shares[c] for c in there])
        category = str(rng.choice(there, p=weights / weights.sum()))
        chosen = _pick(rng, [q for q in possible if q.category == category])
        assert chosen is not None
        possible = [q for q in possible if q != chosen]
        yield chosen


def _answerable(clip: Clip, asked: list[Question]) -> list[Question]:
    """The questions whose targets come well into sight, together if there are several."""
    size_wh = (48, 48)
    outlines = corners(clip, size_wh)
    frames = np.linspace(0, clip.num_frames - 1, PROBES).astype(int)
    maps = [label_map(outlines, int(f), size_wh) for f in frames]
    areas = np.stack([seen_boxes(labels, clip.num_objects)[1] for labels in maps])  # (PROBES, N)
    full = np.stack([full_area(outline) for outline in outlines], -1)
    seen = areas / np.maximum(full, 1)
    return [q for q in asked if not q.targets or (seen[:, list(q.targets)] >= LEAST_SEEN).all(1).any()]


SOURCE_WH = (224, 224)  # frames are drawn as videos are, then shrunk to the view as a policy's frames are


SHAPES_WH = (224, 224)
