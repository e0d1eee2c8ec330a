"""Damaged benchmarks as far as they can be read: evaluated, submitted, exported and annotated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import cv2

import layouts
from annotating import Script, good
from fuzzing import allowing, check_text
from scripted import VIEW, evaluated
from thinkseg.annotation.build import AnnotationSettings, annotate
from thinkseg.annotation.costs import CostBudget, CostTracker
from thinkseg.annotation.review import REVIEW, write_review
from thinkseg.annotation.source import AnnotationSource
from thinkseg.data import open_benchmark
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.data.cot import read_cot_set
from thinkseg.data.readers.frame_rates import Rates
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.errors import DatasetError, SettingsError, VideoError
from thinkseg.evaluation import aggregation
from thinkseg.evaluation.comparison import compare, format_comparison
from thinkseg.evaluation.offline import score, write_csv
from thinkseg.evaluation.predictions import open_predictions
from thinkseg.evaluation.scores import format_scores
from thinkseg.evaluation.submission import write_submission
from thinkseg.export import FORMATS
from thinkseg.export.images import ImageWriter
from thinkseg.export.job import ExportJob, export
from thinkseg.export.samples import ExportSettings
from thinkseg.export.sources import BenchmarkSource
from trees import TREES, damage_tree


class Uses:
    name = "uses"
    count = 1000

    def prepare(self, folder: Path) -> None:
        cv2.setNumThreads(1)
        aggregation.RESAMPLES = 5
        self.root = folder / "trees"
        for tree in TREES:
            getattr(layouts, tree)(self.root / tree)

    def run(self, rng: Random, folder: Path) -> None:
        tree = rng.choice(sorted(TREES))
        damage_tree(rng, self.root / tree, folder / "tree")
        with allowing(DatasetError, VideoError, SettingsError):
            issues = DatasetIssues(keep_going=True)
            benchmark = open_benchmark(TREES[tree], folder / "tree", layouts.SPLITS[TREES[tree]], issues)
            rng.choice(USES)(rng, benchmark, folder / "out")


def _evaluate(rng: Random, benchmark: Benchmark, out: Path) -> None:
    check_text(format_scores(evaluated(benchmark, out)))
    rows = score(benchmark, open_predictions(out, benchmark.name))
    write_csv(rows, out / "scores.csv")
    if any(row["j"] is not None for row in rows):
        check_text(format_comparison(compare(out, out), 3))
    write_submission(benchmark, out, out / "out.zip")


def _export(rng: Random, benchmark: Benchmark, out: Path) -> None:
    name = rng.choice(sorted(FORMATS))
    found = FORMATS[name]
    out.mkdir()
    settings = ExportSettings(rng.choice(found.chains), VIEW, ImageWriter(out), found.for_sft, found.for_rl)
    rates = Rates(rng.choice([None, 10.0]) if benchmark.name != "folder" else None)
    source = BenchmarkSource(replace(benchmark, rates=rates))
    export(source, name, ExportJob(out, out, "folder", "mine", settings, "owner/model", 28), benchmark.issues)


def _annotate(rng: Random, benchmark: Benchmark, out: Path) -> None:
    source, annotator = AnnotationSource(benchmark), Script(good)
    costs = CostTracker(CostBudget(), annotator.max_reply_tokens)
    settings = AnnotationSettings(VIEW, 0, {})
    annotate(source, source.candidates, annotator, settings, costs, out, issues=benchmark.issues)
    write_review(out, out / REVIEW, "Reasoning")
    read_cot_set(out)


USES = [_evaluate, _export, _annotate]
