"""ThinkSeg: video reasoning segmentation. A sentence in, masks out, with the reasoning that led there.

    import thinkseg

    result = thinkseg.segment("clip.mp4", "the one that gets hit")
    result.answer.thinking, result.answer.keyframe, result.answer.boxes
    result[0]                               # masks of the first frame, bool (N, H, W)
    result.save("runs/clip", ["overlay", "coco"])

Every name in `__all__` is loaded when it is first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thinkseg.data.readers.video_window import Window
    from thinkseg.errors import AnswerError, DatasetError, ModelError, SettingsError, ThinkSegError, VideoError
    from thinkseg.report.result import Result
    from thinkseg.segmenter import Segmenter, segment
    from thinkseg.types import (
        Answer,
        Dialogue,
        Frames,
        Masklets,
        ObjectPrompt,
        Policy,
        Reply,
        Segmentation,
        Tracker,
        Turn,
        VideoSample,
        View,
    )

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AnswerError",
    "DatasetError",
    "Dialogue",
    "Frames",
    "Masklets",
    "ModelError",
    "ObjectPrompt",
    "Policy",
    "Reply",
    "Result",
    "Segmentation",
    "Segmenter",
    "SettingsError",
    "ThinkSegError",
    "Tracker",
    "Turn",
    "VideoError",
    "VideoSample",
    "View",
    "Window",
    "segment",
]

_HOMES = {
    "Result": "thinkseg.report.result",
    "Segmenter": "thinkseg.segmenter",
    "Window": "thinkseg.data.readers.video_window",
    "segment": "thinkseg.segmenter",
}
"""Where a public name lives, if not in `errors` (all that end in Error) or `types` (all others)."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'thinkseg' has no attribute {name!r}")
    home = _HOMES.get(name, "thinkseg.errors" if name.endswith("Error") else "thinkseg.types")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
