"""Which questions a command line or a file asks, and what is wrong with a file."""

import json
from pathlib import Path

import pytest

from thinkseg.errors import DatasetError, SettingsError, VideoError
from thinkseg.segmenter.questions import Question, questions_about


@pytest.fixture
def clips(tmp_path):
    """Two videos in a folder, which are not opened here."""
    for name in ("b.mp4", "a.mp4"):
        (tmp_path / "clips" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "clips" / name).write_bytes(b"")
    return tmp_path / "clips"


@pytest.fixture
def asked(tmp_path):
    """Writes a file of questions and returns them as (id, name of the video, query): asked(text, *videos)."""

    def asked(text, *videos, name="q.csv"):
        (tmp_path / name).write_text(text, "utf-8")
        questions = questions_about(videos, [], tmp_path / name)
        return [(one.id, one.video.name, one.query) for one in questions]

    return asked


def test_questions_folder_asks_each_query_about_each_video(clips):
    assert questions_about([clips], ["the  cat", "the dog"]) == [
        Question("a-1", clips / "a.mp4", "the cat"),
        Question("a-2", clips / "a.mp4", "the dog"),
        Question("b-1", clips / "b.mp4", "the cat"),
        Question("b-2", clips / "b.mp4", "the dog"),
    ]


def test_questions_videos_named_twice_are_asked_once(clips):
    assert len(questions_about([clips / "a.mp4", clips], ["it"])) == 2


def test_questions_same_names_get_different_ids(clips, tmp_path):
    (tmp_path / "A.mp4").write_bytes(b"")
    (tmp_path / ".. x?.mp4").write_bytes(b"")
    videos = [clips / "a.mp4", tmp_path / "A.mp4", tmp_path / ".. x?.mp4"]
    assert [one.id for one in questions_about(videos, ["it"])] == ["a-1", "A-1-2", "video_.._x_-1"]


def test_questions_file_names_its_own_videos_and_ids(clips, asked):
    text = 'id,video,query\nfirst,clips/b.mp4,the cat\n,clips/a.mp4,"it, there"\n\n,clips/b.mp4,the dog\n'
    expected = [("first", "b.mp4", "the cat"), ("b-2", "b.mp4", "the dog"), ("a-1", "a.mp4", "it, there")]
    assert asked("\ufeff" + text) == expected
    lines = [{"id": "first", "video": "clips/b.mp4", "query": "the cat"}, {"video": "clips/a.mp4", "query": "it"}]
    assert asked("\n".join(map(json.dumps, lines)), name="q.jsonl") == [expected[0], ("a-1", "a.mp4", "it")]


def test_questions_file_of_queries_is_about_all_videos(clips, asked):
    text = "query,id\nthe cat,cat\nthe dog,\n"
    assert [one[0] for one in asked(text, clips)] == ["a-cat", "a-2", "b-cat", "b-2"]
    assert [one[0] for one in asked(text, clips / "b.mp4")] == ["cat", "b-2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clips/a.mp4,the cat\n", "q.csv, line 1: must name the columns"),
        ("video;query\n", "q.csv, line 1: must name the columns"),
        ("query,query\n", "q.csv, line 1: must name the columns"),
        ("", "q.csv, line 1: must name the columns"),
        ("video,query\n", "q.csv: has no question"),
        ("video,query\nclips/a.mp4,it\nclips/x.mp4,it\n", r"q.csv, line 3: .*x.mp4 does not exist; paths start at"),
        ("video,query\nclips/a.mp4,it\n,it\n", "q.csv, line 3: names no video, as other rows do"),
        ("video,query\nclips/a.mp4, \n", "q.csv, line 2: the query is empty"),
        ("video,query\nclips/a.mp4,it, there\n", "q.csv, line 2: has 3 cells for 2 columns; quote a query"),
        ('video,query\nclips/a.mp4,"it\n', r"q.csv, line 2: is not CSV \(unexpected end of data\)"),
        ("id,video,query\nX,clips/a.mp4,it\nx,clips/b.mp4,it\n", "q.csv, line 3: id 'x' is that of .*line 2, too"),
        ("query\nit\n", "VIDEO: is missing; name the videos that the queries are about"),
        *(
            (f"id,video,query\n{name},clips/a.mp4,it\n", "q.csv, line 2: id .* cannot name a folder")
            for name in ("../up", "a/b", "..", ".hidden", "Index.csv", "x" * 101, "end.")
        ),
    ],
)
def test_questions_invalid_csv_raises_with_its_line(clips, asked, text, words):
    with pytest.raises(SettingsError, match=words):
        asked(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"video": "clips/a.mp4", "query": "it"}\n{"query"', "q.jsonl, line 2: not JSON"),
        ('{"video": "clips/a.mp4", "query": 3}', "q.jsonl, line 1: query must be text, not 3"),
        ('["it"]', "q.jsonl, line 1 must be an object with fields"),
        ('{"video": "clips/a.mp4", "text": "it"}', "q.jsonl, line 1: 'text' is unknown; columns are video, query, id"),
    ],
)
def test_questions_invalid_json_raises_with_its_line(clips, asked, text, words):
    with pytest.raises((SettingsError, DatasetError), match=words):
        asked(text, name="q.jsonl")


def test_questions_other_suffix_missing_file_and_other_encoding_raise(asked, tmp_path):
    with pytest.raises(SettingsError, match=r"give one that ends in .csv or .jsonl"):
        asked("query\nit\n", name="q.txt")
    with pytest.raises(DatasetError, match="cannot be read"):
        questions_about([], [], Path("nowhere.csv"))
    (tmp_path / "latin.csv").write_bytes("query\nder Käfer\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="is not UTF-8"):
        questions_about([], [], tmp_path / "latin.csv")


def test_questions_videos_in_two_places_raise(clips, asked):
    with pytest.raises(SettingsError, match="is given, and --queries names videos; give them in one place"):
        asked("video,query\nclips/a.mp4,it\n", clips)


def test_questions_mixed_folder_and_missing_video_raise(clips):
    (clips / "cover.jpg").write_bytes(b"")
    with pytest.raises(VideoError, match="holds images and videos"):
        questions_about([clips], ["it"])
    (clips / "empty").mkdir()
    with pytest.raises(VideoError, match="empty has no frames"):
        questions_about([clips / "a.mp4", clips / "empty"], ["it"])
    with pytest.raises(VideoError, match=r"nowhere.mp4 does not exist"):
        questions_about([Path("nowhere.mp4")], ["it"])
