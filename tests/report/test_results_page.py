import re
from dataclasses import replace

import numpy as np
import pytest

from html_check import Page
from memory_benchmark import benchmark_of
from thinkseg.evaluation.sample_metrics import sample_row
from thinkseg.ops.masks import empty
from thinkseg.report.film_strips import ANSWER_STRIP, TRUTH_STRIP
from thinkseg.report.results_page import ReportItem, verdict, write_page
from thinkseg.types import Answer, Outcome, Segmentation, Turn, View

VIEW = View(num_frames=4, frame_wh=(8, 8))
NO_TARGET = Answer("There is <none>.", None, np.zeros((0, 4), np.float32))
FOUND = Answer("I & you saw it.", 2, np.array([[0, 0, 4, 4]], np.float32))


@pytest.fixture
def item(question):
    """Makes scored answers: item(id, answer or None, target)."""

    def make(name, answer, target=True):
        sample = question(name, target)
        masks = sample.truth if answer and answer.keyframe is not None and target else empty((8, 8), 4)
        failure = None if answer else "json"
        outcome = Outcome(answer, failure, ("<tags>",), answer.keyframe if answer else None, seconds={"policy": 0.5})
        benchmark = benchmark_of([sample])
        result = Segmentation(sample, outcome, masks)
        return ReportItem(result, sample_row(result, VIEW, benchmark, benchmark.expressions[0]), name, "overlay.mp4")

    return make


@pytest.fixture
def write(tmp_path):
    """Writes a page of the items given and returns its text."""

    def write(*items):
        write_page(items, tmp_path / "index.html", "A page", {"policy": "<p>", "chain": "veason"})
        return (tmp_path / "index.html").read_text("utf-8")

    return write


@pytest.fixture
def page(item, write):
    """The text of a page about four questions."""
    return write(
        item("star", FOUND), item("ball", None), item("bar", NO_TARGET), item("cross", NO_TARGET, target=False)
    )


def test_write_page_links_only_files_next_to_it(page):
    assert sorted(Page(page).links) == sorted(
        f"{name}/{file}"
        for name in ("star", "ball", "bar", "cross")
        for file in (ANSWER_STRIP, TRUTH_STRIP, "overlay.mp4")
    )


def test_write_page_has_no_script_and_no_other_host(page):
    assert not re.search(r"https?:|//|<script|@import|url\(", page)


def test_write_page_escapes_text(page):
    assert "There is &lt;none&gt;." in page
    assert "I &amp; you saw it." in page
    assert "&lt;tags&gt;" in page
    assert "policy <b>&lt;p&gt;</b> · chain <b>veason</b>" in page


def test_write_page_hostile_folder_quotes_links(item, write):
    links = Page(write(replace(item("star", FOUND), folder='a "#?<b>', video="100%.mp4"))).links
    assert links[0] == "a%20%22%23%3F%3Cb%3E/overlay.mp4".replace("overlay.mp4", ANSWER_STRIP)
    assert links[2] == "a%20%22%23%3F%3Cb%3E/100%25.mp4"


def test_write_page_prints_scores_and_verdicts(page):
    assert '<p class="verdict good">J 1.00  F 1.00</p>' in page
    assert '<p class="verdict bad">invalid reply: json · J 0.00  F 0.00</p>' in page
    assert "wrong: answered that there is no target" in page
    assert '<p class="verdict good">correct: no target</p>' in page
    assert "<dt>valid replies</dt><dd>3 of 4</dd>" in page
    assert "<dt>no target, correct</dt><dd>1 of 1</dd>" in page


def test_verdict_target_found_returns_answered(item):
    assert verdict(item("star", FOUND).row) == "answered"


def test_verdict_no_target_but_answered_returns_wrong(item):
    assert verdict(item("cross", FOUND, target=False).row) == "wrong: there is no target"


def test_write_page_second_turn_shows_prompt_and_reply(item, write):
    one = item("star", FOUND)
    image = np.zeros((8, 8, 3), np.uint8)
    dialogue = (Turn(("when?", image)), "<one>", Turn((image, "Find <it>.")), "[the <boxes>]")
    two = replace(one, result=replace(one.result, outcome=replace(one.result.outcome, dialogue=dialogue)))
    second_turn = "<p>Find &lt;it&gt;.</p><pre>[the &lt;boxes&gt;]</pre>"
    assert second_turn not in write(one)
    assert second_turn in write(two)


def test_write_page_names_repairs(item, write):
    one = item("star", FOUND)
    outcome = replace(one.result.outcome, repairs=("code_fence", "bare_box"))
    assert "code_fence, bare_box" in write(replace(one, result=replace(one.result, outcome=outcome)))
