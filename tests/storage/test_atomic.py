import threading

import pytest

from thinkseg.storage.atomic import new_folder, partial_path, replacing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_replacing_block_raises_keeps_old_file(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as partial:  # noqa: PT012
        partial.write_text("new")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_replacing_file_of_a_killed_process_is_overwritten(tmp_path):
    partial_path(tmp_path / "a").write_text("half of a longer text")
    with replacing(tmp_path / "a") as partial:
        partial.write_text("new")
    assert (tmp_path / "a").read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_replacing_by_several_at_once_never_mixes(tmp_path):
    def write(letter):
        for _ in range(20):
            with replacing(tmp_path / "a") as partial, partial.open("w") as file:
                file.writelines(letter for _ in range(1000))
            found.add((tmp_path / "a").read_text())

    found = set()
    threads = [threading.Thread(target=write, args=[letter]) for letter in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found <= {letter * 1000 for letter in "xyz"}
    assert names(tmp_path) == ["a"]


def test_new_folder_after_a_killed_process_has_new_files_only(tmp_path):
    partial_path(tmp_path / "a").mkdir()
    (partial_path(tmp_path / "a") / "old").write_text("old")
    with new_folder(tmp_path / "a") as partial:
        (partial / "new").write_text("new")
        assert not (tmp_path / "a").exists()
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == ["new"]


def test_new_folder_block_raises_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "a") as partial:  # noqa: PT012
        (partial / "new").write_text("new")
        raise ZeroDivisionError
    assert names(tmp_path) == []
