"""Flaws, raised one by one or counted."""

import pytest

from thinkseg.data.readers.issues import ISSUE_KINDS, MAX_EXAMPLES, DatasetFileError, DatasetIssues
from thinkseg.errors import DatasetError, VideoError


def test_a_flaw_is_an_error_of_the_data_set():
    assert issubclass(DatasetFileError, DatasetError)
    assert len(ISSUE_KINDS) == len(set(ISSUE_KINDS)) > 5


def test_the_first_flaw_is_raised_unless_going_on_is_wanted():
    issues = DatasetIssues()
    with pytest.raises(DatasetFileError, match="no such thing"), issues.skipping():
        raise DatasetFileError("unknown_id", "no such thing")
    with pytest.raises(DatasetFileError):
        issues.add(DatasetFileError("unknown_id", "no such thing"))
    assert issues.total == 0


def test_flaws_are_counted_and_the_first_of_each_kind_kept():
    issues = DatasetIssues(keep_going=True)
    for number in range(MAX_EXAMPLES + 2):
        with issues.skipping():
            raise DatasetFileError("missing_mask", f"mask {number}")
    issues.add(VideoError("a broken frame"))
    assert issues.counts == {"missing_mask": MAX_EXAMPLES + 2, "missing_frame": 1}
    assert issues.total == MAX_EXAMPLES + 3
    assert issues.examples["missing_mask"] == [f"mask {number}" for number in range(MAX_EXAMPLES)]
    assert issues.examples["missing_frame"] == ["a broken frame"]


def test_the_rest_of_the_block_is_given_up():
    issues, done = DatasetIssues(keep_going=True), []
    for number in range(3):
        with issues.skipping():
            if number == 1:
                raise DatasetFileError("unknown_id", "one")
            done.append(number)
    assert done == [0, 2]


def test_oddities_are_noted_and_never_raised():
    issues = DatasetIssues()
    issues.note(DatasetFileError("unexpected_count", "one too many"))
    assert issues.counts == {"unexpected_count": 1}


def test_bugs_and_other_errors_are_not_passed_over():
    for error in (KeyError("x"), DatasetError("the whole file")):
        with pytest.raises(type(error)), DatasetIssues(keep_going=True).skipping():
            raise error
