"""Where questions come from: the shapes world, a benchmark or a chain-of-thought set in, `Question`s out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np

from thinkseg import demonstrations
from thinkseg.chains.frames import Shown, checked_query, sample_indices, show
from thinkseg.chains.parsing import Choice, write_answer
from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.data.cot import CotSample, CotSet
from thinkseg.data.readers.frame_cache import ByteBudget, CachedFrames
from thinkseg.data.shapes import Episode, episode, episode_masklets
from thinkseg.data.shapes.episodes import SOURCE_WH
from thinkseg.data.shapes.render import ShapesVideo
from thinkseg.data.shapes.traces import TEMPLATES
from thinkseg.demonstrations import true_boxes, true_choice, true_reply
from thinkseg.errors import SettingsError
from thinkseg.export.questions import (
    ExportSettings,
    Locate,
    Question,
    SkipSampleError,
    TrueReplies,
    Video,
    checked_words,
    dialogue_of,
    ground_truth,
    second_turn,
    written,
)
from thinkseg.rewards import Prompt
from thinkseg.types import Frames, VideoSample, View

UNKNOWN, UNSEEN = "an unknown truth", "a target that is in no frame shown"


class Source(Protocol):
    """Questions by number. name: of the data set."""

    name: str

    def __len__(self) -> int: ...

    def question(self, number: int, asking: ExportSettings) -> Question:
        """Question `number`, from 0 on; questions about one video follow each other.

        Raises LeftOutError if it is of no use, VideoError or TreeError if its files are broken.
        """
        ...


class ShapesSource:
    """Samples `start` .. `start` + `count` - 1 of a split of the shapes world, with the reasoning that we train on."""

    name = "shapes"

    def __init__(self, split: str, start: int, count: int) -> None:
        self._split = split
        self._start = start
        self._count = count

    def __len__(self) -> int:
        return self._count

    def question(self, number: int, asking: ExportSettings) -> Question:
        index = self._start + number
        one = episode(self._split, index)
        video = ShapesVideo(one.clip, SOURCE_WH, one.id)
        truth = episode_masklets(one.clip, one.questions[0].targets, SOURCE_WH)
        sample = VideoSample(one.id, video, one.texts[0], one.questions[0].category, truth)
        shown = sample_indices(len(video), asking.view.num_frames)
        # The wording of the reasoning changes from clip to clip, as it does in training.
        told = _Reasoned(one, index % len(TEMPLATES))
        return _question(Prompt(sample, shown), Video(one.id, partial(show, video)), told, asking)


class BenchmarkSource:
    """The expressions of a benchmark, the first `limit` of them if given; true replies come without reasoning.

    Frames are drawn from those the benchmark has a truth for, as our own reinforcement does.
    fps: frames a second of videos that carry no times, so that frames are labelled in seconds; numbered otherwise.
    """

    def __init__(self, benchmark: Benchmark, limit: int | None = None, fps: float | None = None) -> None:
        self.name = benchmark.name
        self._benchmark = benchmark
        self._expressions = benchmark.expressions[:limit]
        self._fps = fps
        self._looks = _Looks()

    def __len__(self) -> int:
        return len(self._expressions)

    def question(self, number: int, asking: ExportSettings) -> Question:
        expression = self._expressions[number]
        if not len(expression.scored):
            raise SkipSampleError(UNKNOWN)
        sample = self._benchmark.sample(expression)
        # Nothing is kept: a question asks for few frames of its video.
        sample = replace(sample, video=CachedFrames(sample.video, ByteBudget(0), self._fps))
        prompt = Prompt(sample, _frames(expression, asking.view.num_frames))
        video = Video(expression.video, partial(self._looks, expression.video, sample.video))
        told = None if sample.truth is None else _Known(prompt)
        return _question(prompt, video, told, asking)


class CotSource:
    """The samples of a chain-of-thought set, the first `limit` of them if given.

    Raises SettingsError if they cannot be asked so: a set is made for one turn and for one number of frames, and knows
    the truth of its keyframes alone.
    """

    name = "cot"

    def __init__(self, cot: CotSet, asking: ExportSettings, limit: int | None = None) -> None:
        if asking.chain != "veason":
            raise SettingsError(f"{cot.root}: a chain-of-thought set is made for the chain veason: export it with that")
        if asking.prompts:
            raise SettingsError(
                f"{cot.root} knows the truth of its keyframes alone: export the data set it was made from"
            )
        demonstrations.check_fits(cot, asking.view)
        self._cot = cot
        self._samples = cot.samples[:limit]

    def __len__(self) -> int:
        return len(self._samples)

    def question(self, number: int, asking: ExportSettings) -> Question:
        sample: CotSample = self._samples[number]
        query = checked_words(sample.query)
        dialogue = demonstrations.dialogue(self._cot, sample, asking.view)
        turn, _ = dialogue
        assert not isinstance(turn, str)
        pictures = asking.gallery.keep(sample.id, sample.indices, turn.images)
        return Question(sample.id, query, sample.category, dialogue, (pictures,), None)


def _question(prompt: Prompt, video: Video, told: TrueReplies | None, asking: ExportSettings) -> Question:
    """A question about a video, with what of it is wanted. told: its true replies; None if they are not known."""
    sample = prompt.sample
    query = checked_words(sample.query)
    if sample.truth is None and (asking.replies or asking.prompts):
        raise SkipSampleError(UNKNOWN)
    if sample.truth is not None and sample.truth.num_objects and not prompt.shows_target:
        raise SkipSampleError(UNSEEN)
    # A policy that is to try is not told.
    dialogue, pictures, shown = dialogue_of(query, video, prompt.shown, None if asking.prompts else told, asking)
    closeups, where = second_turn(video, shown, asking) if asking.prompts and asking.chain == "revseg" else ((), "")
    truth = None if sample.truth is None else ground_truth(prompt, shown, asking)
    return Question(sample.id, query, sample.category, dialogue, pictures, truth, closeups, where)


def _frames(expression: Expression, count: int) -> tuple[int, ...]:
    """Up to `count` of the frames an expression has a truth for, evenly spread."""
    scored = sorted(expression.scored)
    return tuple(scored[i] for i in sample_indices(len(scored), count))


class _Looks:
    """`chains.frames.show`, which remembers what it last showed of a video: questions about one follow each other."""

    def __init__(self) -> None:
        self._video = ""
        self._shown: dict[tuple[View, tuple[int, ...]], tuple[Shown, list[np.ndarray]]] = {}

    def __call__(self, name: str, video: Frames, view: View, indices: Sequence[int]) -> tuple[Shown, list[np.ndarray]]:
        if name != self._video:
            self._video, self._shown = name, {}
        key = view, tuple(indices)
        if key not in self._shown:
            self._shown[key] = show(video, view, indices)
        return self._shown[key]


class _Reasoned:
    """The true replies to the first question of a shapes clip, as `thinkseg train sft` teaches them."""

    def __init__(self, clip: Episode, template: int) -> None:
        self._clip = clip
        self._template = template

    def reply(self, shown: Shown) -> str:
        return true_reply(self._clip, 0, shown, self._template)

    def choice(self, shown: Shown) -> tuple[Choice, Locate]:
        choice, targets = true_choice(self._clip, 0, shown, self._template)
        return choice, partial(true_boxes, self._clip, targets)


class _Known:
    """The true replies to a question whose masks are known: the frame that shows most of the targets, and no words."""

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt

    def reply(self, shown: Shown) -> str:
        keyframe, boxes = self._answer()
        return written(write_answer, "", keyframe, boxes, shown)

    def choice(self, shown: Shown) -> tuple[Choice, Locate]:
        keyframe, boxes = self._answer()
        # The only words there are for the targets are those of the question.
        description = "" if keyframe is None else checked_query(self._prompt.sample.query)
        return Choice("", keyframe, description), lambda _: boxes

    def _answer(self) -> tuple[int | None, np.ndarray]:
        if not self._prompt.shows_target:
            return None, np.zeros((0, 4), np.float32)
        areas = self._prompt.areas
        keyframe = max(areas, key=areas.__getitem__)
        return keyframe, self._prompt.boxes[keyframe]
