"""Tables: plain where nobody looks, styled and folded on a terminal."""

import pytest
from rich.console import Console

from thinkseg.console import table

LINES = [("referring", "the [bold] one", "51.2 [49.9, 52.4]"), ("", "", "-")]


def test_plain_text_is_as_wide_as_it_has_to_be():
    question = "word " * 100 + "end"
    head, first, second = table(("kind", "question", "J"), [("a", question, "7.1"), ("b", "it", "-")], {2}).splitlines()
    assert first == f"a     {question}  7.1"
    assert head.split() == ["kind", "question", "J"]
    assert len(head) == len(first) == len(second)


def test_cells_are_text_and_no_markup():
    assert table(("", "", ""), LINES).splitlines() == [
        "",
        "referring  the [bold] one  51.2 [49.9, 52.4]",
        "                           -",
    ]


def test_a_narrow_terminal_folds_cells(monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    monkeypatch.setattr(Console, "is_terminal", True)
    lines = table(("kind", "question", "J"), LINES[:1]).splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 24 + len("\x1b[1m\x1b[0m") * 6
    text = "".join(lines)
    assert "[bold]" in text
    assert "52.4]" in text


def test_nothing_but_heads():
    assert table(("a", "b"), []) == "a  b"


@pytest.mark.parametrize("text", ["naïve – ★", "日本"])
def test_letters_of_all_kinds(text):
    assert text in table(("q",), [(text,)])
