"""Masks of a whole video: bool arrays in, `Masklets` out. One mask's run lengths are made in `thinkseg.rle`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from thinkseg.rle import checked, decode, encode, rle_area
from thinkseg.types import Masklets

__all__ = ["checked", "decode", "empty", "encode", "from_stacks", "json_of", "rle_area"]


def from_stacks(masks: np.ndarray) -> Masklets:
    """Masklets of N objects over T frames from bool or uint8 (N, T, H, W); an object is None where it has no pixel."""
    if masks.ndim != 4:
        raise ValueError(f"mask stacks must be (objects, frames, height, width), not {masks.shape}")
    _, num_frames, height, width = masks.shape
    rles = tuple(tuple(encode(mask) if mask.any() else None for mask in track) for track in masks)
    return Masklets((width, height), num_frames, rles)


def empty(size_wh: tuple[int, int], num_frames: int) -> Masklets:
    """Masklets without any object: "there is no such target"."""
    return Masklets(size_wh, num_frames, ())


def json_of(masklets: Masklets) -> Iterator[str]:
    """Masklets as JSON, in pieces that together make the file: those of a long video are never held at once.

    {"size": [H, W], "frames": T, "objects": [[rle or null for each frame] for each object]}
    """
    width, height = masklets.size_wh
    yield f'{{"size": [{height}, {width}], "frames": {masklets.num_frames}, "objects": ['
    for obj, track in enumerate(masklets.rles):
        yield ", [" if obj else "["
        for frame, rle in enumerate(track):
            yield (", " if frame else "") + json.dumps(None if rle is None else dict(rle))
        yield "]"
    yield "]}\n"
