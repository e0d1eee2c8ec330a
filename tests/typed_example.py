"""Code as users write it, which mypy checks (see pyproject.toml): public names have the types that they state."""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import numpy as np
from PIL.Image import Image

import thinkseg
from thinkseg import Answer, Masklets, Result, Segmenter, ThinkSegError, Tracker, Window


def follow(video: Path, images: list[Image], tracker: Tracker) -> list[Path]:
    """Asks about a file and about a list of images, and saves both results."""
    segmenter = Segmenter(tracker=tracker, device="cpu", frames=8)
    results = [segmenter(video, "the one that moves"), segmenter(images, keyframe=0, boxes=[[1, 2, 30, 40]], fps=10)]
    return [result.save(f"runs/{number}", ["coco", "overlay"]) for number, result in enumerate(results)]


def follow_all(folder: Path, segmenter: Segmenter) -> list[Path]:
    """Asks two questions about each video of a folder, and saves the results; unreadable videos are left out."""
    window, errors = Window(start=2.4, end=10.0, stride=2, max_side=640), list[ThinkSegError]()
    results = segmenter.segment_many(
        folder, ["the one that moves", "the one at rest"], window=window, on_error=lambda _, error: errors.append(error)
    )
    return [assert_type(result, Result).save(f"runs/{number}") for number, result in enumerate(results)]


def masks_of(frames: np.ndarray) -> np.ndarray:
    """Reads a result in all ways."""
    result = assert_type(thinkseg.segment(frames, "the one that moves", fps=24.0), Result)
    assert_type(result.answer, Answer | None)
    assert_type(result.masklets, Masklets)
    assert_type(result.to_coco(), dict[str, Any])
    areas = [int(mask.sum()) for masks in result for mask in masks]
    picture: np.ndarray = result.overlay(len(result) - 1)
    return result.masks if any(areas) else picture
