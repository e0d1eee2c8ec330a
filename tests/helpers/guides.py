"""The guides of the project as text: their pages, code blocks and commands."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT_PAGES = [page for name in ("README", "CONTRIBUTING", "CHANGELOG") if (page := ROOT / f"{name}.md").exists()]
PAGES = [*PROJECT_PAGES, *sorted((ROOT / "docs").glob("*.md"))]

_PROMPT = re.compile(r"^(?:node\d)?\$ ", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A command of a page. words: without settings of the environment. target: the file that its output goes to."""

    page: str
    words: tuple[str, ...]
    target: str | None = None

    @property
    def program(self) -> str:
        return self.words[0]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def text_of(page: str) -> str:
    """The text of a page by its file name."""
    return next(path for path in PAGES if path.name == page).read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The contents of the fenced code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def inline_code(text: str) -> list[str]:
    """The code in the running text, without that in fenced blocks."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def commands(page: Path) -> Iterator[Command]:
    """The commands of a page, in order. Variables that a block sets are replaced in it."""
    text = page.read_text("utf-8")
    for block in (*blocks(text, "console"), *blocks(text, "bash")):
        variables: dict[str, str] = {}
        for line in _lines(block):
            if assigned := re.fullmatch(r'(\w+)="(.*)"', line):
                variables[assigned[1]] = assigned[2]
            else:
                filled = re.sub(r"\$(\w+)", lambda name, values=variables: values.get(name[1], name[0]), line)
                yield from _parts(page.name, shlex.split(filled, comments=True))


def _lines(block: str) -> list[str]:
    """The lines of a block after a prompt, with those that continue them."""
    joined = re.sub(r"\\\n\s*", "", block)
    return [_PROMPT.sub("", line) for line in joined.splitlines() if _PROMPT.match(line)]


def _parts(page: str, words: list[str]) -> Iterator[Command]:
    """The commands of a line that are joined with &&."""
    while words:
        end = words.index("&&") if "&&" in words else len(words)
        part, words = words[:end], words[end + 1 :]
        while part and re.match(r"[A-Z_]+=", part[0]):
            part = part[1:]
        target = part[part.index(">") + 1] if ">" in part else None
        yield Command(page, tuple(part[: part.index(">")] if target else part), target)
