"""Takes the picture of a report in docs/report.md.

    python docs/make_report_image.py runs/val-report/index.html

Needs the package playwright and a Chromium (`--chromium PATH`). The picture shows the first questions, in light colors.
"""

import argparse
from pathlib import Path

IMAGE = Path(__file__).parent / "images" / "report.jpg"

SIZE = {"width": 1180, "height": 860}

JPEG_QUALITY = 80

SHOWN = "document.querySelector('.cards').previousElementSibling.previousElementSibling.scrollIntoView()"
"""Scrolls to the controls above the questions."""


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
        tab.goto(arguments.page.resolve().as_uri())
        tab.evaluate(SHOWN)
        tab.wait_for_load_state("networkidle")
        tab.screenshot(path=IMAGE, type="jpeg", quality=JPEG_QUALITY)
        browser.close()
    print(IMAGE)


if __name__ == "__main__":
    main()
