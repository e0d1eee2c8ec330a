import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from thinkseg.data.shapes import load
from thinkseg.report.rollouts_page import GROUPS, write_rollouts
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import Group, RolloutScore
from thinkseg.types import Answer, Outcome, Turn

ASK = Turn(("?",))


def group(index: int = 0) -> Group:
    sample = load("val", index, (64, 64))
    prompt = Prompt(sample, (0, len(sample.video) - 1))
    boxes = np.array([[5, 5, 40, 40]], np.float32)
    good = Outcome(Answer("I <b>see</b>", 0, boxes), None, (ASK, "<think>I <b>see</b></think>"))
    bad = Outcome(None, "json", (ASK, "gibberish & more"))
    scores = (
        RolloutScore({"boxes": 0.0}, 0.0),
        RolloutScore({"boxes": 0.75}, 0.75),
        RolloutScore({"boxes": None}, 0.0),
    )
    return Group(prompt, (bad, good, bad), scores, np.array([-0.5, 1.0, -0.5]))


class Checked(HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_page_shows_attempts_from_best_to_worst_and_alike_ones_once(tmp_path: Path) -> None:
    path = write_rollouts([group()], 12, tmp_path / "rollouts")
    assert path == tmp_path / "rollouts" / "step-000012.html"
    page = path.read_text()
    checked = Checked()
    checked.feed(page)
    assert not checked.open
    assert re.findall(r">(\d\.\d\d) \(([+-]\d\.\d\d)\)<", page) == [("0.75", "+1.00"), ("0.00", "-0.50")]
    assert page.count("gibberish &amp; more") == 1
    assert "2 times" in page
    assert "unusable: json" in page
    assert "<b>see" not in page
    assert page.count("data:image/jpeg;base64,") == 2  # the truth, and the one usable answer
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_page_holds_the_first_groups(tmp_path: Path) -> None:
    page = write_rollouts([group(index) for index in range(GROUPS + 2)], 0, tmp_path).read_text()
    assert page.count("<article>") == GROUPS
