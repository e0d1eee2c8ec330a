"""Makes `Masklets` of mask arrays, writes them as JSON, and outlines masks. `thinkseg.rle` encodes single masks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from thinkseg.rle import checked, decode, encode, rle_area
from thinkseg.types import Masklets

__all__ = ["checked", "decode", "empty", "encode", "from_stacks", "json_of", "outline", "rle_area"]


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


def json_of(masklets: Masklets, more: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Yields masklets as JSON text in pieces, so that those of a long video do not have to fit in memory.

    {"size": [H, W], "frames": T, "objects": [[RLE or null per frame] per object]}, with "confidence", [[0..1 per frame]
    per object], if it is known.
    more: fields besides these, as JSON values.
    """
    width, height = masklets.size_wh
    head = {"size": [height, width], "frames": masklets.num_frames, **(more or {})}
    if masklets.confidence is not None:
        head["confidence"] = masklets.confidence.round(4).tolist()
    yield f'{json.dumps(head)[:-1]}, "objects": ['
    for obj, track in enumerate(masklets.rles):
        yield ", [" if obj else "["
        for frame, rle in enumerate(track):
            yield (", " if frame else "") + json.dumps(None if rle is None else dict(rle))
        yield "]"
    yield "]}\n"


def outline(mask: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """Returns a mask, bool (H, W), as one polygon along the edges of its pixels, int (K, 2) xy; K = 0 for an empty one.

    Filled, it is the mask. Parts and holes are joined by lines without width, which are passed once in each direction.
    tolerance: largest distance in pixels between the polygon and the edges.
    """
    import cv2

    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    # Where a pixel is two by two, even coordinates of its outline are its left or top edge, odd ones the opposite edge.
    doubled = mask[y : y + height, x : x + width].astype(np.uint8).repeat(2, 0).repeat(2, 1)
    found = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0] if width else []
    rings = [(ring[:, 0] + 1) // 2 + (x, y) for ring in found]
    if not rings:
        return np.zeros((0, 2), int)
    first, *others = (_simplified(ring, tolerance) for ring in rings)
    closed = [np.vstack([ring, ring[:1]]) for ring in others]
    return np.vstack([first, *(part for ring in closed for part in (first[:1], ring))])


def _simplified(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """Returns a closed polygon with fewer points, if it keeps an area."""
    import cv2

    fewer = cv2.approxPolyDP(ring.astype(np.int32), tolerance, True)[:, 0]
    return fewer if len(fewer) > 2 else ring
