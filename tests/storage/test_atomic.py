import os
import zipfile
from pathlib import Path

import pytest

from thinkseg.errors import SettingsError
from thinkseg.storage.atomic import STAMP, check_out, replacing, result_folder, writing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_result_folder_block_ends_folder_appears(tmp_path):
    out = tmp_path / "deep" / "out"
    with result_folder(out) as folder:
        (folder / "a.txt").write_text("a")
        assert not out.exists()
    assert names(out) == [STAMP, "a.txt"]
    assert names(out.parent) == ["out"]


def test_result_folder_block_raises_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), result_folder(tmp_path / "out") as folder:  # noqa: PT012
        (folder / "a.txt").write_text("a")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_result_folder_earlier_result_replaced_only_after_success(tmp_path):
    out = tmp_path / "out"
    with result_folder(out) as folder:
        (folder / "old.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), result_folder(out):
        raise KeyboardInterrupt
    assert names(out) == [STAMP, "old.txt"]
    with result_folder(out) as folder:
        (folder / "new.txt").write_text("new")
        assert names(out) == [STAMP, "old.txt"]
    assert names(out) == [STAMP, "new.txt"]
    assert names(tmp_path) == ["out"]


def test_result_folder_empty_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    with result_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
    assert names(tmp_path / "out") == [STAMP, "a.txt"]


@pytest.mark.parametrize("stamp", [None, "", "[]", '{"entries": 3}', '{"entries": ["thesis.tex"]}'])
def test_result_folder_other_files_raises_and_keeps_them(tmp_path, stamp):
    (tmp_path / "letters").mkdir()
    (tmp_path / "thesis.tex").write_text("years of work")
    if stamp is not None:
        (tmp_path / STAMP).write_text(stamp)
    before = names(tmp_path)
    with pytest.raises(SettingsError, match=r"has '(\.thinkseg|letters)'"), result_folder(tmp_path):
        pytest.fail("the folder was given out")
    assert names(tmp_path) == before


def test_check_out_file_added_to_result_raises(tmp_path):
    with result_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match=r"notes\.txt"):
        check_out(tmp_path / "out")


def test_result_folder_link_stays_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with result_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
    assert (tmp_path / "out").is_symlink()
    assert names(tmp_path / "disk") == [STAMP, "a.txt"]


def test_result_folder_disk_full_error_names_folder(tmp_path):
    refusal = OSError(28, "No space left on device")
    with pytest.raises(SettingsError, match=r"out \(No space left on device\)"), result_folder(tmp_path / "out"):
        raise refusal
    assert names(tmp_path) == []


@pytest.mark.parametrize("folder", [writing, result_folder])
def test_writing_input_error_propagates(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"input\.jpg"), folder(tmp_path / "out"):
        (tmp_path / "input.jpg").read_bytes()


@pytest.mark.parametrize("folder", [writing, result_folder])
def test_writing_read_error_without_file_name_propagates(tmp_path, folder):
    with pytest.raises(OSError, match="Input/output error"), folder(tmp_path / "out"):
        raise OSError(5, "Input/output error")


def test_writing_file_below_output_is_missing_names_folder(tmp_path):
    with pytest.raises(SettingsError, match=r"results to .*out \(No such file"), writing(tmp_path / "out"):
        (tmp_path / "out" / "a" / "b.txt").write_text("")


def test_writing_folder_below_file_names_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"results to .*out \(Not a directory"), writing(tmp_path / "file" / "out"):
        (tmp_path / "file" / "out").mkdir(parents=True)


def test_writing_relative_output_names_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="results to out "), writing(Path("out")):
        os.listdir(b"out")


def test_writing_partial_file_names_output(tmp_path):
    out = tmp_path / "none" / "out.zip"
    with pytest.raises(SettingsError, match=r"results to .*out\.zip "), writing(out), replacing(out) as partial:
        zipfile.ZipFile(partial, "w")


def test_check_out_below_file_raises(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="file is a file"):
        check_out(tmp_path / "file" / "out")


def test_check_out_name_too_long_raises(tmp_path):
    with pytest.raises(SettingsError, match="too long"):
        check_out(tmp_path / ("x" * 300))


def test_check_out_new_folder_writes_nothing(tmp_path):
    check_out(tmp_path / "a" / "b")
    assert names(tmp_path) == []
