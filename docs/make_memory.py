"""Plots the memory of SAM 2 along a video: python docs/make_memory.py.

Reads benchmarks/results/sam2-long.json, which contains the last line that `benchmarks/sam2_long.py` prints. Draws one
line per video length. The tracker runs from the keyframe in the middle to the end, then backwards to the start.
"""

import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from thinkseg.ops.draw import FADED, INK, PAPER, color_of

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results" / "sam2-long.json"
IMAGE = DOCS / "images" / "sam2-memory.png"

WIDTH, HEIGHT = 1200, 480
LEFT, RIGHT, TOP, BOTTOM = 110, 30, 60, 70
"""Margins of the plot area in pixels."""

STEP_MB = 200


def main() -> None:
    runs = json.loads(RESULTS.read_text())["lengths"]
    max_mb = max(held for run in runs for _, held in run["held_mb"])
    top_mb = STEP_MB * (1 + int(max_mb // STEP_MB))
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(image)
    draw_axes(pen, top_mb)
    for number, run in enumerate(runs):
        points = [to_pixels(done / run["frames"], held, top_mb) for done, held in run["held_mb"]]
        pen.line(points, fill=color_of(number), width=3, joint="curve")
        label = f"{run['frames']:,} frames: {run['peak_mb']:.0f} MB at most"
        pen.text((LEFT + 20 + 360 * number, 20), label, fill=color_of(number), font=ImageFont.load_default(22))
    image.save(IMAGE, optimize=True)
    print(IMAGE)


def to_pixels(progress: float, held_mb: float, top_mb: float) -> tuple[float, float]:
    """Returns the position of a point in the image. progress: fraction of the frames tracked so far, 0..1."""
    x = LEFT + progress * (WIDTH - LEFT - RIGHT)
    y = HEIGHT - BOTTOM - held_mb / top_mb * (HEIGHT - TOP - BOTTOM)
    return x, y


def draw_axes(pen: ImageDraw.ImageDraw, top_mb: int) -> None:
    """Draws a grid line per `STEP_MB`, and labels for the two tracking directions."""
    font = ImageFont.load_default(20)
    for held in range(0, top_mb + 1, STEP_MB):
        pen.line([to_pixels(0, held, top_mb), to_pixels(1, held, top_mb)], fill=FADED, width=1)
        x, y = to_pixels(0, held, top_mb)
        pen.text((x - 12, y), f"{held} MB", fill=INK, font=font, anchor="rm")
    pen.line([to_pixels(0.5, 0, top_mb), to_pixels(0.5, top_mb, top_mb)], fill=FADED, width=1)
    for progress, text in ((0.25, "from the middle to the end"), (0.75, "then back to the start")):
        x, y = to_pixels(progress, 0, top_mb)
        pen.text((x, y + 24), text, fill=INK, font=font, anchor="mt")


if __name__ == "__main__":
    main()
