"""The app in Chromium, with the bundled models: what a user does, at two sizes, with screenshots to look at."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_MS = 120_000
"""On a busy machine, loading the models takes minutes."""

SCREENSHOTS = Path("runs/test-app")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """The page with an example open, and the bundled models."""
    with opened(browser, address) as page:
        yield page


@pytest.fixture
def scripted_page(browser: Any, scripted_address: str) -> Iterator[Any]:
    """The page with an example open, and the model of `scriptedapp`."""
    with opened(browser, scripted_address) as page:
        yield page


@contextmanager
def opened(browser: Any, address: str) -> Iterator[Any]:
    """Opens the page. Anything that it logs as an error fails the test."""
    page = browser.new_page(viewport=DESKTOP)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(address)
    page.locator("#examples button").nth(3).wait_for()
    page.locator("#examples button").nth(3).click()
    page.locator("#suggestions button").first.wait_for()
    yield page
    page.close()
    assert not [one for one in problems if "Failed to load resource" not in one]


def picture(page: Any, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def ask(page: Any, query: str | None = None, chain: str = "veason") -> None:
    """Asks a question (default: the first that the page suggests)."""
    if query is None:
        page.locator("#suggestions button").first.click()
    else:
        page.locator("#query").fill(query)
    page.locator("#chain").select_option(chain)
    sent(page, page.locator("#ask-button"))


def sent(page: Any, button: Any) -> None:
    """Presses a button that asks, and waits until the new questions are shown in place of those before."""
    before = page.evaluate("() => location.hash")
    button.click()
    shown = "[...document.querySelectorAll('.column')].every((one) => location.hash.includes(one.dataset.question))"
    page.wait_for_function(f"(before) => location.hash !== before && {shown}", arg=before)


def wait_for_state(page: Any, state: str, count: int = 1) -> None:
    page.wait_for_function(
        f"() => document.querySelectorAll('.status[data-state={state}]').length === {count}", timeout=TIMEOUT_MS
    )


def wait_for_masks(page: Any) -> None:
    """Waits until objects are listed, and the picture of the frame has come."""
    page.locator(".objects li").first.wait_for()
    page.wait_for_function("() => [...document.querySelectorAll('canvas.screen')].every((one) => one.width > 300)")


def test_clip_is_segmented_then_second_question_and_phone(page: Any) -> None:
    ask(page)
    page.locator(".thinking p").first.wait_for()
    wait_for_state(page, "done")
    wait_for_masks(page)
    assert "Keyframe" in page.locator(".verdict").inner_text()
    assert page.locator(".strip button.keyframe").count() == 1
    picture(page, "answer-desktop")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#clock').textContent.endsWith('1')")
    page.locator(".objects button").click()
    assert page.locator(".objects button").inner_text() == "Show"
    page.locator(".objects input").fill("the target")
    ask(page, "segment the blue triangle")
    wait_for_state(page, "done")
    wait_for_masks(page)
    assert page.locator("#questions li").count() >= 2
    page.set_viewport_size(PHONE)
    picture(page, "answer-phone")
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="dark")
    picture(page, "answer-dark")


def test_box_by_hand_is_tracked_then_moved_and_tracked_again(page: Any) -> None:
    page.get_by_role("button", name="Correct by hand").click()
    drag(page, (0.1, 0.1), (0.4, 0.4))
    page.locator(".drafts li").first.wait_for()
    sent(page, page.get_by_role("button", name="Track", exact=True))
    wait_for_state(page, "done")
    wait_for_masks(page)
    page.get_by_role("button", name="Correct by hand").click()
    drag(page, (0.25, 0.25), (0.5, 0.5))
    page.get_by_role("button", name="point on it").click()
    page.locator("canvas.screen").click(position={"x": 200, "y": 200})
    picture(page, "correcting")
    sent(page, page.get_by_role("button", name="Track again"))
    assert "(corrected)" in page.locator(".column h2").inner_text()
    wait_for_state(page, "done")
    wait_for_masks(page)


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drags on the picture, from and to shares of its sides."""
    page.wait_for_function("() => document.querySelector('canvas.screen').classList.contains('editing')")
    bounds = page.locator("canvas.screen").bounding_box()
    places = [(bounds["x"] + x * bounds["width"], bounds["y"] + y * bounds["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=3)
    page.mouse.up()


def test_both_chains_are_side_by_side(page: Any) -> None:
    ask(page, chain="both")
    wait_for_state(page, "done", 2)
    page.wait_for_function("() => document.querySelectorAll('canvas.screen').length === 2")
    picture(page, "both-chains")


@pytest.mark.parametrize("query", ["it takes long", "it hangs"])
def test_question_is_cancelled_then_another_is_answered(scripted_page: Any, query: str) -> None:
    page = scripted_page
    ask(page, query)
    wait_for_state(page, "running")
    page.get_by_role("button", name="Cancel").click()
    wait_for_state(page, "cancelled")
    picture(page, "cancelled")
    ask(page, "it")
    wait_for_state(page, "done")
    wait_for_masks(page)


def test_bad_file_is_refused_in_one_line(page: Any, tmp_path: Path) -> None:
    bad = tmp_path / "notes.mp4"
    bad.write_text("no video")
    page.locator("#file").set_input_files(bad)
    page.locator("#upload-problem:not([hidden])").wait_for()
    assert "notes.mp4: the file is not a readable video" in page.locator("#upload-problem").inner_text()
    picture(page, "refused")
