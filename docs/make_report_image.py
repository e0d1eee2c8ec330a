"""Takes the picture of a report in docs/report.md.

    python docs/make_report_image.py runs/val-report/index.html

Needs the package playwright and a Chromium (`--chromium PATH`). The picture shows the first questions, in light colors.
"""

import argparse
from pathlib import Path

IMAGE = Path(__file__).parent / "images" / "report.jpg"

CHROMIUM = "/usr/bin/chromium"

SIZE = {"width": 1180, "height": 860}

JPEG_QUALITY = 80

SHOWN = "scrollTo(0, document.querySelector('#questions').offsetTop - 16)"
"""Scrolls to the controls above the questions."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--chromium", default=CHROMIUM)
    arguments = parser.parse_args()
    take_picture(arguments.page, IMAGE, arguments.chromium)
    print(IMAGE)


def take_picture(page: Path, image: Path, chromium: str | None = CHROMIUM) -> None:
    """Writes a picture of the questions of a report. image: a .png or .jpg. chromium: None for that of playwright."""
    from playwright.sync_api import sync_playwright

    quality = {} if image.suffix == ".png" else {"quality": JPEG_QUALITY}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
        tab.goto(page.resolve().as_uri())
        tab.evaluate(SHOWN)
        tab.wait_for_load_state("networkidle")
        tab.screenshot(path=image, **quality)  # type: ignore[arg-type]
        browser.close()


if __name__ == "__main__":
    main()
