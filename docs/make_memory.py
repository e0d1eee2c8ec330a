"""Draws the memory SAM 2 holds along a video: python docs/make_memory.py.

In: benchmarks/results/sam2-long.json, which has the last line `benchmarks/sam2_long.py` prints. Out: a picture with a
line for each length of video, from its keyframe in the middle to its end, then back to its start.
"""

import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from thinkseg.ops.draw import FADED, INK, PAPER, color_of

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results" / "sam2-long.json"
PICTURE = DOCS / "images" / "sam2-memory.png"

WIDTH, HEIGHT = 1200, 480
LEFT, RIGHT, TOP, BOTTOM = 110, 30, 60, 70
"""Margins around the field in which lines are drawn."""

STEP_MB = 200


def main() -> None:
    lengths = json.loads(RESULTS.read_text())["lengths"]
    most = max(point[1] for told in lengths for point in told["held_mb"])
    top = STEP_MB * (1 + int(most // STEP_MB))
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(picture)
    draw_axes(pen, top)
    for number, told in enumerate(lengths):
        points = [place(done / told["frames"], held, top) for done, held in told["held_mb"]]
        pen.line(points, fill=color_of(number), width=3, joint="curve")
        label = f"{told['frames']:,} frames: {told['peak_mb']:.0f} MB at most"
        pen.text((LEFT + 20 + 360 * number, 20), label, fill=color_of(number), font=ImageFont.load_default(22))
    picture.save(PICTURE, optimize=True)
    print(PICTURE)


def place(share: float, held_mb: float, top_mb: float) -> tuple[float, float]:
    """Where a point of a line is in the picture. share: of the video, 0..1."""
    x = LEFT + share * (WIDTH - LEFT - RIGHT)
    y = HEIGHT - BOTTOM - held_mb / top_mb * (HEIGHT - TOP - BOTTOM)
    return x, y


def draw_axes(pen: ImageDraw.ImageDraw, top_mb: int) -> None:
    """A line for each step of memory, and what the two halves of the way are."""
    font = ImageFont.load_default(20)
    for held in range(0, top_mb + 1, STEP_MB):
        pen.line([place(0, held, top_mb), place(1, held, top_mb)], fill=FADED, width=1)
        x, y = place(0, held, top_mb)
        pen.text((x - 12, y), f"{held} MB", fill=INK, font=font, anchor="rm")
    pen.line([place(0.5, 0, top_mb), place(0.5, top_mb, top_mb)], fill=FADED, width=1)
    for share, words in ((0.25, "from the middle to the end"), (0.75, "then back to the start")):
        x, y = place(share, 0, top_mb)
        pen.text((x, y + 24), words, fill=INK, font=font, anchor="mt")


if __name__ == "__main__":
    main()
