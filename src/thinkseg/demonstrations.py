"""Samples of a chain-of-thought set as dialogues: what a policy is to be taught, in the words it is asked in.

In: a set that `thinkseg.data.cotset` read, and how videos are shown. Out: the turn that the chain `veason` would say,
and the reply that it reads as the sample's answer. Training and exports both take their dialogues from here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from thinkseg.chains.parse import write_answer
from thinkseg.chains.show import Shown, checked_query, fit
from thinkseg.chains.veason import ask
from thinkseg.data.cotset import CotSample, CotSet, read_cot_set
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.types import Dialogue, View


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
    return Shown(sample.indices, sample.labels, view.frame_wh, sample.size_wh, view.coordinates, sample.clock)


def reply(sample: CotSample, shown: Shown) -> str:
    """The reply that is to be learned. Raises ValueError if it would not read back."""
    return write_answer(sample.thinking, sample.keyframe, sample.boxes, shown)


def opened_set(root: str | None, view: View, any_coordinates: bool = False) -> CotSet:
    """The set in a folder, for a view. any_coordinates: how the model writes boxes is not known yet.

    Raises DatasetError if it cannot be read, SettingsError if it does not fit or is not named.
    """
    if root is None:
        raise SettingsError("cot_set: name the folder of a set, as thinkseg annotate writes it")
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
    if cot.tells_boxes and (cot.view.frame_wh, cot.view.coordinates) != (view.frame_wh, view.coordinates):
        ours, asked = ("{} of frames of {}x{}".format(v.coordinates, *v.frame_wh) for v in (cot.view, view))
        raise SettingsError(f"{cot.root}: its thinking tells boxes in {ours}, not in {asked}: make another set")
