import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from thinkseg.evaluation.shapes_scores import judge
from thinkseg.ops.masks import empty
from thinkseg.report.film_strips import film_strip, truth_strip, write_pictures
from thinkseg.report.page import STYLE
from thinkseg.report.results_page import STRIP, TRUTH, ReportItem, verdict, write_page
from thinkseg.types import Answer, Segmentation, Turn, VideoSample, View

VIEW = View(num_frames=4, frame_wh=(8, 8))
NOWHERE = Answer("There is <none>.", None, np.zeros((0, 4), np.float32))
FOUND = Answer("I & you saw it.", 2, np.array([[0, 0, 4, 4]], np.float32))


@pytest.fixture
def exhibit(question):
    """Makes scored answers: exhibit(id, answer or None, target)."""

    def make(name, answer, target=True):
        sample = question(name, target)
        masks = sample.truth if answer and answer.keyframe is not None and target else empty((8, 8), 4)
        failure = None if answer else "json"
        result = Segmentation(sample, answer, masks, ("<tags>",), failure, {"policy": 0.5})
        return ReportItem(result, judge(result, VIEW), name, "overlay.mp4")

    return make


class Links(HTMLParser):
    """What a page refers to, and that its tags close."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href", "poster")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(exhibit, tmp_path):
    """The text of a page about four questions."""
    exhibits = [
        exhibit("star", FOUND),
        exhibit("ball", None),
        exhibit("bar", NOWHERE),
        exhibit("cross", NOWHERE, target=False),
    ]
    write_page(exhibits, tmp_path / "index.html", "A page", {"policy": "<p>"})
    return (tmp_path / "index.html").read_text("utf-8")


def test_every_tag_closes_and_every_link_is_a_file_beside_the_page(page):
    links = Links(page)
    assert links.open == []
    assert sorted(links.links) == sorted(
        f"{name}/{file}" for name in ("star", "ball", "bar", "cross") for file in (STRIP, TRUTH, "overlay.mp4")
    )


def test_the_page_needs_no_other_host_and_no_script(page):
    assert not re.search(r"https?:|//|<script|@import|url\(", page)


def test_the_page_suits_dark_rooms_and_small_screens(page):
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport" content="width=device-width' in page


def test_what_a_model_or_a_user_wrote_is_text(page):
    assert "There is &lt;none&gt;." in page
    assert "I &amp; you saw it." in page
    assert "&lt;tags&gt;" in page
    assert "policy <b>&lt;p&gt;</b>" in page


def test_scores_and_verdicts_are_on_the_page(page):
    assert "J 1.00  F 1.00" in page
    assert "reply unusable (json) · J 0.00  F 0.00" in page
    assert "missed: said there is none" in page
    assert "right: there is none" in page
    assert "<dt>replies usable</dt><dd>3 of 4</dd>" in page
    assert "<dt>no target, rightly</dt><dd>1 of 1</dd>" in page


def test_a_wrong_find_is_called_so(exhibit):
    assert verdict(exhibit("cross", FOUND, target=False).row) == "wrong: there is none"
    assert verdict(exhibit("star", FOUND).row) == "answered"


def test_pictures(exhibit, tmp_path):
    for number, shown in enumerate([exhibit("star", FOUND), exhibit("ball", None), exhibit("bar", NOWHERE)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_pictures(shown.result, VIEW, folder)
        sizes = []
        for name in (STRIP, TRUTH):
            with Image.open(folder / name) as picture:
                sizes.append(picture.size)
        # One above the other on the page, frame above frame.
        assert sizes[0][0] == sizes[1][0]


def test_captions_make_the_picture_tell_the_whole_story(exhibit):
    result = exhibit("star", FOUND).result
    plain, told = film_strip(result, VIEW, width=600), film_strip(result, VIEW, captions=True, width=600)
    assert told.shape[0] > plain.shape[0]
    assert told.dtype == np.uint8


def test_an_unknown_truth_cannot_be_drawn(exhibit):
    result = exhibit("star", FOUND).result
    unknown = Segmentation(
        VideoSample("x", result.sample.video, "the star"), result.answer, result.masklets, result.dialogue
    )
    with pytest.raises(ValueError, match="'x' has no truth"):
        truth_strip(unknown, VIEW)


def test_the_style_is_shipped():
    assert STYLE.is_file()


def test_a_second_turn_is_shown_with_what_was_asked(exhibit, tmp_path):
    one = exhibit("star", FOUND)
    image = np.zeros((8, 8, 3), np.uint8)
    dialogue = (Turn(("when?", image)), "<one>", Turn((image, "Find <it>.")), "[the <boxes>]")
    two = replace(one, result=replace(one.result, dialogue=dialogue))
    for number, shown in enumerate((one, two)):
        write_page([shown], tmp_path / f"{number}.html", "A page", {})
        text = (tmp_path / f"{number}.html").read_text("utf-8")
        assert ("<p>Find &lt;it&gt;.</p><pre>[the &lt;boxes&gt;]</pre>" in text) == bool(number)
        assert Links(text).open == []
