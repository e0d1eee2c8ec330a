"""Tables to read: heads and lines of cells in, text out.

On a terminal heads are bold, and a table that is wider is folded within its cells. Anywhere else a table is plain text,
however wide, a line for each line, so that it can be searched and cut into columns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

WIDE = 10_000
"""Columns of what is no terminal."""


def table(heads: Sequence[str], lines: Iterable[Sequence[str]], numbers: Collection[int] = ()) -> str:
    """A table as text, meant for standard output. numbers: columns whose cells end below one another."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A cell is text and no markup: a question may hold square brackets.
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for position, head in enumerate(heads):
        drawn.add_column(Text(head), justify="right" if position in numbers else "left", overflow="fold")
    for line in lines:
        drawn.add_row(*map(Text, line))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
