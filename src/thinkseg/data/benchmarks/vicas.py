"""ViCaS, its task LG-VIS (arXiv 2412.09754): prompts with one or more target objects, a track per object.

annotations/v1.0/000042.json, one file per video; splits/v1.0/val.json lists the videos, [42, ...]:

    {"video_id": 42, "image_size": [720, 1280], "all_track_ids": [1, 2],
     "object_referrals": [{"prompt": "the two boys on the sofa", "track_ids": [1, 2]}],
     "segmentations": [{"filename": "00000.jpg", "is_gt": true, "track_ids": [1], "mask_rles": [{"size": ..., ...}]}]}

The frames are in video_frames/000042/. One frame per second is annotated manually (is_gt), and only these are scored;
the masks of others are propagated. A track is not visible in a frame that does not list it. Captions and other fields
are not used.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from thinkseg.data.benchmarks.base import NO_TARGET, REFERRING, Benchmark, Expression, Video
from thinkseg.data.benchmarks.layouts import JpegFolders, jpeg_names
from thinkseg.data.benchmarks.listing import unique_ids
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.data.readers.json_tree import JsonNode, read_json
from thinkseg.data.readers.mask_tracks import LazyTrack, RleTrack
from thinkseg.storage.fingerprint import SMALL_BYTES, file_fingerprint, text_fingerprint

OLD_VERSION = "v0.1-"
"""Prefix of the splits of the first version; others are of v1.0."""


def load(root: Path, split: str, issues: DatasetIssues) -> Benchmark:
    """Opens a split: "val", "test" or "train", or one of these after "v0.1-"; see `thinkseg.data.open_benchmark`.

    Reads the annotation of each video: about ten seconds for the 2,950 videos of val.
    """
    version = "v0.1" if split.startswith(OLD_VERSION) else "v1.0"
    files = _Files(root / "video_frames", root / "annotations" / version)
    videos: dict[str, Video] = {}
    expressions: list[Expression] = []
    for entry in read_json(root / "splits" / version / f"{split.removeprefix(OLD_VERSION)}.json").items():
        with issues.skipping():
            name = f"{entry.integer():06d}"
            annotation = files.annotation(name)
            video = videos[name] = _video(annotation, name, root / "video_frames")
            expressions += _expressions(annotation, video, issues)
    return Benchmark("vicas", split, root, videos, tuple(expressions), files, issues)


class _Files(JpegFolders):
    """Frames, and a JSON file per video with the RLEs of all its tracks."""

    def __init__(self, folder: Path, annotations: Path) -> None:
        super().__init__(folder)
        self.annotations = annotations
        self._latest: tuple[str, JsonNode] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_latest": None}

    def annotation(self, video: str) -> JsonNode:
        """Reads the file of a video and caches it: the expressions of a video follow each other."""
        latest = self._latest
        if latest is None or latest[0] != video:
            # Another thread may replace `_latest` at any time, so this returns the local reference.
            latest = self._latest = video, read_json(self._path(video))
        return latest[1]

    def track(self, video: Video, obj: str, size_wh: tuple[int, int]) -> LazyTrack:
        annotation = self.annotation(video.id)
        if obj not in _tracks(annotation):
            raise annotation.error("unknown_id", f"has no track {obj}")
        return RleTrack(partial(self._masks, video, obj), len(video.frames), size_wh)

    def mask_fingerprint(self, video: Video, obj: str) -> str:
        return text_fingerprint(obj, file_fingerprint(self._path(video.id), SMALL_BYTES))

    def _path(self, video: str) -> Path:
        """Returns <video>.json, or <video>_<title>.json as in early releases."""
        path = self.annotations / f"{video}.json"
        titled = [] if os.path.exists(path) else sorted(self.annotations.glob(f"{video}_*.json"))
        return titled[0] if len(titled) == 1 else path

    def _masks(self, video: Video, obj: str) -> Sequence[JsonNode]:
        """Returns one entry per frame: an RLE or null."""
        annotation = self.annotation(video.id)
        absent = JsonNode(None, "no mask", annotation)
        masks = [absent] * len(video.frames)
        positions = {name: position for position, name in enumerate(video.frames)}
        for frame in annotation["segmentations"].items():
            tracks, rles = frame["track_ids"].items(), frame["mask_rles"].items()
            if len(tracks) != len(rles):
                raise frame.error("missing_mask", f"has {len(rles)} masks for {len(tracks)} tracks")
            for track, rle in zip(tracks, rles, strict=True):
                if track.id_text() == obj:
                    masks[_position(frame, positions)] = rle
        return masks


def _video(annotation: JsonNode, name: str, folder: Path) -> Video:
    sides = annotation["image_size"].items()
    if len(sides) != 2:
        raise annotation["image_size"].error("invalid_field", "must be [height, width]")
    height, width = (side.integer() for side in sides)
    return Video(name, jpeg_names(folder / name), (width, height))


def _expressions(annotation: JsonNode, video: Video, issues: DatasetIssues) -> list[Expression]:
    """Reads the prompts of a video. The id of a prompt is its position in the list, also in files of predictions."""
    positions = {name: position for position, name in enumerate(video.frames)}
    annotated = [frame for frame in annotation["segmentations"].items() if frame["is_gt"].value is True]
    scored = tuple(sorted(_position(frame, positions) for frame in annotated))
    known = _tracks(annotation)
    found = []
    for prompt in annotation["object_referrals"].items():
        with issues.skipping():
            tracks = unique_ids(prompt["track_ids"])
            if unknown := set(tracks) - known:
                raise prompt["track_ids"].error(
                    "unknown_id", f"names track {min(unknown)}, which all_track_ids does not list"
                )
            found.append(
                Expression(
                    video=video.id,
                    id=str(prompt.key),
                    query=prompt["prompt"].text(),
                    category=REFERRING if tracks else NO_TARGET,
                    objects=tracks,
                    scored=scored,
                    folders=(f"{video.id}/{prompt.key}",),
                )
            )
    return found


def _tracks(annotation: JsonNode) -> set[str]:
    return {track.id_text() for track in annotation["all_track_ids"].items()}


def _position(frame: JsonNode, positions: dict[str, int]) -> int:
    """Returns the index in its video of an entry of "segmentations"."""
    name = frame["filename"].text()
    if name.removesuffix(".jpg") not in positions:
        raise frame["filename"].error("missing_frame", f"names {name!r}, which is not a frame of the video")
    return positions[name.removesuffix(".jpg")]
