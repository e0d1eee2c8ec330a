"""The app as a user starts it, and Chromium to open it in. `make test-app` runs these tests; others skip them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    if not os.environ.get("THINKSEG_BROWSER"):
        pytest.skip("no browser: `make test-app` runs this")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = os.environ.get("THINKSEG_CHROMIUM") or None
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def address(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `thinkseg app` with the bundled models."""
    command = [sys.executable, "-m", "thinkseg", "app", "--port", "0", "--data", str(tmp_path_factory.mktemp("app"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout
        found = re.search(r"http://\S+", app.stdout.readline())
        assert found
        yield found[0]
        app.terminate()
