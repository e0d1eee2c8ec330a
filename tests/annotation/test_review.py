import re

from annotating import VIEW, Script, good, steps_text
from html_check import Page
from thinkseg.annotation.build import AnnotationSettings, annotate
from thinkseg.annotation.costs import CostBudget, CostTracker
from thinkseg.annotation.review import MAX_SHOWN, REVIEW, write_review


def reviewed(source, out, reply):
    """Annotates the candidates of a source and returns the text of the page."""
    settings, costs = AnnotationSettings(VIEW, 0, {}), CostTracker(CostBudget(), 50)
    annotate(source, source.candidates, Script(reply), settings, costs, out)
    return write_review(out, out / REVIEW, "A <set>").read_text()


def test_write_review_shows_kept_and_rejected_answers(clips, tmp_path):
    bad = steps_text("A <b>cat</b> comes.", "x", "y")
    page = reviewed(
        clips("single/0", "none/0", "hidden/0", "single/1"),
        tmp_path,
        lambda task: bad if task.draft.id == "single/1" else good(task),
    )
    assert "kept <b>2</b> · rejected <b>2</b>" in page
    assert page.count("<article>") == 4
    assert "rejected: invalid_format" in page
    assert "rejected: target_not_visible" in page
    assert "There is no cat here." in page


def test_write_review_page_is_self_contained_and_escaped(clips, tmp_path):
    page = reviewed(clips("single/0"), tmp_path, lambda _: steps_text("A <b>cat</b> comes.", "x", "y"))
    links = Page(page).links
    assert len(links) == 1
    assert links[0].startswith("data:image/jpeg;base64,")
    assert "A &lt;set&gt;" in page
    assert "&lt;b&gt;cat" in page
    assert not re.search(r"https?://", page)


def test_write_review_large_set_shows_at_most_max_shown(clips, tmp_path):
    page = reviewed(clips(*(f"none/{number}" for number in range(MAX_SHOWN + 5))), tmp_path, good)
    assert 0 < page.count("<article>") <= MAX_SHOWN
