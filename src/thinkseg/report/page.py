"""The frame of every page we write: a title and its contents in, one HTML text out that needs no other host."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

STYLE = Path(__file__).parent.parent / "assets" / "report.css"


def webpage(title: str, contents: Iterable[str]) -> str:
    """A page with the style sheet in it. title: plain text. contents: HTML, below one another."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE.read_text('utf-8')}</style></head><body><main>",
        *contents,
        "</main></body></html>",
    ]
    return "\n".join(parts) + "\n"
