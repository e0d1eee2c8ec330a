"""Makes `Masklets` of mask arrays, and writes them as JSON. `thinkseg.rle` encodes single masks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from thinkseg.rle import checked, decode, encode, rle_area
from thinkseg.types import Masklets

__all__ = ["checked", "decode", "empty", "encode", "from_stacks", "json_of", "rle_area"]


def from_stacks(masks: np.ndarray) -> Masklets:
    """Encodes masks, bool or uint8 (N, T, H, W), of N objects in T frames. An empty mask becomes None."""
    if masks.ndim != 4:
        raise ValueError(f"masks must have the shape (objects, frames, height, width), not {masks.shape}")
    _, num_frames, height, width = masks.shape
    rles = tuple(tuple(encode(mask) if mask.any() else None for mask in track) for track in masks)
    return Masklets((width, height), num_frames, rles)


def empty(size_wh: tuple[int, int], num_frames: int) -> Masklets:
    """Returns masklets without objects, which mean that there is no target."""
    return Masklets(size_wh, num_frames, ())


def json_of(masklets: Masklets) -> Iterator[str]:
    """Yields masklets as JSON text in pieces, so that those of a long video do not have to fit in memory.

    {"size": [H, W], "frames": T, "objects": [[RLE or null per frame] per object]}
    """
    width, height = masklets.size_wh
    yield f'{{"size": [{height}, {width}], "frames": {masklets.num_frames}, "objects": ['
    for obj, track in enumerate(masklets.rles):
        yield ", [" if obj else "["
        for frame, rle in enumerate(track):
            yield (", " if frame else "") + json.dumps(None if rle is None else dict(rle))
        yield "]"
    yield "]}\n"
