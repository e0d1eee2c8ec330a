"""Plots the GRPO metrics of one run, or of several runs in one color each.

    python docs/make_curves.py
    python docs/make_curves.py --out IMAGE --metrics NAME... -- TITLE=RUN...

RUN: folder of a run (default: the log of the run that trained the bundled policy). NAME: a key of log.jsonl. The image
has one panel per metric: thin lines are logged values, thick lines are running means.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from thinkseg.ops.draw import ACCENT, FADED, INK, PAPER, Color
from thinkseg.report.pages.curves import TITLES, read_log, smooth
from thinkseg.storage.run_folder import LOG

DOCS = Path(__file__).parent
BUNDLED = DOCS / "shapes-grpo.log.jsonl"

METRICS = (
    "reward",
    "rewards/keyframe/mean",
    "rewards/boxes/mean",
    "rewards/consistency/mean",
    "kl",
    "entropy",
)

COLORS: tuple[Color, ...] = (ACCENT, (120, 204, 255), (148, 232, 132))

COLUMNS, WIDTH, HEIGHT = 3, 400, 240
"""Panels per row, and panel size in pixels."""

LEFT, RIGHT, MARGIN = 20, 80, 46
"""Pixels left of the curves, right of them, and above and below them."""

LEGEND = 60
"""Height of the legend in pixels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DOCS / "images" / "shapes-grpo.png")
    parser.add_argument("--metrics", nargs="+", default=METRICS, metavar="NAME")
    parser.add_argument("runs", nargs="*", metavar="TITLE=RUN")
    arguments = parser.parse_args()
    if len(arguments.runs) > len(COLORS):
        parser.error(f"{len(arguments.runs)} runs: at most {len(COLORS)} can be plotted")
    logs = {title: Path(run) / LOG for title, _, run in (one.partition("=") for one in arguments.runs)}
    runs = {title: read_log(log).metrics for title, log in (logs or {"": BUNDLED}).items()}
    plot(runs, arguments.metrics).save(arguments.out, optimize=True)
    print(arguments.out)


def plot(runs: Mapping[str, Mapping[str, np.ndarray]], names: Sequence[str]) -> Image.Image:
    """Draws one panel per name, with a legend below if there are several runs."""
    bottom = -(-len(names) // COLUMNS) * HEIGHT
    image = Image.new("RGB", (COLUMNS * WIDTH, bottom + LEGEND * (len(runs) > 1)), PAPER)
    pen = ImageDraw.Draw(image)
    for number, name in enumerate(names):
        row, column = divmod(number, COLUMNS)
        curves = [metrics[name] for metrics in runs.values()]
        draw_panel(pen, (column * WIDTH, row * HEIGHT), TITLES.get(name, name), curves)
    if len(runs) > 1:
        for number, title in enumerate(runs):
            left = LEFT + number * (COLUMNS * WIDTH // len(runs))
            pen.rectangle((left, bottom + 33, left + 20, bottom + 41), fill=COLORS[number])
            pen.text((left + 30, bottom + 37), title, fill=INK, font=ImageFont.load_default(17), anchor="lm")
    return image


def draw_panel(pen: ImageDraw.ImageDraw, corner: tuple[int, int], title: str, curves: Sequence[np.ndarray]) -> None:
    """Draws one metric of all runs. corner: left and top in pixels. curves: (N, 2) per run, step and value."""
    left, top = corner
    font = ImageFont.load_default(17)
    points = np.concatenate(curves)
    (first, low), (last, high) = points.min(axis=0), points.max(axis=0)

    def to_pixels(steps: np.ndarray, values: np.ndarray) -> list[tuple[float, float]]:
        xs = left + LEFT + (steps - first) / max(last - first, 1) * (WIDTH - LEFT - RIGHT)
        ys = top + HEIGHT - MARGIN - (values - low) / (high - low or 1) * (HEIGHT - 2 * MARGIN)
        return list(zip(xs.tolist(), ys.tolist(), strict=True))

    pen.text((left + LEFT, top + 12), title, fill=INK, font=font)
    for (steps, values), color in zip((curve.T for curve in curves), COLORS, strict=False):
        pen.line(to_pixels(steps, values), fill=blend(color), width=1)
    for (steps, values), color in zip((curve.T for curve in curves), COLORS, strict=False):
        pen.line(to_pixels(steps, smooth(values)), fill=color, width=3, joint="curve")
    below = top + HEIGHT - MARGIN + 10
    pen.text((left + LEFT, below), f"step {first:.0f}", fill=FADED, font=font)
    pen.text((left + WIDTH - RIGHT, below), f"{last:.0f}", fill=FADED, font=font, anchor="ra")
    for value, y in ((high, top + MARGIN), (low, top + HEIGHT - MARGIN)):
        pen.text((left + WIDTH - RIGHT + 8, y), f"{value:.3g}", fill=FADED, font=font, anchor="lm")


def blend(color: Color) -> Color:
    """Returns the mean of a color and the background color."""
    red, green, blue = ((one + other) // 2 for one, other in zip(color, PAPER, strict=True))
    return red, green, blue


if __name__ == "__main__":
    main()
