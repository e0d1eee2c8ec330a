"""The report of an evaluation in Chromium, opened from disk: what a reader does with the questions."""

from pathlib import Path
from typing import Any

import pytest

from evaluations import read_rows, write_evaluation, write_rows
from thinkseg.data import open_benchmark
from thinkseg.report.pages.write import write_report

SCREENSHOTS = Path("runs/test-app")


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """The page of five questions: one has a reply that cannot be read, one has no target, the others are right."""
    benchmark = open_benchmark("shapes", limit=30)
    none = next(one for one in benchmark.expressions if not one.objects)
    run = write_evaluation(tmp_path / "run", benchmark, [*benchmark.expressions[:3], none])
    bad = write_evaluation(tmp_path / "bad", benchmark, benchmark.expressions[3:4], right=False)
    write_rows(run, [*read_rows(run), *read_rows(bad)])
    return write_report([run], tmp_path / "page", None, 50).page


@pytest.fixture
def page(browser: Any, report: Path) -> Any:
    """The page in a tab. Anything that it logs as an error fails the test."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    tab.goto(report.as_uri())
    yield tab
    tab.close()
    assert not problems


def shown(page: Any) -> list[str]:
    """The ids of the questions that are shown, in order."""
    return page.locator("article:not([hidden])").evaluate_all("cards => cards.map((card) => card.id)")


def test_report_is_filtered_searched_and_scrubbed(page: Any, report: Path) -> None:
    everything = shown(page)
    assert len(everything) == 5
    assert "invalid reply" in page.locator("article").first.inner_text()  # the worst is first

    page.get_by_label("Outcome").select_option("no_target")
    (lone,) = shown(page)
    assert page.locator(".toolbar output").inner_text() == "1 of 5"
    assert "correct: no target" in page.locator(f"[id='{lone}']").inner_text()

    page.get_by_label("Outcome").select_option("")
    query = page.locator("article h3").nth(2).inner_text().strip("“”")
    page.get_by_role("searchbox").fill(query)
    assert everything[2] in shown(page)
    page.get_by_role("searchbox").fill("in no question")
    assert shown(page) == []
    page.get_by_role("button", name="Show all").click()
    assert shown(page) == everything

    card = page.locator(f"[id='{everything[2]}']")
    slider = card.get_by_label("Frame")
    slider.fill("0")
    first = card.locator(".player figcaption").inner_text()
    assert "J 1.00" in first
    slider.press("ArrowRight")
    assert card.locator(".player figcaption").inner_text() != first
    assert slider.get_attribute("aria-valuetext") in card.locator(".player figcaption").inner_text()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "report.png")


def test_report_link_to_a_question_shows_it_although_a_filter_hides_it(page: Any, report: Path) -> None:
    last = shown(page)[-1]
    page.get_by_label("Outcome").select_option("invalid")
    assert last not in shown(page)
    page.goto(f"{report.as_uri()}#{last}")
    page.wait_for_function("(name) => !document.getElementById(name).hidden", arg=last)
    page.wait_for_function(
        "(name) => Math.abs(document.getElementById(name).getBoundingClientRect().top) < 300", arg=last
    )


def test_report_keys_move_through_questions(page: Any) -> None:
    first, second = shown(page)[:2]
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.id") == second
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.id") == first
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"


def test_report_on_a_phone_is_no_wider_than_it(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=SCREENSHOTS / "report-phone.png")
