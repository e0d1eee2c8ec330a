"""Files that the project has written itself: results, masks, and chain-of-thought sets, damaged since."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import cv2
import numpy as np

import layouts
from fuzzing import allowing, check_text
from mutation import mutated_bytes, mutated_json_file, mutated_lines
from scripted import evaluated
from thinkseg import demonstrations
from thinkseg.annotation.annotators import RuleAnnotator
from thinkseg.annotation.build import AnnotationSettings, annotate
from thinkseg.annotation.costs import CostBudget, CostTracker
from thinkseg.annotation.review import write_review
from thinkseg.annotation.source import AnnotationSource
from thinkseg.data import open_benchmark
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.data.cot import read_cot_set
from thinkseg.errors import DatasetError, SettingsError, VideoError
from thinkseg.evaluation import aggregation
from thinkseg.evaluation.comparison import compare, format_comparison
from thinkseg.evaluation.offline import score
from thinkseg.evaluation.predictions import open_predictions
from thinkseg.evaluation.scores import aggregate, format_scores
from thinkseg.evaluation.submission import write_submission
from thinkseg.export.llamafactory import check_entry, entry
from thinkseg.report.formats import FORMATS
from thinkseg.report.formats.writing import write_formats
from thinkseg.report.pages.write import write_report
from thinkseg.report.result import Result
from thinkseg.report.stored_result import read_result
from thinkseg.storage.atomic import write_json
from thinkseg.storage.result_folder import check_out
from thinkseg.types import Answer, Outcome, View

NAMES = ("mevis", "revos", "refdavis", "vicas", "reasonvos")
SET_VIEW = View(2, (56, 56))
"""Of the chain-of-thought set."""


class Results:
    name = "results"
    count = 2000

    def prepare(self, folder: Path) -> None:
        cv2.setNumThreads(1)
        aggregation.RESAMPLES = 5
        self.root = folder
        for name in NAMES:
            getattr(layouts, name)(folder / name)
            evaluated(self._open(name), folder / f"{name} run")
        _annotate(folder / "set")
        _write_result(folder / "result")
        write_json({"mine": entry("mine/train.jsonl")}, folder / "dataset_info.json")

    def run(self, rng: Random, folder: Path) -> None:
        rng.choice(USES)(self, rng, folder)

    def _open(self, name: str) -> Benchmark:
        return open_benchmark(name, self.root / name, layouts.SPLITS[name])

    def _damaged(self, rng: Random, name: str, folder: Path) -> Path:
        """Returns a copy of a folder with one damaged file."""
        shutil.copytree(self.root / name, folder / "copy")
        paths = sorted(path for path in (folder / "copy").rglob("*") if path.is_file())
        path = rng.choice(paths + [path for path in paths if path.suffix == ".jsonl"] * len(paths))
        data = path.read_bytes()
        damage: dict[str, Callable[[Random, bytes], bytes]] = {".json": mutated_json_file, ".jsonl": mutated_lines}
        path.write_bytes(damage.get(path.suffix, mutated_bytes)(rng, data))
        return folder / "copy"


def _compare(self: Results, rng: Random, folder: Path) -> None:
    name = rng.choice(NAMES)
    runs = [self._damaged(rng, f"{name} run", folder), self.root / f"{name} run"]
    rng.shuffle(runs)
    with allowing(SettingsError):
        check_text(format_comparison(compare(*runs, rng.random() < 0.5), 3))


def _report(self: Results, rng: Random, folder: Path) -> None:
    name = rng.choice(NAMES)
    run = rng.choice([f"{name} run", f"{name} run", "result"])
    runs = [self._damaged(rng, run, folder), self.root / run][: rng.randint(1, 2)]
    with allowing(SettingsError, DatasetError, VideoError):
        write_report(runs, folder / "page", rng.choice([None, self.root / name]), num_drawn=2)


def _review(self: Results, rng: Random, folder: Path) -> None:
    with allowing(SettingsError, DatasetError, VideoError):
        write_review(self._damaged(rng, "set", folder), folder / "review.html")


def _resume(self: Results, rng: Random, folder: Path) -> None:
    name = rng.choice(NAMES)
    with allowing(SettingsError, DatasetError):
        check_text(format_scores(evaluated(self._open(name), self._damaged(rng, f"{name} run", folder))))


def _score(self: Results, rng: Random, folder: Path) -> None:
    name = rng.choice(NAMES)
    benchmark = self._open(name)
    masks = self._damaged(rng, f"{name} run", folder)
    if rng.random() < 0.3:
        masks = masks / "pictures"
    with allowing(SettingsError, DatasetError):
        format_scores(aggregate(benchmark, score(benchmark, open_predictions(masks, name)), rng.random() < 0.5))
    with allowing(SettingsError, DatasetError):
        write_submission(benchmark, masks, folder / "out.zip")


def _read_set(self: Results, rng: Random, folder: Path) -> None:
    with allowing(DatasetError, VideoError, SettingsError):
        cot = read_cot_set(self._damaged(rng, "set", folder))
        demonstrations.check_fits(cot, SET_VIEW)
        for sample in cot.samples:
            demonstrations.dialogue(cot, sample, SET_VIEW)


def _annotate_again(self: Results, rng: Random, folder: Path) -> None:
    with allowing(SettingsError, DatasetError, VideoError):
        _annotate(self._damaged(rng, "set", folder))


def _convert(self: Results, rng: Random, folder: Path) -> None:
    with allowing(SettingsError, DatasetError, VideoError):
        result = read_result(self._damaged(rng, "result", folder))
        (folder / "out").mkdir()
        for error in write_formats(result, folder / "out", rng.sample(list(FORMATS), 3)).values():
            check_text(str(error))


def _add_entry(self: Results, rng: Random, folder: Path) -> None:
    info = folder / "dataset_info.json"
    info.write_bytes(mutated_json_file(rng, (self.root / "dataset_info.json").read_bytes()))
    with allowing(SettingsError):
        check_entry(info, rng.choice(["mine", "other"]), folder / "out")


def _replace_result(self: Results, rng: Random, folder: Path) -> None:
    (folder / "thinkseg.json").write_bytes(mutated_json_file(rng, b'{"thinkseg": "0.1", "entries": ["a", "b"]}'))
    with allowing(SettingsError):
        check_out(folder, "segment")


USES = (
    [_compare] * 6
    + [_report] * 6
    + [_review] * 2
    + [_resume] * 3
    + [_score] * 4
    + [_read_set] * 4
    + [_convert] * 3
    + [_annotate_again] * 2
    + [_add_entry, _replace_result]
)


def _write_result(out: Path) -> None:
    """Writes a result about a folder of frames with its own rate."""
    benchmark = open_benchmark("shapes", limit=1)
    sample = benchmark.sample(benchmark.expressions[0])
    masklets = replace(sample.truth, confidence=np.ones((sample.truth.num_objects, len(sample.video)), np.float32))
    outcome = Outcome(Answer("There.", 0, np.array([[1, 2, 9, 9]], np.float32)), None, (), keyframe=0)
    Result(sample, outcome, masklets).save(out, ["csv"])


def _annotate(out: Path) -> None:
    source = AnnotationSource(open_benchmark("shapes", split="train", limit=4))
    costs = CostTracker(CostBudget(), 0)
    annotate(source, source.candidates, RuleAnnotator(SET_VIEW), AnnotationSettings(SET_VIEW, 0, {}), costs, out)
