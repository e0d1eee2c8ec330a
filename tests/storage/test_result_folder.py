import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from thinkseg.errors import SettingsError
from thinkseg.storage.result_folder import COMPLETE, NEW, OLD, STAMP, check_out, finish_interrupted, result_folder
from thinkseg.storage.run_folder import ResultFolder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    """The files of a result by name, without the stamp."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in files.items() if name != STAMP}


def write(out, files, command="segment"):
    with result_folder(out, command) as folder:
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)


def test_result_folder_block_ends_files_appear(tmp_path):
    out = tmp_path / "deep" / "out"
    with result_folder(out, "segment") as folder:
        (folder / "a.txt").write_text("a")
        assert not (out / "a.txt").exists()
    assert names(out) == [STAMP, "a.txt"]
    assert names(out.parent) == ["out"]


def test_result_folder_block_raises_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), result_folder(tmp_path / "deep" / "out", "segment") as folder:  # noqa: PT012
        (folder / "a.txt").write_text("a")
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_result_folder_earlier_result_replaced_only_after_success(tmp_path):
    out = tmp_path / "out"
    write(out, {"old.txt": "old"})
    with pytest.raises(KeyboardInterrupt), result_folder(out, "segment"):
        raise KeyboardInterrupt
    assert names(out) == [STAMP, "old.txt"]
    with result_folder(out, "segment") as folder:
        (folder / "new.txt").write_text("new")
        assert contents(out)["old.txt"] == "old"
    assert names(out) == [STAMP, "new.txt"]
    assert names(tmp_path) == ["out"]


def test_result_folder_empty_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", {"a.txt": "a"})
    assert names(tmp_path / "out") == [STAMP, "a.txt"]


EARLIER = {"a.txt": "old", "masks/0": "old", "more/0": "old"}
LATER = {"a.txt": "new", "masks/0": "new", "page.html": "new"}


class Crash(BaseException):
    """The process is killed: no later step of it happens either."""


def crash_after(monkeypatch, num_steps):
    """Lets the process end after some changes of the file system."""
    done = 0

    def crashing(change):
        def step(*args, **kwargs):
            nonlocal done
            if done >= num_steps:
                raise Crash
            done += 1
            return change(*args, **kwargs)

        return step

    for name in ("mkdir", "rename", "replace", "rmdir", "unlink"):
        monkeypatch.setattr(os, name, crashing(getattr(os, name)))


@pytest.mark.parametrize("earlier", [{}, EARLIER], ids=["first", "second"])
def test_result_folder_killed_at_any_step_keeps_one_complete_result(tmp_path, monkeypatch, earlier):
    monkeypatch.setattr(os, "fsync", lambda file: None)  # for speed
    found = []
    for num_steps in range(100):
        out = tmp_path / str(num_steps)
        out.mkdir()
        if earlier:
            write(out, earlier)
        with monkeypatch.context() as patch:
            crash_after(patch, num_steps)
            try:
                write(out, LATER)
            except Crash:
                pass
            else:
                break
        check_out(out, "segment")  # as the next command does
        found.append(contents(out))
        assert set(names(out)) <= {STAMP, *(name.partition("/")[0] for name in found[-1])}
    assert contents(out) == LATER
    switch = found.index(LATER)
    assert 3 < switch < len(found) - 3
    assert found == [earlier] * switch + [LATER] * (len(found) - switch)


def test_finish_interrupted_completes_the_result_that_a_reader_needs(tmp_path, monkeypatch):
    write(tmp_path, EARLIER)
    rename = os.rename

    def crash(source, target):
        if os.path.basename(source) == "masks":
            raise Crash
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", crash)
        with pytest.raises(Crash):
            write(tmp_path, LATER)
    assert (tmp_path / COMPLETE).exists()
    finish_interrupted(tmp_path)
    assert contents(tmp_path) == LATER


def test_result_folder_interrupted_while_it_replaces_completes(tmp_path, monkeypatch):
    rename, interrupts = os.rename, [KeyboardInterrupt]

    def interrupted(source, target):
        if os.path.basename(source) == "page.html" and interrupts:
            raise interrupts.pop()
        rename(source, target)

    monkeypatch.setattr(os, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, LATER)
    assert contents(tmp_path) == LATER
    assert names(tmp_path) == [STAMP, "a.txt", "masks", "page.html"]


def test_result_folder_never_renames_the_folder_itself(tmp_path, monkeypatch):
    out, rename = tmp_path / "out", os.rename

    def refusing(source, target):
        if out in (source, target):
            raise OSError(16, "Device or resource busy", source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", refusing)
    for files in (EARLIER, LATER):
        write(out, files)
        assert contents(out) == files


def test_result_folder_overlay_file_system_replaces_earlier_result(tmp_path, monkeypatch):
    write(tmp_path, EARLIER)
    rename = os.rename

    def refusing(source, target):
        if os.path.dirname(source) == str(tmp_path) and os.path.basename(source) in ("masks", "more"):
            raise OSError(18, "Invalid cross-device link", source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", refusing)
    write(tmp_path, LATER)
    assert contents(tmp_path) == LATER


MOUNTING = """
mount --bind "$1" "$1" && mount -t tmpfs -o size=1m tmpfs "$1/out" && mount -o remount,bind,ro "$1" || exit
mkdir "$1/out/lost+found"
touch "$1/file" 2>&1
"$2" -c "
import sys
from pathlib import Path
from thinkseg.storage.result_folder import check_out, result_folder
from pathlib import Path
out = Path(sys.argv[1]) / 'out'
for text in ('old', 'new'):
    check_out(out, 'segment')
    with result_folder(out, 'segment') as folder:
        (folder / 'a.txt').write_text(text)
