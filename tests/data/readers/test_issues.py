"""Issues, raised or counted."""

import pytest

from thinkseg.data.readers.issues import MAX_EXAMPLES, DatasetFileError, DatasetIssues
from thinkseg.errors import DatasetError, VideoError


def test_dataset_file_error_is_dataset_error():
    assert issubclass(DatasetFileError, DatasetError)


def test_dataset_issues_default_raises_first_issue():
    issues = DatasetIssues()
    with pytest.raises(DatasetFileError, match="no such thing"), issues.skipping():
        raise DatasetFileError("unknown_id", "no such thing")
    with pytest.raises(DatasetFileError):
        issues.add(DatasetFileError("unknown_id", "no such thing"))
    assert issues.total == 0


def test_dataset_issues_keep_going_counts_and_keeps_examples():
    issues = DatasetIssues(keep_going=True)
    for number in range(MAX_EXAMPLES + 2):
        with issues.skipping():
            raise DatasetFileError("missing_mask", f"mask {number}")
    issues.add(VideoError("a broken frame"))
    assert issues.counts == {"missing_mask": MAX_EXAMPLES + 2, "missing_frame": 1}
    assert issues.total == MAX_EXAMPLES + 3
    assert issues.examples["missing_mask"] == [f"mask {number}" for number in range(MAX_EXAMPLES)]
    assert issues.examples["missing_frame"] == ["a broken frame"]


def test_skipping_issue_ends_block():
    issues, done = DatasetIssues(keep_going=True), []
    for number in range(3):
        with issues.skipping():
            if number == 1:
                raise DatasetFileError("unknown_id", "one")
            done.append(number)
    assert done == [0, 2]


def test_note_default_counts_without_raising():
    issues = DatasetIssues()
    issues.note(DatasetFileError("unexpected_count", "one too many"))
    assert issues.counts == {"unexpected_count": 1}


def test_skipping_other_errors_propagate():
    for error in (KeyError("x"), DatasetError("the whole file")):
        with pytest.raises(type(error)), DatasetIssues(keep_going=True).skipping():
            raise error
