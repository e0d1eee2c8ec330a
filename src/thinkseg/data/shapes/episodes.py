"""Clips with questions as a pure function of (split, index), also as `VideoSample`s."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from thinkseg.data.shapes.questions import ShapesQuestion, clear_questions
from thinkseg.data.shapes.render import ShapesVideo, corners, full_area, label_map, visible_boxes
from thinkseg.data.shapes.simulation import TRAINING_PATHS, UNSEEN_PATHS, Clip, simulate
from thinkseg.data.shapes.wordings import CATEGORIES, UNSEEN_WORDINGS, WORDINGS
from thinkseg.errors import DatasetError
from thinkseg.types import Masklets, VideoSample

SPLITS = ("train", "val", "zeroshot")
SOURCE_WH = (224, 224)
"""Default size of rendered frames, which chains resize to a policy's view as for other videos."""

CATEGORY_WEIGHTS = {
    "referring": 0.26,
    "motion": 0.14,
    "time": 0.12,
    "cause": 0.12,
    "comparison": 0.14,
    "several": 0.14,
    "none": 0.08,
}
"""Weights of the categories in the choice of a clip's first question."""

SCENARIOS = {
    "referring": ("plain",),
    "motion": ("fast", "still", "resize"),
    "time": ("leave", "leave", "enter"),
    "cause": ("hit",),
    "comparison": ("size", "plain"),
    "several": ("plain", "still"),
    "none": ("plain", "plain", "hit", "still"),
}
"""Scenarios of `simulate` that suit a first question of each category."""

NUM_PROBES = 8  # frames in which the visibility of targets is checked
MIN_TARGET_SHARE = 0.6  # visible share of each target's full area that at least one of these frames must have


@dataclass(frozen=True, slots=True, eq=False)
class Episode:
    """A clip and its questions.

    questions: the first one is that of `load`. texts: their wordings, in the same order.
    """

    id: str
    clip: Clip
    questions: tuple[ShapesQuestion, ...]
    texts: tuple[str, ...]


def episode(
    split: str, index: int, num_questions: int = 1, category_weights: Mapping[str, float] = CATEGORY_WEIGHTS
) -> Episode:
    """Returns the clip (split, index) with up to `num_questions` questions.

    category_weights: overrides of `CATEGORY_WEIGHTS`, 0 to exclude a category; they change the clips as well. Raises
    DatasetError for an unknown split or a negative index.
    """
    weights = CATEGORY_WEIGHTS | dict(category_weights)
    if split not in SPLITS:
        raise DatasetError(f"shapes: unknown split {split!r}; must be one of {', '.join(SPLITS)}")
    if index < 0:
        raise DatasetError(f"shapes: invalid index {index}; must be >= 0")
    rng = np.random.default_rng(np.random.SeedSequence([SPLITS.index(split), index]))
    paths = UNSEEN_PATHS if split == "zeroshot" else TRAINING_PATHS
    category = _sample_category(rng, list(weights), weights)
    while True:  # discards clips without a clear question of that category
        clip = simulate(rng, str(rng.choice(SCENARIOS[category])), paths)
        candidates = _with_visible_targets(clip, clear_questions(clip, rng))
        first = _sample_question(rng, candidates, category)
        if first:
            break
    others = [q for q in candidates if q != first]
    questions = (first, *_further_questions(rng, others, num_questions - 1, weights))
    wordings = UNSEEN_WORDINGS if split == "zeroshot" else WORDINGS
    texts = tuple(str(rng.choice(wordings[q.kind])).format(**dict(q.slots)) for q in questions)
    return Episode(f"{split}-{index:06d}", clip, questions, texts)


def load(
    split: str,
    index: int,
    size_wh: tuple[int, int] = SOURCE_WH,
    category_weights: Mapping[str, float] = CATEGORY_WEIGHTS,
) -> VideoSample:
    """Returns the first question about a clip with its ground truth; arguments and errors as for `episode`."""
    one = episode(split, index, category_weights=category_weights)
    video = ShapesVideo(one.clip, size_wh, one.id)
    truth = episode_masklets(one.clip, one.questions[0].targets, size_wh)
    return VideoSample(one.id, video, one.texts[0], one.questions[0].category, truth)


def episode_masklets(clip: Clip, objects: Sequence[int], size_wh: tuple[int, int]) -> Masklets:
    """Returns the exact masks of the given objects in all frames, in the given order."""
    from thinkseg.ops.masks import encode

    outlines = corners(clip, size_wh)
    tracks: list[list] = [[] for _ in objects]
    for frame in range(clip.num_frames):
        labels = label_map(outlines, frame, size_wh)
        for track, obj in zip(tracks, objects, strict=True):
            mask = labels == obj + 1
            track.append(encode(mask) if mask.any() else None)
    return Masklets(size_wh, clip.num_frames, tuple(map(tuple, tracks)))


def _sample_category(rng: np.random.Generator, categories: Sequence[str], weights: Mapping[str, float]) -> str:
    values = np.array([weights[c] for c in categories])
    return str(rng.choice(categories, p=values / values.sum()))


def _sample_question(
    rng: np.random.Generator, candidates: Sequence[ShapesQuestion], category: str
) -> ShapesQuestion | None:
    """Samples a kind first, then a question of it, so that kinds with many questions do not dominate."""
    candidates = [q for q in candidates if q.category == category]
    if not candidates:
        return None
    kind = str(rng.choice(sorted({q.kind for q in candidates})))
    of_kind = [q for q in candidates if q.kind == kind]
    return of_kind[rng.integers(len(of_kind))]


def _further_questions(
    rng: np.random.Generator, candidates: Sequence[ShapesQuestion], count: int, weights: Mapping[str, float]
) -> Iterator[ShapesQuestion]:
    """Samples up to `count` different questions by the weights of their categories."""
    for _ in range(count):
        categories = [c for c in CATEGORIES if weights[c] and any(q.category == c for q in candidates)]
        if not categories:
            return
        question = _sample_question(rng, candidates, _sample_category(rng, categories, weights))
        assert question is not None
        candidates = [q for q in candidates if q != question]
        yield question


def _with_visible_targets(clip: Clip, questions: Sequence[ShapesQuestion]) -> list[ShapesQuestion]:
    """Returns the questions whose targets are sufficiently visible, all of them in one frame."""
    size_wh = (48, 48)
    outlines = corners(clip, size_wh)
    frames = np.linspace(0, clip.num_frames - 1, NUM_PROBES).astype(int)
    maps = [label_map(outlines, int(f), size_wh) for f in frames]
    areas = np.stack([visible_boxes(labels, clip.num_objects)[1] for labels in maps])  # (PROBES, N)
    full = np.stack([full_area(outline) for outline in outlines], -1)
    visible = areas / np.maximum(full, 1)
    return [q for q in questions if not q.targets or (visible[:, list(q.targets)] >= MIN_TARGET_SHARE).all(1).any()]