print(sorted(path.name for path in out.iterdir()), (out / 'a.txt').read_text())
" "$1"
"""


def test_result_folder_mount_point_in_read_only_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    unshare = shutil.which("unshare")
    if not unshare or subprocess.run([unshare, "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounts are not allowed here")
    command = [unshare, "-rm", "sh", "-c", MOUNTING, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Read-only file system" in done.stdout
    assert done.stdout.endswith("['.thinkseg', 'a.txt', 'lost+found'] new\n"), done.stderr


def test_result_folder_leftovers_of_a_killed_command_are_deleted(tmp_path):
    write(tmp_path, EARLIER)
    for name in (NEW, OLD):
        (tmp_path / name / "masks").mkdir(parents=True)
    (tmp_path / ".lock").write_text("")
    check_out(tmp_path, "segment")
    assert names(tmp_path) == [STAMP, "a.txt", "masks", "more"]
    assert contents(tmp_path) == EARLIER


def test_check_out_folder_that_another_command_writes_raises(tmp_path):
    with result_folder(tmp_path / "out", "segment") as folder:
        (folder / "a.txt").write_text("a")
        with pytest.raises(SettingsError, match="out is in use by another run"):
            check_out(tmp_path / "out", "segment")
    assert contents(tmp_path / "out") == {"a.txt": "a"}


@pytest.mark.parametrize("stamp", [None, "", "[]", '{"entries": 3}', '{"entries": ["thesis.tex"]}'])
def test_result_folder_other_files_raises_and_keeps_them(tmp_path, stamp):
    (tmp_path / "letters").mkdir()
    (tmp_path / "thesis.tex").write_text("years of work")
    if stamp is not None:
        (tmp_path / STAMP).write_text(stamp)
    before = names(tmp_path)
    with pytest.raises(SettingsError, match=r"has '(letters|thesis\.tex)'"), result_folder(tmp_path, "segment"):
        pytest.fail("the folder was given out")
    assert names(tmp_path) == before


def test_result_folder_stamp_with_paths_touches_nothing_outside(tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one").write_text("mine")
    out = tmp_path / "out"
    out.mkdir()
    (out / STAMP).write_text(json.dumps({"entries": ["../letters", str(tmp_path / "letters")], "files": 0}))
    write(out, LATER)
    assert names(tmp_path / "letters") == ["one"]


def test_check_out_file_added_to_result_raises(tmp_path):
    write(tmp_path / "out", {"a.txt": "a"})
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match=r"notes\.txt"):
        check_out(tmp_path / "out", "segment")


def test_check_out_file_added_below_entry_of_result_raises(tmp_path):
    write(tmp_path, EARLIER)
    (tmp_path / "masks" / "again").mkdir()
    (tmp_path / "masks" / "again" / "answer.json").write_text("mine")
    with pytest.raises(SettingsError, match="has 1 files that no earlier result wrote"):
        check_out(tmp_path, "segment")


def test_check_out_result_of_another_command_raises(tmp_path):
    write(tmp_path, EARLIER, "data shapes")
    with pytest.raises(SettingsError, match="has a result of data shapes, not of segment"):
        check_out(tmp_path, "segment")
    assert contents(tmp_path) == EARLIER


def test_run_in_folder_of_result_raises(tmp_path):
    write(tmp_path, EARLIER, "data shapes")
    with pytest.raises(SettingsError, match="has a result of data shapes: choose another"):
        ResultFolder(tmp_path, {})


def test_check_out_stamp_without_number_of_files_is_accepted(tmp_path):
    write(tmp_path, EARLIER)
    (tmp_path / STAMP).write_text(json.dumps({"thinkseg": "0.1.0", "entries": ["a.txt", "masks", "more"]}))
    check_out(tmp_path, "segment")


@pytest.mark.parametrize("inside", ["", "masks", "masks/0", "new/clip.mp4"])
def test_result_folder_input_in_folder_raises(tmp_path, inside):
    write(tmp_path / "out", EARLIER)
    (tmp_path / "link").symlink_to("out")
    with pytest.raises(SettingsError, match=r"is in .*out, which the results replace"):
        result_folder(tmp_path / "out", "segment", tmp_path / "clip.mp4", tmp_path / "link" / inside).__enter__()


def test_result_folder_in_folder_of_input_is_accepted(tmp_path):
    out = tmp_path / "frames" / "out"
    with result_folder(out, "segment", tmp_path / "frames", tmp_path / "output.csv"):
        assert out.exists()


def test_result_folder_link_stays_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    write(tmp_path / "out", {"a.txt": "a"})
    assert (tmp_path / "out").is_symlink()
    assert names(tmp_path / "disk") == [STAMP, "a.txt"]


def test_result_folder_disk_full_error_names_folder(tmp_path):
    refusal = OSError(28, "No space left on device")
    with (
        pytest.raises(SettingsError, match=r"out \(No space left on device\)"),
        result_folder(tmp_path / "out", "segment"),
    ):
        raise refusal
    assert names(tmp_path) == []


def test_result_folder_current_folder_is_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for files in (EARLIER, LATER):
        write(Path("."), files)
        assert contents(tmp_path) == files


def test_check_out_new_folder_leaves_nothing(tmp_path):
    check_out(tmp_path / "a" / "b", "segment")
    assert names(tmp_path) == []


def test_result_folder_extend_keeps_other_entries(tmp_path):
    write(tmp_path / "out", {"a.txt": "a", "b/b.txt": "b"})
    with result_folder(tmp_path / "out", "segment", extend=True) as folder:
        (folder / "a.txt").write_text("new")
        (folder / "c.txt").write_text("c")
    assert contents(tmp_path / "out") == {"a.txt": "new", "b/b.txt": "b", "c.txt": "c"}
    check_out(tmp_path / "out", "segment")
    write(tmp_path / "out", {"d.txt": "d"})
    assert contents(tmp_path / "out") == {"d.txt": "d"}


def test_result_folder_extend_interrupted_keeps_the_earlier_result(tmp_path):
    write(tmp_path / "out", {"a.txt": "a"})
    with pytest.raises(ZeroDivisionError), result_folder(tmp_path / "out", "segment", extend=True):
        raise ZeroDivisionError
    assert contents(tmp_path / "out") == {"a.txt": "a"}
