"""Videos and questions on disk: ids, the quota, and what survives a restart."""

import json

import pytest

from thinkseg.app.store import Store, file_title
from thinkseg.web.errors import RequestError


def add(store, kind, size, used, **facts):
    folder = store.new_folder(kind)
    (folder / "content").write_bytes(bytes(size))
    entry = store.add(folder, kind, facts)
    entry.used = used
    return entry


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, 10_000)


def test_reserving_deletes_least_recently_used_first(store):
    old, newer = add(store, "videos", 3000, 1), add(store, "videos", 3000, 2)
    question = add(store, "questions", 1000, 0, video=old.id)
    store.find("videos", old.id)  # used now
    with store.reserving(5000):
        assert store.used_bytes <= 5000
    assert store.videos() == [old]
    assert store.questions() == []
    assert not newer.folder.exists()
    assert not question.folder.exists()


def test_reserving_keeps_what_is_in_use_and_examples(store):
    busy = add(store, "videos", 4000, 1)
    example = add(store, "videos", 4000, 0)
    example.kept = True
    store.busy = lambda entry: entry is busy
    with pytest.raises(RequestError, match="10,000 bytes may be kept"), store.reserving(4000):
        pass
    assert set(store.videos()) == {busy, example}
    with store.reserving(1000):
        pass


def test_reservations_add_up(store):
    with store.reserving(6000), pytest.raises(RequestError), store.reserving(6000):
        pass
    with store.reserving(9000):
        pass


def test_remove_video_removes_its_questions(store):
    video, other = add(store, "videos", 1, 1), add(store, "videos", 1, 1)
    questions = [add(store, "questions", 1, 1, video=one.id) for one in (video, other)]
    store.remove(video)
    assert (store.videos(), store.questions()) == ([other], [questions[1]])


@pytest.mark.parametrize("identity", ["", "..", "../videos", "0" * 32])
def test_find_unknown_raises_404(store, identity):
    with pytest.raises(RequestError) as error:
        store.find("videos", identity)
    assert error.value.status == 404


def test_find_of_other_kind_raises_404(store):
    video = add(store, "videos", 1, 1)
    with pytest.raises(RequestError, match="no question"):
        store.find("questions", video.id)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"id": "other", "created": 1}', '{"id": 1}', '{"created": "x"}']
)
def test_damaged_entries_are_deleted_at_start(tmp_path, text):
    store = Store(tmp_path, 10_000)
    kept, damaged = add(store, "videos", 10, 1, name="kept"), add(store, "videos", 10, 1)
    (damaged.folder / "entry.json").write_text(text)
    again = Store(tmp_path, 10_000)
    assert [entry.facts["name"] for entry in again.videos()] == ["kept"]
    assert again.used_bytes == kept.bytes
    assert not damaged.folder.exists()


def test_question_of_missing_video_is_deleted_at_start(tmp_path):
    store = Store(tmp_path, 10_000)
    question = add(store, "questions", 10, 1, video="0" * 32)
    assert json.loads((question.folder / "entry.json").read_text())["video"] == "0" * 32
    assert Store(tmp_path, 10_000).questions() == []


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("my clip (2).mp4", "my-clip-2"),
        ("../../etc/passwd", "passwd"),
        ("a\0b\r\nSet-Cookie: x.mp4", "a-b-Set-Cookie-x"),
        ("猫.mov", "猫"),
        ("..", "video"),
        ("", "video"),
        (100 * "x", 60 * "x"),
    ],
)
def test_file_title_of_client_name_is_safe(store, name, title):
    assert file_title(add(store, "videos", 1, 1, name=name)) == title
