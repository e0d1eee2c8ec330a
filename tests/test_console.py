"""Tables as plain text, and the progress line of a terminal."""

import io
import re
from contextlib import redirect_stderr
from itertools import groupby

import pytest
from rich.console import Console

from thinkseg.console import Meter, Progress, TimeLeft, duration, say, table

LINES = [("referring", "the [bold] one", "51.2 [49.9, 52.4]"), ("", "", "-")]


def test_table_is_as_wide_as_its_cells():
    question = "word " * 100 + "end"
    head, first, second = table(("kind", "question", "J"), [("a", question, "7.1"), ("b", "it", "-")], {2}).splitlines()
    assert first == f"a     {question}  7.1"
    assert head.split() == ["kind", "question", "J"]
    assert len(head) == len(first) == len(second)


def test_table_square_brackets_are_no_markup():
    assert table(("", "", ""), LINES).splitlines() == [
        "",
        "referring  the [bold] one  51.2 [49.9, 52.4]",
        "                           -",
    ]


@pytest.fixture
def _narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(Console, "is_terminal", True)


WIDE = [("referring", "the [bold] one " * 20, "51.2 [49.9, 52.4]", "clips/7_3-of-a-long-video-0123456789")]


@pytest.mark.usefixtures("_narrow_terminal")
def test_table_stored_on_terminal_equals_that_in_pipe():
    assert table(("kind", "question", "J"), LINES[:1], stored=True).splitlines() == [
        "kind       question        J",
        "referring  the [bold] one  51.2 [49.9, 52.4]",
    ]


