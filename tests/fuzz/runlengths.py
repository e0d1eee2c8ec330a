"""COCO's run lengths: decoded as pycocotools decodes them, or refused."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco

from fuzzing import WrongError, check_message
from mutation import VALUES, mutated_json, mutated_text
from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.json_tree import JsonNode
from thinkseg.data.readers.mask_tracks import checked_rle
from thinkseg.rle import MAX_PIXELS, checked, decode, encode, rle_area

HUGE = [10**9, 2**31, 2**32, 2**63, 10**18, 10**400, MAX_PIXELS, MAX_PIXELS + 1, -1, 0]


class RunLengths:
    name = "run lengths"
    count = 10_000

    def prepare(self, folder: Path) -> None:
        cv2.setNumThreads(1)

    def run(self, rng: Random, folder: Path) -> None:
        rle = _rle(rng)
        try:
            valid: Any = checked(rle)
        except ValueError as error:
            check_message(str(error))
            valid = None
        if (valid is None) != (_reference(rle) is None):
            raise WrongError(f"accepted: {valid is not None}, but valid: {_reference(rle) is not None}: {rle!r}")
        if valid is not None:
            _check_mask(valid)
        _check_reader(rle, valid)


def _check_mask(rle: Any) -> None:
    expected = coco.decode({"size": rle["size"], "counts": rle["counts"].encode()})
    mask = decode(rle)
    if not np.array_equal(mask, expected) or rle_area(rle) != mask.sum():
        raise WrongError(f"decoded differently: {rle!r}")
    if not np.array_equal(decode(encode(mask)), mask):
        raise WrongError(f"no round trip: {rle!r}")


def _check_reader(rle: Any, valid: Any) -> None:
    """The reader of data sets has a faster check, which must agree. Its values come from JSON, without bytes."""
    size_wh = tuple(valid["size"][::-1]) if valid else (5, 4)
    try:
        found = checked_rle(JsonNode(rle, "file"), size_wh)  # type: ignore[arg-type]
    except DatasetFileError as error:
        check_message(str(error))
        found = None
    if rle is not None and (found is None) != (valid is None):
        raise WrongError(f"accepted by the reader: {found is not None}: {rle!r}")


def _rle(rng: Random) -> Any:
    kind = rng.randrange(5)
    height, width = rng.randint(1, 12), rng.randint(1, 12)
    mask = np.random.default_rng(rng.randrange(2**32)).random((height, width)) < rng.random()
    rle: dict[str, Any] = dict(encode(mask))
    if kind == 1:
        rle["counts"] = mutated_text(rng, rle["counts"])
    elif kind == 2:
        rle["counts"] = "".join(chr(rng.randint(48, 111)) for _ in range(rng.choice([0, 1, 3, 20, 200])))
    elif kind == 3:
        rle["size"] = [rng.choice([*HUGE, height, width]) for _ in range(rng.choice([2, 2, 2, 1, 3]))]
        rle["counts"] = _counts(
            [rng.choice([0, 1, 5, 2**31, 2**32 - 1, 2**34, -1, *HUGE[:5]]) for _ in range(rng.randint(1, 6))]
        )
    elif kind == 4:
        return rng.choice([mutated_json(rng, rle), rng.choice(VALUES), {**rle, "counts": rle["counts"].encode()}])
    return rle


def _counts(numbers: list[int]) -> str:
    """Writes stored numbers of any size in groups of five bits."""
    symbols = []
    for number in numbers:
        more = True
        while more:
            group, number = number & 31, number >> 5
            more = number != -1 if group & 16 else number != 0
            symbols.append(chr(48 + group + 32 * more))
    return "".join(symbols)


def _reference(rle: Any) -> list[int] | None:
    """Returns the runs of a valid RLE in exact integers, None for an invalid one, as with a number of over 35 bits."""
    if not isinstance(rle, dict) or not isinstance(rle.get("counts"), str | bytes):
        return None
    size, counts = rle.get("size"), rle["counts"]
    if not isinstance(size, list) or len(size) != 2 or any(not isinstance(side, int) or side < 1 for side in size):
        return None
    text = counts.decode("latin-1") if isinstance(counts, bytes) else counts
    if size[0] * size[1] > MAX_PIXELS or not all("0" <= char <= "o" for char in text):
        return None
    runs: list[int] = []
    value = shift = 0
    for char in text:
        symbol = ord(char) - 48
        value |= (symbol & 31) << shift
        shift += 5
        if not symbol & 32:
            value -= (1 << shift) if symbol & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            if shift > 35 or not runs[-1] >= 0:
                return None
            value = shift = 0
    return runs if not shift and sum(runs) == size[0] * size[1] else None
