"""Draws how reinforcement went on the shapes world: one run, or several side by side, each in its colour.

    python docs/make_curves.py
    python docs/make_curves.py --out PICTURE --figures NAME... -- TITLE=RUN...

In: folders of runs; of none, the log of the run whose policy ships. NAME: a figure of log.jsonl. Out: a picture with a
panel for each figure, faint as logged and bold the running mean.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from thinkseg.ops.draw import ACCENT, FADED, INK, PAPER, Color
from thinkseg.training.checkpoints import LOG_FILE

DOCS = Path(__file__).parent
LOG = DOCS / "shapes-grpo.log.jsonl"

TITLES = {
    "reward": "reward",
    "reward/keyframe": "R_k",
    "reward/boxes": "R_s",
    "reward/consistency": "R_u",
    "reward/format_graded": "r_f",
    "reward/box_hit": "r_s",
    "kl": "KL to the start",
    "entropy": "entropy, nats a token",
    "keyframe/none": 'says "none"',
}
"""What a figure is called above its panel, if not by its name."""

FIGURES = ("reward", "reward/keyframe", "reward/boxes", "reward/consistency", "kl", "entropy")
COLORS: tuple[Color, ...] = (ACCENT, (120, 204, 255), (148, 232, 132))

COLUMNS, WIDTH, HEIGHT = 3, 400, 240
"""Panels in a row, and the sides of a panel in pixels."""

LEFT, RIGHT, MARGIN = 20, 80, 46
"""What is left free beside the curves, and above and below them."""

LEGEND = 60
"""Height of the legend."""

SMOOTHED = 10
"""The running mean is over about one in so many of a run's points."""

BOOKKEEPING = ("stage", "step", "epoch", "seconds", "total_flos", "train_")
"""How names in a log begin that are no figures; those of "seconds/" are."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DOCS / "images" / "shapes-grpo.png")
    parser.add_argument("--figures", nargs="+", default=FIGURES, metavar="NAME")
    parser.add_argument("runs", nargs="*", metavar="TITLE=RUN")
    arguments = parser.parse_args()
    if len(arguments.runs) > len(COLORS):
        parser.error(f"there are colours for {len(COLORS)} runs")
    logs = {title: Path(run) / LOG_FILE for title, _, run in (one.partition("=") for one in arguments.runs)}
    runs = {title: read_curves(log) for title, log in (logs or {"": LOG}).items()}
    picture(runs, arguments.figures).save(arguments.out, optimize=True)
    print(arguments.out)


def read_curves(log: Path) -> Mapping[str, np.ndarray]:
    """For each figure of a log its points, float64 (N, 2): step and value. Stages follow each other."""
    points: dict[str, list[tuple[float, float]]] = {}
    starts: dict[str, int] = {}
    last = 0
    for record in read_records(log):
        last = starts.setdefault(record["stage"], last) + record["step"]
        for name, value in record.items():
            # A stage ends with means over all of it, which are not of its last step.
            known = not name.startswith(BOOKKEEPING) or name.startswith("seconds/")
            if known and isinstance(value, int | float) and np.isfinite(value):
                points.setdefault(name, []).append((last, value))
    return {name: np.array(found, float) for name, found in points.items()}


def read_records(log: Path) -> Iterator[dict]:
    """The lines of a log, without one that a kill cut short."""
    for line in log.read_text("utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def smooth(values: np.ndarray) -> np.ndarray:
    """The running mean of (N,) values, which forgets exponentially, and at its start is over what there is."""
    keep = 1 - 1 / max(1.0, len(values) / SMOOTHED)
    total, weight, means = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        means.append(total / weight)
    return np.array(means)


def picture(runs: Mapping[str, Mapping[str, np.ndarray]], names: Sequence[str]) -> Image.Image:
    """A panel for each name, and below them a legend, if there is more than one run."""
    bottom = -(-len(names) // COLUMNS) * HEIGHT
    drawn = Image.new("RGB", (COLUMNS * WIDTH, bottom + LEGEND * (len(runs) > 1)), PAPER)
    pen = ImageDraw.Draw(drawn)
    for number, name in enumerate(names):
        row, column = divmod(number, COLUMNS)
        curves = [figures[name] for figures in runs.values()]
        draw_panel(pen, (column * WIDTH, row * HEIGHT), TITLES.get(name, name), curves)
    if len(runs) > 1:
        for number, title in enumerate(runs):
            left = LEFT + number * (COLUMNS * WIDTH // len(runs))
            pen.rectangle((left, bottom + 33, left + 20, bottom + 41), fill=COLORS[number])
            pen.text((left + 30, bottom + 37), title, fill=INK, font=ImageFont.load_default(17), anchor="lm")
    return drawn


def draw_panel(pen: ImageDraw.ImageDraw, corner: tuple[int, int], title: str, curves: Sequence[np.ndarray]) -> None:
    """One figure of all runs. curves: of each, (N, 2), step and value."""
    left, top = corner
    font = ImageFont.load_default(17)
    points = np.concatenate(curves)
    (first, low), (last, high) = points.min(axis=0), points.max(axis=0)

    def place(steps: np.ndarray, values: np.ndarray) -> list[tuple[float, float]]:
        xs = left + LEFT + (steps - first) / max(last - first, 1) * (WIDTH - LEFT - RIGHT)
        ys = top + HEIGHT - MARGIN - (values - low) / (high - low or 1) * (HEIGHT - 2 * MARGIN)
        return list(zip(xs.tolist(), ys.tolist(), strict=True))

    pen.text((left + LEFT, top + 12), title, fill=INK, font=font)
    for (steps, values), color in zip((curve.T for curve in curves), COLORS, strict=False):
        pen.line(place(steps, values), fill=blend(color), width=1)
    for (steps, values), color in zip((curve.T for curve in curves), COLORS, strict=False):
        pen.line(place(steps, smooth(values)), fill=color, width=3, joint="curve")
    below = top + HEIGHT - MARGIN + 10
    pen.text((left + LEFT, below), f"step {first:.0f}", fill=FADED, font=font)
    pen.text((left + WIDTH - RIGHT, below), f"{last:.0f}", fill=FADED, font=font, anchor="ra")
    for value, y in ((high, top + MARGIN), (low, top + HEIGHT - MARGIN)):
        pen.text((left + WIDTH - RIGHT + 8, y), f"{value:.2g}", fill=FADED, font=font, anchor="lm")


def blend(color: Color) -> Color:
    """A colour halfway to the paper."""
    red, green, blue = ((one + other) // 2 for one, other in zip(color, PAPER, strict=True))
    return red, green, blue


if __name__ == "__main__":
    main()
