import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from html_check import Page
from thinkseg.data.shapes import load
from thinkseg.report.pages.rollouts import MAX_GROUPS, write_rollouts
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import Group, RolloutScore
from thinkseg.types import Answer, Outcome, Turn

PROMPT = Turn(("?",))


def group(index: int = 0) -> Group:
    sample = load("val", index, (64, 64))
    prompt = Prompt(sample, (0, len(sample.video) - 1))
    boxes = np.array([[5, 5, 40, 40]], np.float32)
    good = Outcome(Answer("I <b>see</b>", 0, boxes), None, (PROMPT, "<think>I <b>see</b></think>"))
    bad = Outcome(None, "invalid_json", (PROMPT, "gibberish & more"))
    scores = (
        RolloutScore({"boxes": 0.0}, 0.0),
        RolloutScore({"boxes": 0.75}, 0.75),
        RolloutScore({"boxes": None}, 0.0),
    )
    return Group(prompt, (bad, good, bad), scores, np.array([-0.5, 1.0, -0.5]))


def test_write_rollouts_sorts_by_reward_and_shows_equal_replies_once(tmp_path: Path) -> None:
    path = write_rollouts([group()], 12, tmp_path / "rollouts")
    assert path == tmp_path / "rollouts" / "step-000012.html"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    page = path.read_text()
    assert re.findall(r">reward (\d\.\d\d), advantage ([+-]\d\.\d\d)<", page) == [("0.75", "+1.00"), ("0.00", "-0.50")]
    assert page.count("gibberish &amp; more") == 1
    assert "boxes (R_s) 0.00 · 2 times · invalid: the answer is not JSON of the required type" in page
    assert "rewards 0.00 to 0.75" in page


def test_write_rollouts_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    page = write_rollouts([group()], 0, tmp_path).read_text()
    links = Page(page).links
    assert len(links) == 2  # the ground truth, and the only valid answer
    assert all(link.startswith("data:image/jpeg;base64,") for link in links)
    assert "I &lt;b&gt;see&lt;/b&gt;" in page
    assert "<b>see" not in page


def test_write_rollouts_many_groups_shows_first_ones(tmp_path: Path) -> None:
    page = write_rollouts([group(index) for index in range(MAX_GROUPS + 2)], 0, tmp_path).read_text()
    assert page.count("<article>") == MAX_GROUPS


def test_write_rollouts_zero_advantage_has_neutral_color(tmp_path: Path) -> None:
    equal = replace(group(), advantages=np.zeros(3))
    page = write_rollouts([equal], 0, tmp_path).read_text()
    assert page.count('<p class="verdict">reward ') == 2
