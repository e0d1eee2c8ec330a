"""Samples of a chain-of-thought set as dialogues: what a policy is to be taught, in the words it is asked in.

In: a set that `thinkseg.data.cot` read, and how videos are shown. Out: the turn that the chain `veason` would say,
and the reply that it reads as the sample's answer. Training and exports both take their dialogues from here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from thinkseg.chains.frames import Shown, checked_query, fit, show
from thinkseg.chains.parsing import Choice, write_answer, write_boxes, write_choice
from thinkseg.chains.revseg import ask_when, ask_where
from thinkseg.chains.veason import ask
from thinkseg.data.cot import CotSample, CotSet, read_cot_set
from thinkseg.data.shapes import Episode, grounding
from thinkseg.data.shapes.episodes import SOURCE_WH
from thinkseg.data.shapes.render import ShapesVideo
from thinkseg.data.shapes.traces import SINGLE_FRAME_KINDS, TEMPLATES, observe, trace
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.types import Dialogue, Turn, View


def dialogue(cot: CotSet, sample: CotSample, view: View) -> Dialogue:
    """The turn and the reply, frames resized to the view's.

    Raises DatasetError for a sample that cannot be asked or answered so, VideoError if a frame cannot be read.
    """
    shown = shown_to(sample, view)
    images = [fit(image, view.frame_wh) for image in cot.images(sample)]
    try:
        return ask(checked_query(sample.query), shown, images), reply(sample, shown)
    except SettingsError as error:
        raise DatasetError(f"{cot.root}: sample {sample.id}: {error}") from None
    except ValueError as error:
        raise DatasetError(f"{cot.root}: sample {sample.id} cannot be written as a reply: {error}") from None


def shown_to(sample: CotSample, view: View) -> Shown:
    """The record of a sample's frames when they are shown at a view's size, to a policy that writes boxes its way."""
    return Shown(sample.indices, sample.labels, view.frame_wh, sample.size_wh, view.coordinates, sample.label_unit)


def reply(sample: CotSample, shown: Shown) -> str:
    """The reply that is to be learned. Raises ValueError if it would not read back."""
    return write_answer(sample.thinking, sample.keyframe, sample.boxes, shown)


def opened_set(root: str, view: View, any_coordinates: bool = False) -> CotSet:
    """The set in a folder, for a view. any_coordinates: how the model writes boxes is not known yet.

    Raises DatasetError if it cannot be read, SettingsError if it does not fit.
    """
    cot = read_cot_set(Path(root))
    check_fits(cot, replace(view, coordinates=cot.view.coordinates) if any_coordinates else view)
    return cot


def check_fits(cot: CotSet, view: View) -> None:
    """Raises SettingsError if a set is not made for a view: for other frames than a policy will see later."""
    if not cot.samples:
        raise SettingsError(f"{cot.root} holds no samples: make them with thinkseg annotate")
    if cot.view.num_frames != view.num_frames:
        raise SettingsError(
            f"{cot.root} shows {cot.view.num_frames} frames where {view.num_frames} are asked for: "
            f"set num_frames: {cot.view.num_frames}, or make another set"
        )
    if cot.boxes_in_thinking and (cot.view.frame_wh, cot.view.coordinates) != (view.frame_wh, view.coordinates):
        ours, asked = ("{} of frames of {}x{}".format(v.coordinates, *v.frame_wh) for v in (cot.view, view))
        raise SettingsError(f"{cot.root}: its thinking tells boxes in {ours}, not in {asked}: make another set")


def traces(
    clip: Episode, view: View, rng: np.random.Generator, thinking: bool = True, first: bool = False
) -> list[Dialogue]:
    """Every question of an episode with a true answer and the thinking, if there is to be any, that leads to it.

    first: the keyframe is the first one that shows a target, not the best one.
    """
    video = ShapesVideo(clip.clip, SOURCE_WH, clip.id)
    shown, images = show(video, view, _alone(view, video, rng))
    dialogues: list[Dialogue] = []
    for number, text in enumerate(clip.texts):
        reply = true_reply(clip, number, shown, int(rng.integers(len(TEMPLATES))), thinking, first)
        dialogues.append((ask(text, shown, images), reply))
    return dialogues


def true_reply(
    clip: Episode, question_index: int, shown: Shown, template: int, thinking: bool = True, first: bool = False
) -> str:
    """The reply a perfect policy would give to one question of an episode, seeing what `shown` records."""
    units = _units(shown)
    sight = observe(clip.clip, shown.indices, shown.labels, units)
    thought = trace(sight, clip.questions[question_index], template, first)
    keyframe = None if thought.position is None else shown.indices[thought.position]
    scale = np.array(shown.source_wh * 2) / np.array(units * 2)
    return write_answer(thought.thinking if thinking else "", keyframe, thought.boxes * scale, shown)


def closeups(clip: Episode, view: View, rng: np.random.Generator) -> list[Dialogue]:
    """As `traces`, in two turns: the thinking leads to a frame and the names of the targets, which are boxed on it."""
    video = ShapesVideo(clip.clip, SOURCE_WH, clip.id)
    shown, images = show(video, view.overview)
    dialogues: list[Dialogue] = []
    for number, text in enumerate(clip.texts):
        choice, targets = true_choice(clip, number, shown, template=int(rng.integers(len(TEMPLATES))))
        dialogue: Dialogue = (ask_when(text, shown, images), write_choice(choice, shown))
        if choice.keyframe is not None:
            closeup, (image,) = show(video, view.closeup, [choice.keyframe])
            boxes = write_boxes(true_boxes(clip, targets, closeup), closeup)
            dialogue += (ask_where(choice.description, closeup, image), boxes)
        dialogues.append(dialogue)
    return dialogues


def true_choice(clip: Episode, question_index: int, shown: Shown, template: int) -> tuple[Choice, list[int]]:
    """What a perfect policy would choose in its first turn, and the targets in sight there, as they are described."""
    question = clip.questions[question_index]
    sight = observe(clip.clip, shown.indices, shown.labels, _units(shown))
    thought = trace(sight, question, template)
    if thought.position is None:
        return Choice(thought.thinking, None, ""), []
    targets = [i for i in sight.order if i in question.targets and sight.areas[thought.position, i]]
    names = " and ".join(sight.names[i] for i in targets)
    return Choice(thought.thinking, shown.indices[thought.position], names), targets


def true_boxes(clip: Episode, targets: list[int], shown: Shown) -> np.ndarray:
    """Boxes of objects in the one frame that was shown, (N, 4) xyxy in pixels of the source."""
    units = _units(shown)
    boxes = observe(clip.clip, shown.indices, shown.labels, units).boxes[0, targets]
    return boxes * (np.array(shown.source_wh * 2) / np.array(units * 2))


def glimpses(clip: Episode, view: View, rng: np.random.Generator) -> list[Dialogue]:
    """As `traces`, of one frame shown alone: the questions about looks, which it can answer."""
    of_looks = [n for n, question in enumerate(clip.questions) if question.kind in SINGLE_FRAME_KINDS]
    kept = replace(
        clip, questions=tuple(clip.questions[n] for n in of_looks), texts=tuple(clip.texts[n] for n in of_looks)
    )
    return traces(kept, replace(view, num_frames=1), rng)


def lists(clip: Episode, view: View, rng: np.random.Generator, count: int) -> list[Dialogue]:
    """Lessons in looking at up to `count` of the shown frames, without the chain's instruction."""
    video = ShapesVideo(clip.clip, SOURCE_WH, clip.id)
    shown, images = show(video, view, _alone(view, video, rng))
    sight = observe(clip.clip, shown.indices, shown.labels, _units(shown))
    seen: list[str | np.ndarray] = []
    for label, image in zip(shown.labels, images, strict=True):
        seen += (f"{label} s:", image)
    return [(Turn((*seen, request)), reply) for request, reply in grounding.object_lists(sight, rng, count)]


def _alone(view: View, video: ShapesVideo, rng: np.random.Generator) -> list[int] | None:
    """A frame shown alone is any, where a view's own choice would always be the middle one."""
    return [int(rng.integers(len(video)))] if view.num_frames == 1 else None


def _units(shown: Shown) -> tuple[int, int]:
    """Far ends of the frame in the units the policy writes boxes in."""
    return (1000, 1000) if shown.coordinates == "normalized_1000" else shown.frame_wh