@pytest.mark.usefixtures("_narrow_terminal")
@pytest.mark.parametrize("width", [80, 72])
def test_table_on_terminal_is_wrapped_to_fit_it(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    lines = table(("kind", "question", "J", "id"), WIDE).splitlines()
    assert max(map(len, lines)) <= width
    assert " ".join("\n".join(lines).split()).count("[bold]") == 20


@pytest.mark.usefixtures("_narrow_terminal")
def test_table_on_narrow_terminal_breaks_no_word():
    words = table(("kind", "question", "J", "id"), WIDE).split()
    assert {"referring", "51.2", "[49.9,", "52.4]", "clips/7_3-of-a-long-video-0123456789"} <= set(words)


def test_table_without_terminal_has_one_line_per_row(monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    (_, line) = table(("kind", "question", "J", "id"), WIDE).splitlines()
    assert "…" not in line
    assert line.count("[bold]") == 20


def test_table_without_rows_is_its_head():
    assert table(("a", "b"), []) == "a  b"


@pytest.mark.parametrize("text", ["naïve – ★", "日本"])
def test_table_keeps_letters_of_all_kinds(text):
    assert text in table(("q",), [(text,)])


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, to be set: clock[0]."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def drawn(monkeypatch):
    """The texts that work draws on a terminal 30 columns wide: drawn(work), where work takes a Progress."""
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "xterm-256color")

    def drawn(work):
        with redirect_stderr(Terminal()) as terminal, Progress() as progress:
            work(progress)
        return screens(terminal)

    return drawn


def screens(terminal):
    """The texts that were on the line one after another; an empty text where it was erased."""
    visible = re.sub(r"\x1b\[\?25[lh]", "", terminal.getvalue())
    texts = (text.strip() for text in re.split(r"(?:\x1b\[1A|\r|\x1b\[2K)+", visible))
    return [text for text, _ in groupby(texts)]


def test_progress_on_terminal_shows_steps_and_leaves_it_clean(drawn):
    def work(progress):
        progress.show("tracking")
        progress(5, 5)
        progress.show("writing")

    lines = drawn(work)
    assert [line for line in lines if line] == ["tracking ...", "tracking 5/5", "writing ..."]
    assert lines[-1] == ""


def test_progress_long_line_is_truncated(drawn):
    (line,) = filter(None, drawn(lambda progress: progress.show("loading " + "x" * 100)))
    assert line == "loading " + "x" * 21 + "…"


def test_progress_draws_rarely_but_shows_the_last_step(drawn):
    def work(progress):
        progress.show("writing")
        for done in range(1, 10_001):
            progress(done, 10_000)

    lines = list(filter(None, drawn(work)))
    assert len(lines) < 1000
    assert lines[-1] == "writing 10000/10000"


def test_progress_unknown_total_shows_number_done(drawn):
    def work(progress):
        progress.show("evaluating")
        progress(7, 0)

    assert "evaluating 7" in drawn(work)


@pytest.mark.usefixtures("drawn")
def test_progress_failure_removes_the_line():
    terminal = Terminal()
    with redirect_stderr(terminal), pytest.raises(ZeroDivisionError), Progress() as progress:  # noqa: PT012
        progress.show("tracking")
        raise ZeroDivisionError
    assert screens(terminal)[-1] == ""


def test_progress_in_pipe_short_work_writes_nothing():
    with redirect_stderr(io.StringIO()) as file, Progress() as progress:
        progress.show("tracking")
        progress(1, 1)
    assert file.getvalue() == ""


def test_progress_in_pipe_long_work_writes_a_line_now_and_then_and_at_the_end(clock):
    with redirect_stderr(io.StringIO()) as file, Progress() as progress:
        progress.show("evaluating")
        for done in range(1, 101):
            clock[0] += 1
            progress(done, 100)
    assert file.getvalue().splitlines() == [
        "thinkseg: evaluating 30/100, 70 s left",
        "thinkseg: evaluating 60/100, 40 s left",
        "thinkseg: evaluating 90/100, 10 s left",
        "thinkseg: evaluating 100/100",
    ]


def test_progress_in_pipe_steps_without_numbers_are_written_as_well(clock):
    with redirect_stderr(io.StringIO()) as file, Progress() as progress:
        progress.show("loading")
        clock[0] += 40
        progress.show("prompting")
    assert file.getvalue() == "thinkseg: prompting ...\n"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_progress_note_stays(stream, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    with redirect_stderr(stream()) as file, Progress() as progress:
        progress.show("tracking")
        progress.note("box 1,1,99,5 is clipped to the frame of 8x6 pixels")
    assert "thinkseg: box 1,1,99,5 is clipped to the frame of 8x6 pixels\n" in file.getvalue()


class Lines:
    """Stands in for `Progress`, and lists the steps shown."""

    def __init__(self):
        self.shown = []

    def show(self, step):
        self.shown.append(step)


def row(j, f, target=True):
    return {"j": j, "f": f, "has_target": target}


def test_meter_shows_rows_scores_and_time_left(clock):
    lines = Lines()
    meter = Meter(lines, 10)
    # Two rows of an earlier run, which took no time now.
    meter(row(0.5, 0.7), 1)
    meter(row(None, None, target=None), 2)
    clock[0] += 60
    meter(row(1.0, 1.0), 3)
    clock[0] += 60
    meter(row(1.0, 1.0, target=False), 4)
    assert lines.shown == [
        "evaluating 1/10, J&F 60.0",
        "evaluating 2/10, J&F 60.0",
        "evaluating 3/10, J&F 80.0, 7 min left",
        "evaluating 4/10, J&F 80.0, 6 min left",
    ]


def test_time_left_first_call_late_ignores_rows_before(clock):
    time_left = TimeLeft(10)
    clock[0] += 60
    assert time_left(9) == "60 s left"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (100, "2 min"), (5000, "83 min"), (9000, "2.5 h")]
)
def test_duration_is_rounded(seconds, words):
    assert duration(seconds) == words


def test_say_path_with_control_characters_is_one_line(capsys):
    say("wrote a\rb\x1b[2J")
    assert capsys.readouterr().out == "wrote a b\\x1b[2J\n"


def test_progress_adds_up_the_seconds_of_each_step(clock):
    progress = Progress()
    assert progress.seconds == {}
    for step, seconds in (("loading", 2.0), ("answering", 3.0), ("writing", 0.5), ("answering", 4.0)):
        progress.show(step, "1 of 2:")
        clock[0] += seconds
    assert progress.seconds == {"loading": 2.0, "answering": 7.0, "writing": 0.5}
