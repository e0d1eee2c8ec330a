"""The page of a set."""

import re

from annotating import VIEW, Script, form, good
from thinkseg.annotation.build import Plan, make
from thinkseg.annotation.costs import Budget, CostTracker
from thinkseg.annotation.review import SHOWN, write_review


def reviewed(source, out, say):
    annotator = Script(say)
    made = make(source, source.candidates, annotator, Plan(VIEW, 0, {}), CostTracker(Budget(), 50), out)
    return write_review(made.verdicts, out, "A <set>").read_text()


def test_a_page_shows_what_was_kept_and_what_was_not(clips, tmp_path):
    bad = form("A <b>cat</b> comes.", "x", "y")
    page = reviewed(
        clips("single/0", "none/0", "unseen/0", "single/1"),
        tmp_path,
        lambda task: bad if task.draft.id == "single/1" else good(task),
    )
    assert "A &lt;set&gt;" in page
    assert "kept <b>2</b> · rejected <b>2</b>" in page
    assert page.count("<article>") == 4
    assert page.count("data:image/jpeg;base64,") == 3
    assert "rejected: form" in page
    assert "rejected: unseen" in page
    assert "&lt;b&gt;cat" in page
    assert "There is no cat here." in page
    assert not re.search(r"https?://", page)


def test_a_large_set_is_shown_in_part(clips, tmp_path):
    page = reviewed(clips(*(f"none/{number}" for number in range(SHOWN + 5))), tmp_path, good)
    assert 0 < page.count("<article>") <= SHOWN
