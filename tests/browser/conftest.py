"""The app as a user starts it, and Chromium to open it in. `make test-app` runs these tests; others skip them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import scriptedapp


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
    with served("-m", "thinkseg", "app", "--port", "0", "--data", str(tmp_path_factory.mktemp("app"))) as found:
        yield found


@pytest.fixture(scope="session")
def scripted_address(browser: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app whose model does what the query says."""
    with served(scriptedapp.__file__, str(tmp_path_factory.mktemp("scripted"))) as found:
        yield found


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """Runs Python until the end, and yields the address that it prints first."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as app:
        try:
            assert app.stdout
            found = re.search(r"http://\S+", app.stdout.readline())
            assert found
            yield found[0]
        finally:
            app.terminate()
