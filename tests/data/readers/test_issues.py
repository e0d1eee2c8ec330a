"""Flaws, raised one by one or counted."""

import pytest

from thinkseg.data.readers.issues import EXAMPLES, KINDS, Problems, TreeError
from thinkseg.errors import DatasetError, VideoError


def test_a_flaw_is_an_error_of_the_data_set():
    assert issubclass(TreeError, DatasetError)
    assert len(KINDS) == len(set(KINDS)) > 5


def test_the_first_flaw_is_raised_unless_going_on_is_wanted():
    problems = Problems()
    with pytest.raises(TreeError, match="no such thing"), problems.skipping():
        raise TreeError("id", "no such thing")
    with pytest.raises(TreeError):
        problems.add(TreeError("id", "no such thing"))
    assert problems.total == 0


def test_flaws_are_counted_and_the_first_of_each_kind_kept():
    problems = Problems(keep_going=True)
    for number in range(EXAMPLES + 2):
        with problems.skipping():
            raise TreeError("mask", f"mask {number}")
    problems.add(VideoError("a broken frame"))
    assert problems.counts == {"mask": EXAMPLES + 2, "frame": 1}
    assert problems.total == EXAMPLES + 3
    assert problems.examples["mask"] == [f"mask {number}" for number in range(EXAMPLES)]
    assert problems.examples["frame"] == ["a broken frame"]


def test_the_rest_of_the_block_is_given_up():
    problems, done = Problems(keep_going=True), []
    for number in range(3):
        with problems.skipping():
            if number == 1:
                raise TreeError("id", "one")
            done.append(number)
    assert done == [0, 2]


def test_oddities_are_noted_and_never_raised():
    problems = Problems()
    problems.note(TreeError("count", "one too many"))
    assert problems.counts == {"count": 1}


def test_bugs_and_other_errors_are_not_passed_over():
    for error in (KeyError("x"), DatasetError("the whole file")):
        with pytest.raises(type(error)), Problems(keep_going=True).skipping():
            raise error
