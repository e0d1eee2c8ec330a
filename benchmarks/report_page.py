"""Measures the page of an evaluation with many questions in headless Chromium.

    python benchmarks/report_page.py --out benchmarks/results/report-page.json

The page has synthetic rows with thinking of real length, and pictures of a few clips of the shapes world, linked under
many names. Needs the package playwright and a Chromium. Times are medians over fresh pages, in milliseconds; those
of a control last until the page has its new layout, and until the browser has painted it. "all shown" is when the
cards below, which follow in the next frames, are there as well.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from thinkseg.data import open_benchmark
from thinkseg.data.shapes import CATEGORIES
from thinkseg.evaluation.aggregation import compute_metrics
from thinkseg.evaluation.protocols.base import protocol
from thinkseg.evaluation.scores import nested
from thinkseg.report.pages.cards import PICTURES, Card, anchors, answer_view, card
from thinkseg.report.pages.evaluation import worst_first, write_page
from thinkseg.report.pages.pictures import Pictures, Scene, draw_all
from thinkseg.storage.run_folder import Row

CLIPS = 6
"""Different clips in the pictures."""

WORDS = ("the", "red", "cross", "moves", "past", "frame", "at", "3.2", "s", "square", "[12,", "40,", "88,", "97]", "no")

FILTERS = {
    "filter by category": ("category", CATEGORIES[0]),
    "all categories again": ("category", ""),
    "filter by outcome": ("outcome", "invalid"),
    "all outcomes again": ("outcome", ""),
    "first search": ("text", "cross 1234"),
    "search": ("text", "moves past"),
    "sort": ("sort", "-score"),
}
"""What is set in a control of the page, and to which value."""

TIMED = """async ([name, value]) => {
  const control = document.querySelector('.toolbar').elements[name];
  control.value = value;
  const start = performance.now();
  control.dispatchEvent(new Event('input', {bubbles: true}));
  document.body.getBoundingClientRect();
  const ready = performance.now() - start;
  const painted = await new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(performance.now()))));
  const wanted = parseInt(document.querySelector('.toolbar output').textContent);
  while (document.querySelectorAll('article:not([hidden])').length < wanted) await new Promise(requestAnimationFrame);
  return [ready, painted - start, performance.now() - start];
}"""

PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
PATIENCE = 120_000
"""Longest wait for a page on a busy machine, in milliseconds."""

LOADED = "() => performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = write(Path(folder), arguments.questions)
        times = measure(Path(folder) / "index.html", arguments.repeats, arguments.chromium)
    result = {"questions": arguments.questions, **sizes, "milliseconds": times, "cores": os.cpu_count()}
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


def write(folder: Path, count: int) -> dict[str, float]:
    """Writes a page about `count` questions, all with pictures. Returns its sizes in MB."""
    drawn = _drawn(folder / PICTURES)
    rows = worst_first(_rows(count))
    places = anchors(row["id"] for row in rows)
    cards = [_card(row, places[row["id"]], drawn[number % CLIPS], folder, number) for number, row in enumerate(rows)]
    metrics = nested(compute_metrics(rows, protocol(rows).metrics))
    more: dict[str, Any] = {"settings": {}, "protocol": "synthetic", "skipped": 0, "published": ()}
    write_page(folder / "index.html", "A synthetic run", {}, rows, metrics, cards, more)
    images = sum(path.stat().st_size for path in (folder / PICTURES).iterdir())
    return {"page_mb": (folder / "index.html").stat().st_size / 1e6, "pictures_mb": images / 1e6}


def _rows(count: int) -> list[Row]:
    random = np.random.default_rng(0)
    rows = []
    for number in range(count):
        thinking = " ".join(random.choice(WORDS, random.integers(60, 250)))
        j, failure = float(random.random()), "invalid_json" if number % 25 == 0 else None
        rows.append(
            {"id": f"clip-{number:05d}/0", "video": f"clip-{number:05d}", "query": f"the cross {number}"}
            | {"category": CATEGORIES[number % len(CATEGORIES)], "failure": failure, "has_target": number % 9 != 0}
            | {"is_empty": failure is None and number % 18 == 0, "j": j, "f": j, "intersection": 1, "union": 2}
            | {"replies": [f"<think>{thinking}</think><answer>{{}}</answer>"], "keyframe": 3, "boxes": [[1, 2, 30, 40]]}
            | {"r_k": j, "r_s": j, "num_targets": 1, "target_share": j / 10, "num_scored_frames": 60, "repairs": []}
            | {"annotation_run": "", "seconds": {"policy": 1.0, "tracker": 2.0}}
        )
    return rows


def _drawn(images: Path) -> list[Pictures]:
    """Draws clips whose answers are the ground truth."""
    images.mkdir()
    benchmark = open_benchmark("shapes", limit=CLIPS)
    drawn: list[Pictures] = []
    for sample in benchmark.samples():
        assert sample.truth is not None
        frames = range(len(sample.video))
        keyframe = len(frames) // 2
        boxes = sample.truth.boxes(keyframe)
        scene = Scene(sample.video, keyframe, boxes, sample.truth, sample.truth, frames, range(0, len(frames), 8))
        drawn += draw_all({f"clip{len(drawn)}": scene}, images).values()
    return drawn


def _card(row: Row, anchor: str, pictures: Pictures, folder: Path, number: int) -> Card:
    """A card whose pictures have names of their own."""

    def linked(src: str) -> str:
        name = f"{PICTURES}/{number:05d}-{Path(src).name}"
        os.link(folder / src, folder / name)
        return name

    keyframe = pictures.keyframe and replace(pictures.keyframe, src=linked(pictures.keyframe.src))
    sheet = replace(pictures.sheet, src=linked(pictures.sheet.src))
    return card(anchor, [answer_view(row, Pictures(linked(pictures.strip), sheet, keyframe))], [row])


def measure(page: Path, repeats: int, chromium: str) -> dict[str, float]:
    """Opens a page in fresh browsers. Returns the median time of each event in ms."""
    from playwright.sync_api import sync_playwright

    times: dict[str, list[float]] = {}
    with sync_playwright() as playwright:
        for _ in range(repeats):
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.as_uri(), timeout=PATIENCE)
            tab.wait_for_function(PAINTED, timeout=PATIENCE)
            found = {"first paint": tab.evaluate(PAINTED), "page read": tab.evaluate(LOADED)}
            for name, control in FILTERS.items():
                names = (name, f"{name}, painted", f"{name}, all shown")
                found |= zip(names, tab.evaluate(TIMED, list(control)), strict=True)
            for name, value in found.items():
                times.setdefault(name, []).append(value)
            browser.close()
    return {name: round(statistics.median(values), 1) for name, values in times.items()}


if __name__ == "__main__":
    main()
