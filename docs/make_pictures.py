"""Takes the pictures of the app and of a report, in Chromium: `make pictures CLIP=clip.mp4 BOX=x1,y1,x2,y2`.

In the app, a box is drawn by hand on a frame of a video (default: the first one), and tracked by flow. The report is
that of an evaluation on shapes, which the bundled policy answers.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

APP, REPORT = (Path(__file__).parent / "images" / name for name in ("app.png", "report.png"))

APP_SIZE, REPORT_SIZE = {"width": 1280, "height": 800}, {"width": 1180, "height": 860}

TIMEOUT_MS = 300_000

COLORS = 256
"""Of the pictures, which are a third as large in a palette."""

CONTROLS = "scrollTo(0, document.querySelector('#questions').offsetTop - 16)"
"""Scrolls to the controls above the questions."""


@contextmanager
def app(folder: Path) -> Iterator[str]:
    """Runs the app with the bundled models, and yields its address."""
    command = [sys.executable, "-m", "thinkseg", "app", "--port", "0", "--tracker", "flow", "--data", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found
            yield found[0]
        finally:
            process.terminate()


def mark_and_track(page: Any, clip: Path, box: list[float], frame: int) -> None:
    """Uploads a video, draws a box on a frame, has it tracked, and shows a frame in the middle."""
    page.locator("#file").set_input_files(clip)
    page.locator("#desk:not([hidden])").wait_for()
    width, height = map(int, re.findall(r"(\d+) × (\d+)", page.locator("#video-facts").inner_text())[0])
    show(page, frame)
    page.get_by_role("button", name="Correct by hand").click()
    page.locator("canvas.screen.editing").wait_for()
    bounds = page.locator("canvas.screen").bounding_box()
    corners = [
        (bounds["x"] + x * bounds["width"] / width, bounds["y"] + y * bounds["height"] / height)
        for x, y in (box[:2], box[2:])
    ]
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.mouse.move(*corners[1], steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Track", exact=True).click()
    page.locator(".status[data-state=done]").wait_for()
    page.locator(".objects li").first.wait_for()


def show(page: Any, frame: int) -> None:
    """Shows a frame of the video, and waits for it."""
    page.locator("#scrub").fill(str(frame))
    page.wait_for_function(f"() => document.querySelector('#clock').textContent.endsWith('· {frame}')")
    page.wait_for_load_state("networkidle")


def picture_of_app(page: Any, clip: Path, box: list[float], frame: int) -> None:
    """Shows the answer on the frame with the box, with its formats listed."""
    mark_and_track(page, clip, box, frame)
    show(page, frame)
    page.locator(".files summary").click()
    page.wait_for_timeout(500)


def picture_of_report(page: Any) -> None:
    """Shows the first questions."""
    page.evaluate(CONTROLS)
    page.wait_for_load_state("networkidle")


def report(folder: Path) -> str:
    """Evaluates 12 questions about shapes, and returns the address of the report."""
    run, out = str(folder / "run"), folder / "report"
    for command in (["evaluate", "shapes", "--limit", "12", "--out", run], ["report", run, "--out", str(out)]):
        subprocess.run([sys.executable, "-m", "thinkseg", *command], check=True, stdout=subprocess.DEVNULL)
    return (out / "index.html").as_uri()


def take(browser: Any, address: str, size: dict[str, int], prepare: Callable[[Any], None], out: Path) -> None:
    """Writes a picture of a page, in light colors."""
    from PIL import Image

    page = browser.new_page(viewport=size, color_scheme="light")
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(address)
    prepare(page)
    page.screenshot(path=out)
    page.close()
    Image.open(out).convert("RGB").quantize(COLORS).save(out, optimize=True)
    print(f"{out}: {out.stat().st_size:,} bytes")


def main() -> None:
    """Takes both pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path, help="a video file")
    parser.add_argument(
        "box", type=lambda text: [float(side) for side in text.split(",")], help="x1,y1,x2,y2 in pixels"
    )
    parser.add_argument("--frame", type=int, default=0, help="frame of the box")
    parser.add_argument("--chromium", help="a browser that is installed (default: that of playwright)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=asked.chromium, args=["--no-sandbox"])
        data = Path(folder, "app")
        data.mkdir()
        with app(data) as address:
            prepare = partial(picture_of_app, clip=asked.clip, box=asked.box, frame=asked.frame)
            take(browser, address, APP_SIZE, prepare, APP)
        take(browser, report(Path(folder)), REPORT_SIZE, picture_of_report, REPORT)


if __name__ == "__main__":
    main()
