"""Predictions in ViCaS' own form: a file of a video and a prompt's place in, its tracks out.

000042.json, in which prompts go by their place in the annotation's "object_referrals":

    {"video_id": 42, "pred_caption": "...", "pred_lgvis_masks": [
        [{"filename": "00000.jpg", "mask_rles": [{"size": [720, 1280], "counts": "..."}, ...]}, ...]]}

Every frame of a prompt lists as many masks, one for each track. Frames that people annotated must be there; others may
be, and names that are no frame's mean nothing.
"""

from __future__ import annotations

from pathlib import Path

from thinkseg.data.benchmark import Expression, Video
from thinkseg.data.tracks import checked_rle
from thinkseg.data.tree import Node, read_json
from thinkseg.rle import Rle
from thinkseg.types import Masklets


def read_prompts(path: Path) -> list[Node]:
    """What a file predicts for each prompt of its video. Raises TreeError if it is broken."""
    return read_json(path)["pred_lgvis_masks"].items()


def tracks_of(prompt: Node, expression: Expression, video: Video, size_wh: tuple[int, int]) -> Masklets:
    """The tracks predicted for a prompt; nothing is seen in frames that are not there.

    Raises TreeError of the kind "frame" if a scored frame is not there, "size" or "rle" for a mask of another size or
    that is none, and "mask" if frames differ in how many there are.
    """
    positions = {f"{name}.jpg": position for position, name in enumerate(video.frames)}
    found: dict[int, list[Rle | None]] = {}
    for frame in prompt.items():
        position = positions.get(frame["filename"].text())
        if position is not None:
            found[position] = [checked_rle(rle, size_wh) for rle in frame["mask_rles"].items()]
    if lost := [position for position in expression.scored if position not in found]:
        raise prompt.flaw("frame", f"has no frame {video.frames[lost[0]]}.jpg, which is scored")
    counts = {len(masks) for masks in found.values()}
    if len(counts) > 1:
        raise prompt.flaw("mask", f"has {min(counts)} masks in one frame and {max(counts)} in another")
    nothing: list[Rle | None] = [None] * max(counts, default=0)
    frames = [found.get(position, nothing) for position in range(len(video.frames))]
    return Masklets(size_wh, len(frames), tuple(zip(*frames, strict=True)))
