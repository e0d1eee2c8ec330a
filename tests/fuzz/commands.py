"""Arguments of the command line: hostile values in commands that load no model."""

from __future__ import annotations

import os
import shutil
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random

import cv2

import layouts
from footage import clip
from fuzzing import WrongError, check_message, check_text
from mutation import LONG_TEXTS, SCALARS, TEXTS, mutated_text
from scripted import evaluated
from thinkseg.cli import app
from thinkseg.data import open_benchmark
from thinkseg.evaluation import aggregation

COMMANDS = [
    "compare run run --top 3",
    "data revos --split valid --root revos",
    "data shapes --out out --clips 1 --split val",
    "score revos --root revos --predictions run --csv scores.csv --out out --workers 1",
    "score revos --root revos --predictions run --split train",
    "validate revos --root revos --workers 1",
    "submit mevis --root mevis --split valid --predictions run --out out.zip",
    "export jsonl revos --root revos --out out --frames 2 --frame-size 28x28 --limit 2",
    "export trl shapes --out out --frames 2 --frame-size 28x28 --limit 1",
    "annotate shapes --annotator rules --count 2 --frames 2 --frame-size 56x56 --out out --seed 1",
    "segment clip.mp4 query --out out --keyframe 3 --box 1,2,30,40",
    "segment clip.mp4 query --out out --policy nowhere --frames 4 --frame-size 56x56 --temperature 0.5",
    "segment clip.mp4 query --out out --keyframe 3 --box 1,2,30,40 --save masks,csv",
    "convert run --to coco,npz --out out --video clip.mp4",
    "evaluate shapes --out out --policy nowhere --limit 2 --start 3 --batch-size 2 --seed 4",
    "check-policy nowhere --clips 1 --max-tokens 5",
    "train plan nowhere.yaml --model nowhere",
    "train sft --config nowhere.yaml --out out",
    "ablate nowhere.yaml --out out --runs runs",
]

VALUES = [
    *(text for text in TEXTS + LONG_TEXTS if not text.startswith(("/", "..", "\ud800"))),
    *map(str, SCALARS),
    *["nan", "inf", "-inf", "1e400", "1e-400", "0x0", "56x", "99999999999x1", "1,2,3", "1,1,1,1", "nan,0,1,1", "2.4s"],
    *["-", "--", "--out", "~", "run", "revos", "clip.mp4", "settings.json", "run/settings.json", "openai:x@y", "a/b/c"],
]


class Commands:
    name = "commands"
    count = 1000

    def prepare(self, folder: Path) -> None:
        cv2.setNumThreads(1)
        aggregation.RESAMPLES = 5
        self.root = folder / "files"
        layouts.revos(self.root / "revos")
        layouts.mevis(self.root / "mevis")
        evaluated(open_benchmark("revos", self.root / "revos"), self.root / "run")
        clip(self.root, count=6)

    def run(self, rng: Random, folder: Path) -> None:
        words = rng.choice(COMMANDS).split()
        values = [at for at, word in enumerate(words) if at and not word.startswith("--")]
        for at in rng.sample(values, rng.choice([1, 1, 2])):
            words[at] = mutated_text(rng, words[at]) if rng.random() < 0.3 else rng.choice(VALUES)
        shutil.copytree(self.root, folder, dirs_exist_ok=True)
        os.chdir(folder)
        words = [word.replace("\0", "").replace("\ud800", "\udcff") for word in words]  # as a system passes them
        with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
            status = app.main(words)
        check_text(output.getvalue())
        _check(status, errors.getvalue().strip())


def _check(status: int, errors: str) -> None:
    if status == app.BUG:
        places = [line.strip() for line in errors.splitlines() if "thinkseg" in line]
        raise WrongError(errors.splitlines()[-1], places[-1].partition("thinkseg/")[2])
    if status not in (0, 1, app.USER_ERROR):
        raise WrongError(f"status {status}: {errors[-300:]}")
    if status == app.USER_ERROR:
        check_message(errors.splitlines()[-1].removeprefix(f"{app.PROGRAM}: "))
