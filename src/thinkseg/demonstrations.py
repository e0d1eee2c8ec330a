"""Dialogues for supervised fine-tuning: the turns of a chain with replies that it parses as the ground truth.

Samples come from chain-of-thought (CoT) sets (`thinkseg.data.cot`) or from the shapes world. Training and exports both
use these dialogues.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from thinkseg.chains.frames import Shown, box_limits, checked_query, fit, show
from thinkseg.chains.parsing import Choice, write_answer, write_boxes, write_choice
from thinkseg.chains.revseg import ask_when, ask_where
from thinkseg.chains.turns import frames_content
from thinkseg.chains.veason import ask
from thinkseg.data.cot import CotSample, CotSet, read_cot_set
from thinkseg.data.shapes import Episode, grounding
from thinkseg.data.shapes.episodes import SOURCE_WH
from thinkseg.data.shapes.render import ShapesVideo
from thinkseg.data.shapes.traces import SINGLE_FRAME_KINDS, TEMPLATES, observe, trace
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.types import Dialogue, Turn, View


def dialogue(cot: CotSet, sample: CotSample, view: View) -> Dialogue:
    """Makes the dialogue of the chain `veason` for a sample of a CoT set.

    Raises DatasetError if its query or answer cannot be expressed in the chain, VideoError for an unreadable frame.
    """
    shown = shown_to(sample, view)
    images = [fit(image, view.frame_wh) for image in cot.images(sample)]
    try:
        return ask(checked_query(sample.query), shown, images, view), reply(sample, shown)
    except SettingsError as error:
        raise DatasetError(f"{cot.root}: sample {sample.id}: {error}") from None
    except ValueError as error:
        raise DatasetError(f"{cot.root}: sample {sample.id} is not expressible as a reply: {error}") from None


def shown_to(sample: CotSample, view: View) -> Shown:
    """Returns the record of a sample's frames, shown with the size and coordinates of a view."""
    return Shown(sample.indices, sample.labels, view.frame_wh, sample.size_wh, view.coordinates, sample.label_unit)


def reply(sample: CotSample, shown: Shown) -> str:
    """Writes the reply of a sample. Raises ValueError if it cannot be parsed back."""
    return write_answer(sample.thinking, sample.keyframe, sample.boxes, shown)


def open_cot_set(root: str, view: View, any_coordinates: bool = False) -> CotSet:
    """Reads the CoT set in a folder for a view. any_coordinates: accept the set's coordinates, whatever the view's.

    Raises DatasetError if the set is invalid, SettingsError if there is none, or if it does not fit the view.
    """
    if not Path(root).is_dir():
        raise SettingsError(f"{root}: no such folder; make a set with thinkseg annotate, or set cot_set")
    cot = read_cot_set(Path(root))
    check_fits(cot, replace(view, coordinates=cot.view.coordinates) if any_coordinates else view)
    return cot


def check_fits(cot: CotSet, view: View) -> None:
    """Raises SettingsError if a set is empty, or was made for another view than that of the trained policy."""
    if not cot.samples:
        raise SettingsError(f"{cot.root} has no samples: make them with thinkseg annotate")
    if cot.view.num_frames != view.num_frames:
        raise SettingsError(
            f"{cot.root} has {cot.view.num_frames} frames per sample, not {view.num_frames}: "
            f"set num_frames: {cot.view.num_frames}, or make another set"
        )
    if view.label_unit not in ("auto", cot.view.label_unit):
        labels = "seconds and by index" if cot.view.label_unit == "auto" else cot.view.label_unit
        raise SettingsError(
            f"{cot.root}: its frames are labeled by {labels}, not {view.label_unit}: set label_unit, or use another set"
        )
    if cot.boxes_in_thinking and (cot.view.frame_wh, cot.view.coordinates) != (view.frame_wh, view.coordinates):
        found, expected = ("{} of frames of {}x{}".format(v.coordinates, *v.frame_wh) for v in (cot.view, view))
        raise SettingsError(f"{cot.root}: its thinking has boxes in {found}, not in {expected}: make another set")


def traces(
    clip: Episode, view: View, rng: np.random.Generator, thinking: bool = True, first: bool = False
) -> list[Dialogue]:
    """Makes a dialogue of the chain `veason` per question of an episode, with correct reasoning and answer.

    thinking: write the reasoning. first: the keyframe is the first frame with a visible target, not the best one.
    """
    video = ShapesVideo(clip.clip, SOURCE_WH, clip.id)
    shown, images = show(video, view, _random_frame(view, video, rng))
    dialogues: list[Dialogue] = []
    for number, text in enumerate(clip.texts):
        reply = true_reply(clip, number, shown, int(rng.integers(len(TEMPLATES))), thinking, first)
        dialogues.append((ask(text, shown, images, view), reply))
    return dialogues


