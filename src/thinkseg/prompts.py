"""The wording of the built-in chains: texts with placeholders such as {query}. The default values are the built-in one.

`thinkseg.chains.turns` fills the placeholders in, and `thinkseg.storage.prompt_file` reads and writes YAML. Only a word
in braces is a placeholder, so that JSON needs no escapes. An unknown or missing one raises ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

PLACEHOLDER = re.compile(r"\{(\w+)\}")

_ONCE = ("frames", "image")
"""Placeholders of images, which a text has at most once."""

_CONTROL_TOKEN = re.compile(r"<\|[^\s<>]*\|>|</?(?:image|video|audio)>", re.IGNORECASE)
"""What tokenizers and trainers take for the end of a turn or the place of an image."""


def _check(field: str, text: str, required: Collection[str], optional: Collection[str] = ()) -> None:
    """Raises ValueError for a missing, repeated or unknown placeholder, or a control token."""
    found, known = PLACEHOLDER.findall(text), (*required, *optional)
    for name in found:
        if name not in known:
            allowed = f"must be one of {_listed(known)}" if known else "this text has none; remove it"
            raise ValueError(f"{field}: unknown placeholder {{{name}}}: {allowed}")
    for name in required:
        if name not in found:
            raise ValueError(f"{field}: has no {{{name}}}; add it")
    for name in _ONCE:
        if found.count(name) > 1:
            raise ValueError(f"{field}: has {{{name}}} {found.count(name)} times; keep one")
    if token := _CONTROL_TOKEN.search(text):
        raise ValueError(f"{field}: has the control token {token[0]!r}; remove it ({{image}} is the place of an image)")


def _check_fillers(unit: LabelTexts, units: CoordinateTexts) -> None:
    """Checks the texts that stand for {unit} and {units}, which have no placeholders."""
    for field, texts in (("unit", unit), ("units", units)):
        for name in type(texts).__slots__:
            _check(f"{field}.{name}", getattr(texts, name), ())


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


class _Texts:
    """Base of all texts: a file of them has no unknown fields."""

    __slots__ = ()
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012


@dataclass(frozen=True, slots=True)
class LabelTexts(_Texts):
    """A text for frames that are labeled in seconds, and one for frames that are numbered; see `types.LabelUnit`."""

    seconds: str
    index: str


@dataclass(frozen=True, slots=True)
class CoordinateTexts(_Texts):
    """The {units} of boxes, by `types.Coordinates`."""

    pixels: str = "pixels of the frame"
    normalized_1000: str = "thousandths of the frame's width and height (0 to 1000)"


@dataclass(frozen=True, slots=True)
class VeasonPrompts(_Texts):
    """The only turn of the chain `veason`.

    prompt: the whole turn. {frames}: the frames, each as `frame` says; {unit}, {units}: the texts of these fields.
    frame: label and image. {time}: in seconds; {index}: in the video; {number}: among the frames shown, from 0.

    The built-in frames come first and the query last, so that prompts of the same video share a prefix. The example of
    a reply does not parse, so that copying it is not an answer.
    """

    prompt: str = (
        "Look at these video frames; before each stands its {unit}. "
        "Inside <think> tags, reason about what the question means and which object or objects it asks for. "
        "Choose the frame that shows them best. "
        "Then answer inside <answer> tags with one box for each target, in {units}:\n"
        '<think>...</think><answer>{"keyframe_timestamp": T, "bbox_2d_list": [[x1, y1, x2, y2], ...]}</answer>\n'
        "If there is no such object, T is null and the list is empty."
        "{frames}Question: {query}"
    )
    frame: LabelTexts = LabelTexts("{time} s:{image}", "frame {index}:{image}")
    unit: LabelTexts = LabelTexts("time in seconds", "number")
    units: CoordinateTexts = CoordinateTexts()

    def __post_init__(self) -> None:
        _check("prompt", self.prompt, ("frames", "query"), ("unit", "units"))
        _check("frame.seconds", self.frame.seconds, ("time", "image"), ("index", "number"))
        _check("frame.index", self.frame.index, ("index", "image"), ("number",))
        _check_fillers(self.unit, self.units)


@dataclass(frozen=True, slots=True)
class RevsegPrompts(_Texts):
    """The two turns of the chain `revseg`.

    when: the first turn, as `VeasonPrompts.prompt`. frame: as `VeasonPrompts.frame`; replies give the {number}.
    where: the second turn. {image}: the chosen frame; {description}: of the targets, from the first reply.
    """

    when: str = (
        "Look at these video frames. Inside <think> tags, reason about what the question means, and compare the frames "
        "to find which object or objects it asks for. Choose the frame in which they are easiest to outline: well in "
        "sight, large, sharp and little hidden. Then answer inside <answer> tags with the number of that frame and "
        "with how they look there, in a few words that fit nothing else:\n"
        '<think>...</think><answer>[{"frame_idx": N, "object description": "..."}]</answer>\n'
        "If there is no such object, the list is empty."
        "{frames}Question: {query}"
    )
    frame: LabelTexts = LabelTexts("frame {number}, {time} s:{image}", "frame {number}:{image}")
    where: str = (
        '{image}This is that frame, larger. Find "{description}" and answer with nothing but JSON, one box for each '
        'target, in {units}:\n[{"bbox_2d": [x1, y1, x2, y2]}, ...]'
    )
    unit: LabelTexts = LabelTexts("time in seconds", "number")
    units: CoordinateTexts = CoordinateTexts()

    def __post_init__(self) -> None:
        _check("when", self.when, ("frames", "query"), ("unit", "units"))
        _check("frame.seconds", self.frame.seconds, ("number", "image"), ("time", "index"))
        _check("frame.index", self.frame.index, ("number", "image"), ("index",))
        _check("where", self.where, ("image", "description"), ("units",))
        _check_fillers(self.unit, self.units)


@dataclass(frozen=True, slots=True)
class Prompts(_Texts):
    """The wording of all built-in chains, by their names."""

    veason: VeasonPrompts = VeasonPrompts()
    revseg: RevsegPrompts = RevsegPrompts()


BUILT_IN = Prompts()
