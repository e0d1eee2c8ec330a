"""Files of expressions."""

import pytest

from thinkseg.data.benchmarks.base import Expression, Video
from thinkseg.data.benchmarks.listing import frame_names, prediction_folder, read_listing, unique_ids, video_entry
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.data.readers.json_tree import JsonNode


def videos(value):
    return JsonNode(value, "meta.json").values()


def expression(video, entry):
    """An expression with only its text."""
    return Expression(video.id, entry.key_name(), entry["exp"].text(), "", None, (), (prediction_folder(video, entry),))


def entry(**expressions):
    return {"frames": ["0", "1"], "expressions": {key: {"exp": text} for key, text in expressions.items()}}


def test_read_listing_keeps_order_of_file():
    value = {"b/2": entry(x="one", y="two"), "a": entry(z="three")}
    listed, found = read_listing(videos(value), expression, DatasetIssues())
    assert listed == {"b/2": Video("b/2", ("0", "1")), "a": Video("a", ("0", "1"))}
    assert [one.key for one in found] == ["b/2/x", "b/2/y", "a/z"]
    assert found[1].folders == ("b/2/y",)


def test_read_listing_invalid_entries_are_skipped():
    value = {"../a": entry(x="one"), "b": {"frames": 5}, "c": entry(x="one", **{"..": "two"}), "d": entry(x="")}
    issues = DatasetIssues(keep_going=True)
    listed, found = read_listing(videos(value), expression, issues)
    assert list(listed) == ["c", "d"]
    assert [one.key for one in found] == ["c/x"]
    assert issues.counts == {"unsafe_path": 2, "invalid_field": 2}
    with pytest.raises(DatasetFileError, match=r"names '\.\./a', which could lead out"):
        read_listing(videos(value), expression, DatasetIssues())


def test_video_entry_reads_optional_size():
    node = JsonNode({"frames": ["0"], "height": 4, "width": 5}, "a", JsonNode(None, "meta.json"))
    assert video_entry(node).size_wh == (5, 4)
    node.value["width"] = "5"
    with pytest.raises(DatasetFileError, match="a > width must be an integer >= 0"):
        video_entry(node)


@pytest.mark.parametrize(
    ("frames", "complaint"),
    [
        ([], "must list at least one frame"),
        (["0", "0"], "a frame twice"),
        (["a/b"], "could lead out"),
        ("01", "must be a list"),
    ],
)
def test_frame_names_invalid_list_raises(frames, complaint):
    with pytest.raises(DatasetFileError, match=complaint):
        frame_names(JsonNode(frames, "meta.json"))


def test_unique_ids_drops_repetitions():
    assert unique_ids(JsonNode([3, "1", 3, "3"], "meta.json")) == ("3", "1")
