import io
from contextlib import redirect_stderr

import pytest

from thinkseg.console import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def drawn(monkeypatch):
    """What work draws on a terminal 30 columns wide, one text each time: drawn(work), where work takes a Progress."""
    monkeypatch.setenv("COLUMNS", "30")

    def drawn(work):
        with redirect_stderr(Terminal()) as terminal, Progress() as progress:
            work(progress)
        return terminal.getvalue().replace("\x1b[K", "").split("\r")[1:]

    return drawn


def test_a_terminal_shows_what_is_done_and_is_left_clean(drawn):
    def work(progress):
        progress.say("tracking")
        progress(5, 5)
        progress.say("writing")

    assert drawn(work) == ["tracking ...", "tracking 5/5", "writing ...", ""]


def test_a_line_never_wraps(drawn):
    line, _ = drawn(lambda progress: progress.say("loading " + "x" * 100))
    assert line == "loading " + "x" * 21


def test_drawing_is_rare_but_the_last_step_is_shown(drawn):
    def work(progress):
        progress.say("writing")
        for done in range(1, 10_001):
            progress(done, 10_000)

    lines = drawn(work)
    assert len(lines) < 1000
    assert lines[-2] == "writing 10000/10000"


def test_an_unknown_total_is_not_made_up(drawn):
    def work(progress):
        progress.say("evaluating")
        progress(7, 0)

    assert drawn(work)[1] == "evaluating 7"


def test_the_line_goes_when_the_work_fails():
    terminal = Terminal()
    with redirect_stderr(terminal), pytest.raises(ZeroDivisionError), Progress() as progress:  # noqa: PT012
        progress.say("tracking")
        raise ZeroDivisionError
    assert terminal.getvalue().endswith("tracking ...\x1b[K\r\x1b[K")


def test_nothing_is_shown_where_nobody_looks():
    with redirect_stderr(io.StringIO()) as file, Progress() as progress:
        progress.say("tracking")
        progress(1, 1)
    assert file.getvalue() == ""
