"""The line that tells how far a scoring is."""

import pytest

from thinkseg.console import Meter, duration


class Lines:
    """Stands in for `console.Progress`."""

    def __init__(self):
        self.said = []

    def say(self, doing):
        self.said.append(doing)


@pytest.fixture
def clock(monkeypatch):
    """The time, to be set: clock[0]."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def row(j, f, target=True):
    return {"j": j, "f": f, "target": target}


def test_rows_scores_and_time_left(clock):
    lines = Lines()
    meter = Meter(lines, 10)
    # Two rows of an earlier run, which took no time now.
    meter(row(0.5, 0.7), 1)
    meter(row(None, None, target=None), 2)
    clock[0] += 60
    meter(row(1.0, 1.0), 3)
    clock[0] += 60
    meter(row(1.0, 1.0, target=False), 4)
    assert lines.said == [
        "evaluating 1/10, J&F 60.0",
        "evaluating 2/10, J&F 60.0",
        "evaluating 3/10, J&F 80.0, 7 min left",
        "evaluating 4/10, J&F 80.0, 6 min left",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (100, "2 min"), (5000, "83 min"), (9000, "2.5 h")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words
