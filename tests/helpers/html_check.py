"""Checks of HTML pages."""

import re
from html.parser import HTMLParser

VOID = ("meta", "img", "link", "br", "input")

OUTSIDE = re.compile(r"""https?:|@import|url\(|(?:src|href|action)\s*=\s*["']?\s*//""")
"""What loads from another host."""


class Page(HTMLParser):
    """A parsed page: `links` are its references, those to itself (#) aside, `ids` its anchors, `text` what is read.

    Raises AssertionError if a tag is not closed in order.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.scripts = 0
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.scripts += tag == "script"
        self.attributes += [(name, value or "") for name, value in attrs]
        found = [value or "" for name, value in attrs if name in ("src", "href", "poster")]
        self.links += [link for link in found if not link.startswith("#")]
        self.anchors += [link[1:] for link in found if link.startswith("#")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        # Elements of SVG may close themselves.
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


def check_page(text: str) -> Page:
    """Returns a page. Raises AssertionError if it loads from another host, or its links to itself lead nowhere."""
    page = Page(text)
    assert not OUTSIDE.search(text)
    assert len(set(page.ids)) == len(page.ids)
    assert set(page.anchors) <= set(page.ids)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    return page
