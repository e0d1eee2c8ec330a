import os
import zipfile
from pathlib import Path

import pytest

from thinkseg.errors import SettingsError
from thinkseg.storage.atomic import replacing
from thinkseg.storage.outputs import check_file, check_folder, claimed, writing
from thinkseg.storage.result_folder import result_folder


def segment(out):
    return result_folder(out, "segment")


@pytest.mark.parametrize("folder", [writing, claimed, segment])
def test_writing_input_error_propagates(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"input\.jpg"), folder(tmp_path / "out"):
        (tmp_path / "input.jpg").read_bytes()


@pytest.mark.parametrize("folder", [writing, claimed, segment])
def test_writing_read_error_without_file_name_propagates(tmp_path, folder):
    with pytest.raises(OSError, match="Input/output error"), folder(tmp_path / "out"):
        raise OSError(5, "Input/output error")


def test_writing_file_below_output_is_missing_names_folder(tmp_path):
    with pytest.raises(SettingsError, match=r"results to .*out \(No such file"), writing(tmp_path / "out"):
        (tmp_path / "out" / "a" / "b.txt").write_text("")


def test_writing_relative_output_names_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="results to out "), writing(Path("out")):
        os.listdir(b"out")


def test_writing_partial_file_names_output(tmp_path):
    out = tmp_path / "none" / "out.zip"
    with pytest.raises(SettingsError, match=r"results to .*out\.zip "), writing(out), replacing(out) as partial:
        zipfile.ZipFile(partial, "w")


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("file", "file is a file"),
        ("file/out", "file is a file"),
        ("broken", "broken is a broken link"),
        ("broken/out", "broken is a broken link"),
        ("circle", "circle is a broken link"),
        ("circle/out", "circle is a broken link"),
        ("x" * 300, "File name too long"),
        ("new/" + "x" * 300, "File name too long"),
        (("x" * 200 + "/") * 25, "File name too long"),
        ("/proc/out", "No such file"),
    ],
)
def test_check_folder_unusable_path_raises_and_leaves_nothing(tmp_path, out, reason):
    (tmp_path / "file").write_text("")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(SettingsError, match=reason):
        check_folder(tmp_path / out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "circle", "file"]


def test_check_folder_usable_path_leaves_nothing(tmp_path):
    check_folder(tmp_path / "a" / ".." / "b" / "c")
    check_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"), [("folder", "is a folder"), ("none/a.csv", "No such file"), ("x" * 300, "too long")]
)
def test_check_file_unusable_path_raises(tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match=reason):
        check_file(tmp_path / name)


def test_check_file_usable_path_leaves_nothing(tmp_path):
    check_file(tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []


def test_check_file_that_is_being_written_raises(tmp_path):
    with replacing(tmp_path / "a.csv"), pytest.raises(SettingsError, match=r"a\.csv is in use by another run"):
        check_file(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_check_folder_impossible_path_raises(tmp_path, name):
    for check in (check_folder, check_file):
        with pytest.raises(SettingsError, match="cannot be a path"):
            check(tmp_path / name)
