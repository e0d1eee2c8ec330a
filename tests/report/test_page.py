import numpy as np
import pytest
from jinja2 import UndefinedError

from html_check import Page
from thinkseg.report.page import PageImage, jpeg_url, write_html

HOSTILE = """"><script>alert('x')</script>{{ title }}"""
ESCAPED = "&#34;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;{{ title }}"


@pytest.fixture
def render(tmp_path):
    """Renders a review page of one article: render(text, **changed fields of the article)."""

    def write(title="A page", **changes):
        item = {"id": "a", "category": "c", "query": "q", "verdict": "kept", "good": True, "image": None, "text": "t"}
        values = {"facts": {}, "reasons": {}, "hints": {}, "items": [{**item, **changes}]}
        write_html(tmp_path / "page.html", "review.html.j2", title=title, **values)
        return (tmp_path / "page.html").read_text("utf-8")

    return write


@pytest.mark.parametrize("field", ["id", "category", "query", "verdict", "text"])
def test_write_html_hostile_field_escapes_it(render, field):
    page = render(**{field: HOSTILE})
    assert ESCAPED in page
    assert "script" not in Page(page).tags


def test_write_html_hostile_title_escapes_it(render):
    page = render(title=HOSTILE)
    assert page.count(ESCAPED) == 2
    assert "script" not in Page(page).tags


def test_write_html_hostile_image_escapes_attributes(render):
    page = render(image=PageImage(HOSTILE, HOSTILE, HOSTILE))
    assert page.count(ESCAPED) == 3
    assert Page(page).links == [HOSTILE]


def test_write_html_missing_value_raises(tmp_path):
    with pytest.raises(UndefinedError, match="groups"):
        write_html(tmp_path / "page.html", "rollouts.html.j2", title="A page")
    assert not list(tmp_path.iterdir())


def test_write_html_lone_surrogate_writes_escape(render):
    assert "clip\\udcff.mp4" in render(text="clip\udcff.mp4")


def test_write_html_contains_styles_for_dark_and_small_screens(render):
    page = render()
    assert "prefers-color-scheme: dark" in page
    assert "@media (max-width: 640px)" in page
    assert 'name="viewport" content="width=device-width' in page


def test_jpeg_url_image_returns_data_url():
    assert jpeg_url(np.zeros((4, 6, 3), np.uint8)).startswith("data:image/jpeg;base64,/9j/")
