"""Small trees in the layout of each benchmark, with masks of five by four pixels written by hand.

Each function writes one tree below `root`. Tests that want a broken one break it, for example with `editing`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from thinkseg.rle import Rle, encode

SIZE_WH = (5, 4)
FRAMES = ("00000", "00001", "00002")

SPLITS = {
    "revos": "valid",
    "reasonvos": "test",
    "mevis": "valid_u",
    "vicas": "val",
    "refytvos": "train",
    "refdavis": "valid",
    "lvvis": "val",
    "folder": "all",
}
"""A split with ground truth of each tree that this module writes."""


def mask(*rows: str) -> np.ndarray:
    """A mask drawn with # for inside."""
    return np.array([[pixel == "#" for pixel in row] for row in rows])


LEFT = mask("##...", "##...", ".....", ".....")
RIGHT = mask("...##", "...##", ".....", ".....")
LOW = mask(".....", ".....", ".....", "#####")
NOTHING = np.zeros((4, 5), bool)


def rle(picture: np.ndarray | None) -> Rle | None:
    """Run lengths as JSON holds them."""
    return None if picture is None else dict(encode(picture))


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")


@contextmanager
def editing(path: Path) -> Iterator[Any]:
    """A JSON file's value; what the block makes of it is written back."""
    value = json.loads(path.read_text("utf-8"))
    yield value
    write_json(path, value)


def write_frames(folder: Path, names: Sequence[str] = FRAMES, size_wh: tuple[int, int] = SIZE_WH) -> None:
    """JPEG frames; the grey level of frame i is 40 * i."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size_wh, (40 * number,) * 3).save(folder / f"{name}.jpg")


def write_mask(path: Path, picture: np.ndarray) -> None:
    """A mask picture, 0 and 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.astype(np.uint8) * 255).save(path)


