"""Files of benchmarks, read as by `thinkseg data`, `score` and `validate`."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import cv2
import numpy as np

import layouts
from fuzzing import WrongError, allowing, check_text
from mutation import mutated_bytes, mutated_json_file, mutated_lines, mutated_text
from thinkseg.data import open_benchmark
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.data.check import check, count_dataset
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.errors import DatasetError, VideoError
from thinkseg.evaluation.validation import validate

TREES = {name: name for name in (*layouts.SPLITS, "mevis")} | {"refdavis_published": "refdavis"}
"""The benchmark of each function of `layouts`."""


class Trees:
    name = "trees"
    count = 2000

    def prepare(self, folder: Path) -> None:
        cv2.setNumThreads(1)
        self.root = folder / "trees"
        self.areas = {}
        for tree, name in TREES.items():
            getattr(layouts, tree)(self.root / tree)
            self.areas[tree] = _areas(open_benchmark(name, self.root / tree, layouts.SPLITS[name]))
            if not self.areas[tree]:
                raise WrongError(f"{tree}: no masks")

    def run(self, rng: Random, folder: Path) -> None:
        tree = rng.choice(sorted(TREES))
        damaged = damage_tree(rng, self.root / tree, folder / "tree")
        issues = DatasetIssues(keep_going=rng.random() < 0.5)
        with allowing(DatasetError, VideoError):
            benchmark = open_benchmark(TREES[tree], folder / "tree", layouts.SPLITS[TREES[tree]], issues)
            count_dataset(benchmark)
            check(benchmark)
            self._compare(tree, benchmark, damaged)
            check_text(validate(benchmark).describe())

    def _compare(self, tree: str, benchmark: Benchmark, masks_damaged: bool) -> None:
        """Raises WrongError for silently empty masks: only bytes of mask images differ, and no issue is known."""
        found = _areas(benchmark)
        if masks_damaged and not benchmark.issues.total:
            for key, area in self.areas[tree].items():
                if area and found.get(key) == 0:
                    raise WrongError(f"{tree}: the mask of {key} is silently empty")


def _areas(benchmark: Benchmark) -> dict[tuple[str, int], int]:
    """Returns the area of each scored mask that can be read, and reads all else that a sample has."""
    areas = {}
    for sample, expression in zip(benchmark.samples(), benchmark.expressions, strict=False):
        if sample.id != expression.key:
            return {}  # skipped samples shift the order
        next(iter(sample.video.read([0])))
        for frame in expression.scored if sample.truth else ():
            with benchmark.issues.skipping():
                areas[sample.id, frame] = int(np.count_nonzero(sample.truth.union(frame)))
                if sample.foreground:
                    sample.foreground.union(frame)
    return areas


def damage_tree(rng: Random, source: Path, root: Path) -> bool:
    """Copies a tree to `root` and damages one or two files. Returns whether these are mask images that still exist."""
    shutil.copytree(source, root)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    kinds = [_damage(rng, files) for _ in range(rng.choice([1, 1, 2]))]
    return all(kinds)


def _damage(rng: Random, files: list[Path]) -> bool:
    """Damages one file. Returns whether that is a mask image which is still there."""
    path = rng.choice(files + [file for file in files if file.suffix in (".json", ".jsonl", ".txt")] * 4)
    data = path.read_bytes() if path.is_file() else b""
    if rng.random() < 0.1 or not data:
        _replace(rng, path, rng.choice(files))
        return False
    if path.suffix == ".json":
        data = mutated_json_file(rng, data)
    elif path.suffix == ".jsonl":
        data = mutated_lines(rng, data)
    elif path.suffix == ".txt":
        data = mutated_text(rng, data.decode("latin-1")).encode("utf-8", "surrogatepass")
    else:
        data = mutated_bytes(rng, data, rng.choice(files).read_bytes() if rng.random() < 0.2 else b"")
    path.write_bytes(data)
    return path.suffix == ".png"


def _replace(rng: Random, path: Path, other: Path) -> None:
    """Removes a file, empties it, swaps it with another one, or puts a folder or a link in its place."""
    data = other.read_bytes() if other.is_file() else b""
    if path.is_dir():
        return
    path.unlink(missing_ok=True)
    kind = rng.randrange(5)
    if kind == 0:
        path.mkdir(exist_ok=True)
    elif kind == 1:
        path.symlink_to(path)
    elif kind == 2:
        path.write_bytes(b"")
    elif kind == 3:
        path.write_bytes(data)
