"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal, get_args

from thinkseg.cli import parsers
from thinkseg.cli.declare import choice, flag, option, path, suggested, text
from thinkseg.report.formats import FORMATS

CHAINS = ("veason", "revseg")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")

Convention = Literal["pixels", "normalized_1000"]
"""The same as `thinkseg.types.Coordinates`, whose module loads numpy."""
COORDINATES: tuple[Convention, ...] = get_args(Convention)
ReadingName = Literal["strict", "repair"]
"""The same as `thinkseg.types.Reading`."""
READINGS: tuple[ReadingName, ...] = get_args(ReadingName)
Labels = Literal["seconds", "index"]
"""The same as `thinkseg.types.LabelUnit`."""
FORMATS_HELP = f"formats of the masks, separated by commas: {', '.join(FORMATS)}"

Assignments = Annotated[
    list[str] | None,
    option(text, "FIELD=VALUE", "a field of the file and its value, e.g. num_frames=8; can be repeated", "--set"),
]
Out = Annotated[Path, option(parsers.output, "DIR", "folder for the results")]
ChainName = Annotated[
    str | None,
    suggested(
        CHAINS,
        "NAME",
        "how the policy is prompted: veason, revseg, or a chain of an installed package (default: the preset's, else "
        "veason)",
    ),
]
Coordinates = Annotated[
    Convention | None, choice(COORDINATES, "how the policy writes boxes (default: as the model's family does)")
]
TrackerName = Annotated[
    str, suggested(("flow",), "NAME", "model that tracks the boxes: flow, or a SAM 2 by folder or hub name")
]
Device = Annotated[str | None, option(parsers.device, "NAME", "cpu, cuda or cuda:1 (default: a GPU if there is one)")]
BatchSize = Annotated[int, option(parsers.count, "B", "videos per batch")]
Fps = Annotated[
    float | None,
    option(
        parsers.positive,
        "F",
        "frames per second of frames without times (default: the data set's, or that of a file fps.json)",
    ),
]
KeepGoing = Annotated[bool, flag("--keep-going", "count invalid data and skip it")]
Predictions = Annotated[Path, option(path, "DIR", "folder of mask images, or of an evaluation")]
Corrected = Annotated[bool, flag("--corrected", "AP of tracks without the quirks of the official evaluator")]
Workers = Annotated[int, option(parsers.count, "N", "processes", show_default="one per core")]
ShapesSplit = Annotated[str, suggested(("train", "val", "zeroshot"), "NAME", "train, val or zeroshot")]
ShapesStart = Annotated[int, option(parsers.non_negative_int, "I", "index of the first clip")]

CORES = os.cpu_count() or 1