def write_labels(path: Path, labels: np.ndarray) -> None:
    """A label map: a PNG with a palette, in which colour 0 is no black and colour 2 is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette([9, 9, 9, 200, 0, 0, 0, 0, 0] + [0, 200, 0] * 253)
    picture.save(path)


def revos(root: Path) -> None:
    """Two videos, one of them in a subfolder; annotations 0 and 1 belong to it, 2 to the other."""
    write_frames(root / "JPEGImages" / "lvos" / "clip")
    write_frames(root / "JPEGImages" / "solo", FRAMES[:2])
    size = {"height": 4, "width": 5}
    clip = {
        "0": {"exp": "the left one", "obj_id": [1], "anno_id": [0], "type_id": 0},
        "1": {"exp": "those that leave", "obj_id": [1, 2], "anno_id": [0, 1], "type_id": 1},
        "2": {"exp": "the elephant", "obj_id": [], "anno_id": [], "type_id": 2},
    }
    solo = {"0": {"exp": "the floor", "obj_id": [1], "anno_id": [2], "type_id": 0}}
    videos = {
        "lvos/clip": {"vid_id": 0, **size, "frames": list(FRAMES), "expressions": clip},
        "solo": {"vid_id": 1, **size, "frames": list(FRAMES[:2]), "expressions": solo},
    }
    write_json(root / "meta_expressions_valid_.json", {"videos": videos})
    write_json(root / "meta_expressions_train_.json", {"videos": {}})
    masks = {"0": [LEFT, LEFT, None], "1": [RIGHT, None, LOW], "2": [LOW, LOW]}
    write_json(root / "mask_dict.json", {key: [rle(picture) for picture in track] for key, track in masks.items()})
    merged = {"lvos/clip": [LEFT | RIGHT, LEFT, LOW], "solo": [LOW, LOW]}
    foreground = {
        key: {"masks_rle": [rle(picture) for picture in track], "foreground_ratio": [float(m.mean()) for m in track]}
        for key, track in merged.items()
    }
    write_json(root / "mask_dict_foreground.json", foreground)


def cot_set(root: Path, frame_wh: Sequence[int]) -> None:
    """A chain-of-thought set of two samples with two frames each, a sixth of a second apart."""
    view = {"num_frames": 2, "frame_wh": list(frame_wh), "coordinates": "pixels"}
    write_json(root / "settings.json", {"view": view, "boxes_in_thinking": False})
    lines = []
    for name in ("clip/0", "clip/1"):
        write_frames(root / "frames" / name, FRAMES[:2])
        sample = {"id": name, "video": "clip", "query": "the left one", "category": "referring", "type": "referring"}
        shown = {"targets": "single", "indices": [0, 1], "labels": ["0.0", "0.2"], "label_unit": "seconds"}
        answer = {"size_wh": list(SIZE_WH), "keyframe": 1, "boxes": [[0, 0, 2, 2]], "thinking": "It is on the left."}
        frames = [f"frames/{name}/{frame}.jpg" for frame in FRAMES[:2]]
        lines.append(json.dumps({**sample, **shown, **answer, "frames": frames}))
    (root / "samples.jsonl").write_text("\n".join(lines) + "\n")


def mevis(root: Path, name: str = "meta_expressions.json") -> None:
    """`valid_u` with masks and an expression without a target, `valid` with expressions alone."""
    told = {
        "0": {"exp": "what flies away", "obj_id": [0, 2], "anno_id": [7, 9]},
        "1": {"exp": "what falls", "obj_id": [0], "anno_id": [7]},
        "2": {"exp": "what explodes", "obj_id": [], "anno_id": []},
    }
    asked = {"0": {"exp": "what flies away"}}
    for split, expressions in (("valid_u", told), ("valid", asked)):
        write_frames(root / split / "JPEGImages" / "0ab4")
        entry = {"vid_id": 3, "frames": list(FRAMES), "expressions": expressions}
        write_json(root / split / name, {"videos": {"0ab4": entry}})
    masks = {"7": [rle(LEFT), None, rle(LEFT)], "9": [rle(RIGHT), rle(RIGHT), None]}
    write_json(root / "valid_u" / "mask_dict.json", masks)


def reasonvos(root: Path) -> None:
    """One video with two objects; the first has a mask in two frames of three, the second in one."""
    write_frames(root / "JPEGImages" / "race")
    expressions = [
        {"exp_id": 0, "obj_id": "3", "exp_text": "Which one falls behind?", "is_sent": 1},
        {"exp_id": 1, "obj_id": 4, "exp_text": "winner", "is_sent": 0},
    ]
    entry = {"source": "BURST", "frames": list(FRAMES), "expressions": expressions}
    write_json(root / "meta_expressions.json", {"videos": {"race": entry}})
    write_mask(root / "Annotations" / "burst_race_3" / "00000.png", LEFT)
    write_mask(root / "Annotations" / "burst_race_3" / "00002.png", RIGHT)
    write_mask(root / "Annotations" / "BURST_race_4" / "00001.png", LOW)


def vicas(root: Path, version: str = "v1.0") -> None:
    """One video; frames 0 and 2 were annotated by people, and track 2 is seen in frame 2 alone."""
    write_frames(root / "video_frames" / "000042")
    write_json(root / "splits" / version / "val.json", [42])

    def frame(position: int, is_gt: bool, masks: dict[int, np.ndarray]) -> dict[str, Any]:
        tracks = {"track_ids": list(masks), "mask_rles": [rle(picture) for picture in masks.values()]}
        return {"filename": f"{FRAMES[position]}.jpg", "is_gt": is_gt, **tracks}

    annotation = {
        "video_id": 42,
        "image_size": [4, 5],
        "all_track_ids": [1, 2],
        "object_referrals": [{"prompt": "both boys", "track_ids": [1, 2]}, {"prompt": "the sofa", "track_ids": [1]}],
        # People's frames come first here: the order in the file means nothing.
        "segmentations": [
            frame(2, True, {2: LOW, 1: RIGHT}),
            frame(0, True, {1: LEFT}),
            frame(1, False, {1: RIGHT}),
        ],
    }
    write_json(root / "annotations" / version / "000042.json", annotation)


LABELS = LEFT * 1 + RIGHT * 2
"""A label map of two objects."""


def refytvos(root: Path) -> None:
    """Every fifth frame of one video in train, and one in valid whose list names a video of test as well."""
    frames = ("00000", "00005", "00010")
    told = {"0": {"exp": "the left penguin", "obj_id": "1"}, "1": {"exp": "the right penguin", "obj_id": "2"}}
    asked = {"0": {"exp": "a penguin"}}
    lists = {
        "train": {"birds": {"expressions": told, "frames": list(frames)}},
        "valid": {name: {"expressions": asked, "frames": list(frames)} for name in ("ice", "hidden")},
        "test": {"hidden": {"expressions": asked, "frames": list(frames)}},
    }
    for split, videos in lists.items():
        write_json(root / "meta_expressions" / split / "meta_expressions.json", {"videos": videos})
        for video in videos:
            write_frames(root / split / "JPEGImages" / video, frames)
    objects = {str(number): {"category": "penguin", "frames": list(frames)} for number in (1, 2)}
    write_json(root / "train" / "meta.json", {"videos": {"birds": {"objects": objects}}})
    for name in frames:
        write_labels(root / "train" / "Annotations" / "birds" / f"{name}.png", LABELS)


def refdavis(root: Path) -> None:
    """Converted: one video with two objects, each with four expressions."""
    expressions = {str(n): {"exp": f"words {n}", "obj_id": str(1 + n // 4)} for n in range(8)}
    lists = {"videos": {"dogs": {"frames": list(FRAMES), "expressions": expressions}}}
    write_json(root / "meta_expressions" / "valid" / "meta_expressions.json", lists)
    objects = {"1": {"category": "dog"}, "2": {"category": "dog"}}
    write_json(root / "valid" / "meta.json", {"videos": {"dogs": {"objects": objects}}})
    write_frames(root / "valid" / "JPEGImages" / "dogs")
    for name in FRAMES:
        write_labels(root / "valid" / "Annotations" / "dogs" / f"{name}.png", LABELS)


def refdavis_published(root: Path) -> None:
    """As published: objects 1, 2 and 10 of a video that all files misspell."""
    texts, davis = root / "davis_text_annotations", root / "DAVIS"
    texts.mkdir(parents=True)
    for run, name in enumerate(("annot1", "annot1_full_video", "annot2", "annot2_full_video")):
        lines = [f'clasic-car {obj} "car {obj}  of run {run}, très vite"' for obj in (1, 2, 10)]
        encoding = "utf-8" if run < 2 else "latin-1"
        (texts / f"Davis17_{name}.txt").write_bytes("\n".join(lines).encode(encoding))
    (davis / "ImageSets" / "2017").mkdir(parents=True)
    (davis / "ImageSets" / "2017" / "val.txt").write_text("classic-car\n", "utf-8")
    write_frames(davis / "JPEGImages" / "480p" / "classic-car")
    for name in FRAMES:
        write_labels(davis / "Annotations_unsupervised" / "480p" / "classic-car" / f"{name}.png", LABELS + LOW * 10)


def lvvis(root: Path) -> None:
    """Two videos; the first shows two clocks and a dog, whose masks are lists of run lengths, the second nothing."""
    videos = []
    for number in range(2):
        write_frames(root / "val" / "JPEGImages" / f"0000{number}")
        # Windows wrote the second one.
        names = [("/", "\\")[number].join(("x", f"0000{number}", f"{name}.jpg")) for name in FRAMES]
        videos.append({"id": number + 1, "width": 5, "height": 4, "length": 3, "file_names": names})
    runs = {"size": [4, 5], "counts": [3, 1, 3, 1, 3, 1, 3, 1, 3, 1]}
    masks = {7: (12, [rle(LEFT), None, rle(LEFT)]), 9: (12, [rle(RIGHT), rle(RIGHT), None]), 8: (30, [runs] * 3)}
    content = {
        "videos": videos,
        "categories": [{"id": 12, "name": "alarm_clock"}, {"id": 30, "name": "dog"}, {"id": 31, "name": "cow"}],
        "annotations": [
            {"id": number, "video_id": 1, "category_id": category, "iscrowd": 0, "segmentations": track}
            for number, (category, track) in masks.items()
        ],
    }
    write_json(root / "val" / "val_instances.json", content)


def folder(root: Path) -> None:
    """A folder of frames with masks as pictures and as run lengths, with none, and with an unknown truth."""
    write_frames(root / "clips" / "yard")
    write_mask(root / "masks" / "dog" / "00001.png", LEFT)
    write_mask(root / "masks" / "cat" / "00002.png", LOW)
    rows = [
        {"video": "clips/yard", "query": "the dog", "masks": ["masks/dog"]},
        {"video": "clips/yard", "query": "both", "category": "several", "masks": ["masks/dog", "masks/cat"]},
        {"video": "clips/yard", "query": "the bird", "id": "bird", "masks": [[rle(LEFT), None, rle(RIGHT)]]},
        {"video": "clips/yard", "query": "the cow", "masks": []},
        {"video": "clips/yard", "query": "who knows"},
    ]
    (root / "queries.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", "utf-8")
