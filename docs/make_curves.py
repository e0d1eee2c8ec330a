"""Draws how reinforcement went on the shapes world: python docs/make_curves.py.

In: docs/shapes-grpo.log.jsonl, the log of the run whose policy ships. Out: a picture with a panel for each of a few
figures, faint as logged and bold their running mean. `thinkseg train curves RUN` makes a page of all.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from thinkseg.ops.draw import ACCENT, FADED, INK, PAPER
from thinkseg.train.curves import FILE, read_curves, smooth

DOCS = Path(__file__).parent
LOG = DOCS / "shapes-grpo.log.jsonl"
PICTURE = DOCS / "images" / "shapes-grpo.png"

FIGURES = (
    ("reward", "reward, of 4"),
    ("reward/keyframe", "R_k"),
    ("reward/boxes", "R_s"),
    ("reward/consistency", "R_u"),
    ("kl", "KL to the start"),
    ("entropy", "entropy, nats a token"),
)
COLUMNS, WIDTH, HEIGHT = 3, 400, 250
"""Panels in a row, and the sides of a panel in pixels."""

LEFT, RIGHT, MARGIN = 20, 80, 46
"""What is left free beside the curves, and above and below them."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(LOG, Path(folder) / FILE)
        figures = read_curves(Path(folder)).figures
    picture = Image.new("RGB", (COLUMNS * WIDTH, -(-len(FIGURES) // COLUMNS) * HEIGHT), PAPER)
    pen = ImageDraw.Draw(picture)
    for number, (name, title) in enumerate(FIGURES):
        row, column = divmod(number, COLUMNS)
        draw_panel(pen, (column * WIDTH, row * HEIGHT), title, figures[name])
    picture.save(PICTURE, optimize=True)
    print(PICTURE)


def draw_panel(pen: ImageDraw.ImageDraw, corner: tuple[int, int], title: str, points: np.ndarray) -> None:
    """One figure's curve. points: (N, 2), step and value."""
    left, top = corner
    font = ImageFont.load_default(17)
    low, high = points[:, 1].min(), points[:, 1].max()
    steps = points[:, 0]
    xs = left + LEFT + (steps - steps[0]) / (steps[-1] - steps[0]) * (WIDTH - LEFT - RIGHT)

    def place(values: np.ndarray) -> list[tuple[float, float]]:
        ys = top + HEIGHT - MARGIN - (values - low) / (high - low) * (HEIGHT - 2 * MARGIN)
        return list(zip(xs.tolist(), ys.tolist(), strict=True))

    pen.text((left + LEFT, top + 12), title, fill=INK, font=font)
    pen.line(place(points[:, 1]), fill=FADED, width=1)
    pen.line(place(smooth(points[:, 1])), fill=ACCENT, width=3, joint="curve")
    below = top + HEIGHT - MARGIN + 10
    pen.text((left + LEFT, below), f"step {steps[0]:.0f}", fill=FADED, font=font)
    pen.text((left + WIDTH - RIGHT, below), f"{steps[-1]:.0f}", fill=FADED, font=font, anchor="ra")
    for value, y in ((high, top + MARGIN), (low, top + HEIGHT - MARGIN)):
        pen.text((left + WIDTH - RIGHT + 8, y), f"{value:.2g}", fill=FADED, font=font, anchor="lm")


if __name__ == "__main__":
    main()