def true_reply(
    clip: Episode, question_index: int, shown: Shown, template: int, thinking: bool = True, first: bool = False
) -> str:
    """Writes the correct reply of the chain `veason` to a question of an episode."""
    units = box_limits(shown)
    sight = observe(clip.clip, shown.indices, shown.labels, units)
    thought = trace(sight, clip.questions[question_index], template, first)
    keyframe = None if thought.position is None else shown.indices[thought.position]
    scale = np.array(shown.source_wh * 2) / np.array(units * 2)
    return write_answer(thought.thinking if thinking else "", keyframe, thought.boxes * scale, shown)


def two_turns(clip: Episode, view: View, rng: np.random.Generator) -> list[Dialogue]:
    """Makes a dialogue of the chain `revseg` per question: a keyframe with names of the targets, then their boxes."""
    video = ShapesVideo(clip.clip, SOURCE_WH, clip.id)
    shown, images = show(video, view.overview)
    dialogues: list[Dialogue] = []
    for number, text in enumerate(clip.texts):
        choice, targets = true_choice(clip, number, shown, template=int(rng.integers(len(TEMPLATES))))
        dialogue: Dialogue = (ask_when(text, shown, images, view), write_choice(choice, shown))
        if choice.keyframe is not None:
            closeup, (image,) = show(video, view.closeup, [choice.keyframe])
            boxes = write_boxes(true_boxes(clip, targets, closeup), closeup)
            dialogue += (ask_where(choice.description, closeup, image, view), boxes)
        dialogues.append(dialogue)
    return dialogues


def true_choice(clip: Episode, question_index: int, shown: Shown, template: int) -> tuple[Choice, list[int]]:
    """Returns the correct first reply of the chain `revseg`, and the targets visible in its keyframe."""
    question = clip.questions[question_index]
    sight = observe(clip.clip, shown.indices, shown.labels, box_limits(shown))
    thought = trace(sight, question, template)
    if thought.position is None:
        return Choice(thought.thinking, None, ""), []
    targets = [i for i in sight.order if i in question.targets and sight.areas[thought.position, i]]
    names = " and ".join(sight.names[i] for i in targets)
    return Choice(thought.thinking, shown.indices[thought.position], names), targets


def true_boxes(clip: Episode, targets: list[int], shown: Shown) -> np.ndarray:
    """Returns boxes of objects in the only frame shown, (N, 4) xyxy in pixels of the source frame."""
    units = box_limits(shown)
    boxes = observe(clip.clip, shown.indices, shown.labels, units).boxes[0, targets]
    return boxes * (np.array(shown.source_wh * 2) / np.array(units * 2))


def single_frame_questions(clip: Episode, view: View, rng: np.random.Generator) -> list[Dialogue]:
    """Makes dialogues as `traces` does, with one frame shown, of the questions that a single frame can answer."""
    answerable = [n for n, question in enumerate(clip.questions) if question.kind in SINGLE_FRAME_KINDS]
    kept = replace(
        clip, questions=tuple(clip.questions[n] for n in answerable), texts=tuple(clip.texts[n] for n in answerable)
    )
    return traces(kept, replace(view, num_frames=1), rng)


def list_objects(clip: Episode, view: View, rng: np.random.Generator, count: int) -> list[Dialogue]:
    """Makes dialogues that list the objects of up to `count` of the shown frames, without a chain's instruction."""
    video = ShapesVideo(clip.clip, SOURCE_WH, clip.id)
    shown, images = show(video, view, _random_frame(view, video, rng))
    sight = observe(clip.clip, shown.indices, shown.labels, box_limits(shown))
    frames = frames_content(view.wording.veason.frame, shown.label_unit, shown.indices, shown.labels, images)
    return [(Turn((*frames, request)), reply) for request, reply in grounding.object_lists(sight, rng, count)]


def _random_frame(view: View, video: ShapesVideo, rng: np.random.Generator) -> list[int] | None:
    """Returns a random frame for a view of one frame, whose default is always the middle one; None for other views."""
    return [int(rng.integers(len(video)))] if view.num_frames == 1 else None
