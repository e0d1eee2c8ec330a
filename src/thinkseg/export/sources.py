"""Sources of samples: a benchmark or a chain-of-thought set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import numpy as np

from thinkseg import demonstrations
from thinkseg.chains.frames import Shown, checked_query, sample_indices, show
from thinkseg.chains.parsing import Choice, write_answer
from thinkseg.data.benchmarks.base import Benchmark, Expression
from thinkseg.data.cot import CotSet
from thinkseg.data.shapes import Episode, episode
from thinkseg.data.shapes.traces import TEMPLATES
from thinkseg.demonstrations import true_boxes, true_choice, true_reply
from thinkseg.errors import SettingsError
from thinkseg.export.samples import (
    ExportSample,
    ExportSettings,
    ExportVideo,
    SkipSampleError,
    TrueBoxes,
    TrueReplies,
    build_dialogue,
    ground_truth,
    query_or_skip,
    second_turn,
    write_or_skip,
)
from thinkseg.ops.chat_text import escape_control_tokens
from thinkseg.rewards import Prompt
from thinkseg.types import Frames, View

NO_GROUND_TRUTH, NOT_VISIBLE = "no ground truth", "target not visible"
"""Reasons to skip a question."""


class ExportSource(Protocol):
    """Questions by number, grouped by video. name: of the data set and split, as in `Benchmark.key`."""

    name: str

    def __len__(self) -> int: ...

    def sample(self, number: int, settings: ExportSettings) -> ExportSample:
        """Returns the sample of a question, numbered from 0.

        Raises SkipSampleError if it cannot be exported, VideoError or DatasetFileError for invalid files.
        """
        ...


class BenchmarkSource:
    """The expressions of a benchmark; true replies have no thinking.

    Frames come from the annotated ones, as in GRPO. limit: number of expressions (default: all).
    """

    def __init__(self, benchmark: Benchmark, limit: int | None = None) -> None:
        self.name = benchmark.key
        self._benchmark = benchmark
        self._expressions = benchmark.expressions[:limit]
        self._show = _CachedShow()

    def __len__(self) -> int:
        return len(self._expressions)

    def sample(self, number: int, settings: ExportSettings) -> ExportSample:
        expression = self._expressions[number]
        if not len(expression.scored):
            raise SkipSampleError(NO_GROUND_TRUTH)
        sample = self._benchmark.sample(expression)
        prompt = Prompt(sample, _annotated_frames(expression, settings.view.num_frames))
        video = ExportVideo(expression.video, partial(self._show, expression.video, sample.video))
        replies = None if sample.truth is None else self._replies(expression, prompt)
        return _sample(self.name, prompt, video, replies, settings)

    def _replies(self, expression: Expression, prompt: Prompt) -> TrueReplies:
        return _MaskReplies(prompt)


class ShapesSource(BenchmarkSource):
    """The samples of the benchmark `shapes`, with the true replies of `train sft`, which tell times in seconds."""

    def sample(self, number: int, settings: ExportSettings) -> ExportSample:
        if settings.for_sft and settings.view.label_unit == "index":
            raise SettingsError("shapes: its reasoning is in seconds, not frame indices; export it for another model")
        return super().sample(number, settings)

    def _replies(self, expression: Expression, prompt: Prompt) -> TrueReplies:
        split, _, index = expression.video.rpartition("-")
        clip = episode(split, int(index), category_weights=self._benchmark.settings["category_weights"])
        # The wording of the thinking differs between clips, as in training.
        return _ShapesReplies(clip, int(index) % len(TEMPLATES))


class CotSource:
    """The samples of a chain-of-thought set. limit: number of samples (default: all).

    Raises SettingsError for a chain other than veason, for RL, or for another view: a set has one turn, one number of
    frames, and the ground truth of its keyframes only.
    """

    name = "cot"

    def __init__(self, cot: CotSet, settings: ExportSettings, limit: int | None = None) -> None:
        if settings.chain != "veason":
            raise SettingsError(f"{cot.root}: a chain-of-thought set is for the chain veason only; export it with that")
        if settings.for_rl:
            raise SettingsError(
                f"{cot.root}: the set has no ground truth except at keyframes; export the data set it was made from"
            )
        demonstrations.check_fits(cot, settings.view)
        self._cot = cot
        self._samples = cot.samples[:limit]

    def __len__(self) -> int:
        return len(self._samples)

    def sample(self, number: int, settings: ExportSettings) -> ExportSample:
        sample = self._samples[number]
        query = query_or_skip(sample.query)
        dialogue = demonstrations.dialogue(self._cot, sample, settings.view)
        turn, _ = dialogue
        assert not isinstance(turn, str)
        files = settings.images.write(sample.id, sample.indices, turn.images)
        return ExportSample(sample.id, query, sample.category, dialogue, (files,), None)


def _sample(
    dataset: str, prompt: Prompt, video: ExportVideo, replies: TrueReplies | None, settings: ExportSettings
) -> ExportSample:
    """Makes a sample from a prompt. dataset: see `ground_truth`. replies: None if unknown."""
    sample = prompt.sample
    query = query_or_skip(sample.query)
    if sample.truth is None and (settings.for_sft or settings.for_rl):
        raise SkipSampleError(NO_GROUND_TRUTH)
    if sample.truth is not None and sample.truth.num_objects and not prompt.shows_target:
        raise SkipSampleError(NOT_VISIBLE)
    exported = None if settings.for_rl else replies
    dialogue, images, shown = build_dialogue(query, video, prompt.frame_indices, exported, settings)
    closeups, text = second_turn(video, shown, settings) if settings.for_rl and settings.chain == "revseg" else ((), "")
    truth = None if sample.truth is None else ground_truth(dataset, prompt, shown, settings)
    return ExportSample(sample.id, query, sample.category, dialogue, images, truth, closeups, text)


def _annotated_frames(expression: Expression, count: int) -> tuple[int, ...]:
    """Returns up to `count` evenly spaced annotated frames of an expression."""
    scored = sorted(expression.scored)
    return tuple(scored[i] for i in sample_indices(len(scored), count))


class _CachedShow:
    """`chains.frames.show` with a cache for the latest video: questions are grouped by video."""

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


class _ShapesReplies:
    """The true replies to the first question of a shapes clip, as in `thinkseg train sft`."""

    def __init__(self, clip: Episode, template: int) -> None:
        self._clip = clip
        self._template = template

    def reply(self, shown: Shown) -> str:
        return true_reply(self._clip, 0, shown, self._template)

    def choice(self, shown: Shown) -> tuple[Choice, TrueBoxes]:
        choice, targets = true_choice(self._clip, 0, shown, self._template)
        return choice, partial(true_boxes, self._clip, targets)


class _MaskReplies:
    """The true replies that follow from masks: the shown frame with the largest targets, and no thinking."""

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt

    def reply(self, shown: Shown) -> str:
        keyframe, boxes = self._answer()
        return write_or_skip(write_answer, "", keyframe, boxes, shown)

    def choice(self, shown: Shown) -> tuple[Choice, TrueBoxes]:
        keyframe, boxes = self._answer()
        # The query is the only description of the targets.
        description = "" if keyframe is None else escape_control_tokens(checked_query(self._prompt.sample.query))
        return Choice("", keyframe, description), lambda _: boxes

    def _answer(self) -> tuple[int | None, np.ndarray]:
        if not self._prompt.shows_target:
            return None, np.zeros((0, 4), np.float32)
        areas = self._prompt.areas
        keyframe = max(areas, key=areas.__getitem__)
        return keyframe, self._prompt.boxes[keyframe]
