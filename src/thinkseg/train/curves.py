"""Learning curves as a page: folders of training runs in, one HTML file out that needs nothing beside it.

Every figure of the runs' log.jsonl has a panel, and every run its colour in all of them. Faint is what was logged, bold
its running mean. Stages of a run follow each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from thinkseg.errors import SettingsError
from thinkseg.results import replacing, writing
from thinkseg.webpage import webpage

FILE = "log.jsonl"
"""The log of a run in its folder: one JSON object for each logged step."""

WIDTH, HEIGHT, MARGIN = 320, 150, 6
"""Of a panel's drawing, in pixels; `MARGIN` is left free all around the curves."""

SMOOTHED = 10
"""The running mean is over about one in so many of a stage's points."""

COLORS = ("#2f6fde", "#d9541e", "#1f9d55", "#a23bc4", "#c79a00", "#0e97a7")

_BOOKKEEPING = ("stage", "step", "epoch", "seconds", "total_flos", "train_")


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """What one run logged.

    figures: for each figure its points, float64 (N, 2): step and value. starts: the step at which each stage begins.
    """

    name: str
    figures: Mapping[str, np.ndarray]
    starts: Mapping[str, int]


def write_curves(runs: Sequence[Path], page: Path) -> Path:
    """Writes a page about one or more runs, and returns its path. Raises SettingsError if one has no log."""
    curves = [read_curves(run) for run in runs]
    names = list(dict.fromkeys(name for run in curves for name in run.figures))
    if not names:
        raise SettingsError(f"{runs[0] / FILE} has no figures yet: wait until the run has logged a step")
    legend = " · ".join(
        f'<b style="color: {COLORS[i % len(COLORS)]}">{escape(run.name)}</b> {escape(_stages(run))}'
        for i, run in enumerate(curves)
    )
    contents = [
        f'<header><h1>Learning curves</h1><p class="facts">{legend}</p></header>',
        '<div style="display: flex; flex-wrap: wrap; gap: 16px; margin-top: 20px">',
        *(_panel(name, curves) for name in names),
        "</div>",
    ]
    with writing(page.parent):
        page.parent.mkdir(parents=True, exist_ok=True)
        with replacing(page) as partial:
            partial.write_text(webpage("Learning curves", contents), "utf-8")
    return page


def read_curves(run: Path) -> Curves:
    """The log of a run. A line that a kill cut short is left out. Raises SettingsError if there is no log."""
    try:
        lines = (run / FILE).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{run / FILE} cannot be read: name the folder of a training run ({error})") from None
    points: dict[str, list[tuple[float, float]]] = {}
    starts: dict[str, int] = {}
    last = 0
    for record in _records(lines):
        start = starts.setdefault(record["stage"], last)
        last = start + record["step"]
        for name, value in record.items():
            # A stage ends with means over all of it, which are not of its last step.
            known = not name.startswith(_BOOKKEEPING) or name.startswith("seconds/")
            if known and isinstance(value, int | float) and np.isfinite(value):
                points.setdefault(name, []).append((last, value))
    return Curves(run.name, {name: np.array(found, float) for name, found in points.items()}, starts)


def smooth(values: np.ndarray) -> np.ndarray:
    """The running mean of (N,) values, which forgets exponentially, and at its start is over what there is."""
    keep = 1 - 1 / max(1.0, len(values) / SMOOTHED)
    total, weight, means = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        means.append(total / weight)
    return np.array(means)


def _records(lines: Sequence[str]) -> Iterator[dict]:
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and {"stage", "step"} <= record.keys():
            yield record


def _stages(run: Curves) -> str:
    """Where the stages of a run begin, if it has more than one."""
    return ", ".join(f"{stage} from {start:,}" for stage, start in run.starts.items()) if len(run.starts) > 1 else ""


def _panel(name: str, runs: Sequence[Curves]) -> str:
    drawn = [
        (COLORS[i % len(COLORS)], run.figures[name], _means(run, name))
        for i, run in enumerate(runs)
        if name in run.figures
    ]
    points = np.concatenate([found for _, found, _ in drawn])
    (left, low), (right, high) = points.min(0), points.max(0)
    lines = []
    for color, found, mean in drawn:
        for line, style in ((found, 'stroke-opacity="0.25"'), (mean, 'stroke-width="2"')):
            path = _path(line, (left, low), (right, high))
            lines.append(f'<polyline points="{path}" fill="none" stroke="{color}" {style}/>')
    ends = "; ".join(f"{mean[-1, 1]:.4g}" for *_, mean in drawn)
    return (
        f'<article style="margin: 0; padding: 10px 12px; width: {WIDTH + 26}px"><h3>{escape(name)}</h3>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(name)}">'
        f"{''.join(_divisions(runs, left, right))}{''.join(lines)}</svg>"
        f'<p class="facts">{low:.4g} to {high:.4g}, steps {left:,.0f} to {right:,.0f}, at last {ends}</p></article>'
    )


def _means(run: Curves, name: str) -> np.ndarray:
    """The running mean of a figure's points, which begins anew with each stage."""
    found = run.figures[name]
    begins = np.searchsorted(found[:, 0], sorted(run.starts.values()), side="right")
    means = [smooth(values) for values in np.split(found[:, 1], begins) if len(values)]
    return np.column_stack([found[:, 0], np.concatenate(means)])


def _divisions(runs: Sequence[Curves], left: float, right: float) -> Iterator[str]:
    """A line where a stage begins, in all panels that show what came before."""
    for start in sorted({start for run in runs for start in run.starts.values() if left < start < right}):
        x = _scaled(start, left, right, WIDTH)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="var(--line)"/>'


def _path(points: np.ndarray, low: Sequence[float], high: Sequence[float]) -> str:
    xs = _scaled(points[:, 0], low[0], high[0], WIDTH)
    ys = HEIGHT - _scaled(points[:, 1], low[1], high[1], HEIGHT)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))


def _scaled(value: np.ndarray | float, low: float, high: float, side: int) -> np.ndarray:
    """Places along a side of the drawing; in its middle if there is but one value."""
    span = high - low
    share = (np.asarray(value, float) - low) / span if span else np.full(np.shape(value), 0.5)
    return MARGIN + share * (side - 2 * MARGIN)
