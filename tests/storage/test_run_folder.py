import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from thinkseg.errors import SettingsError
from thinkseg.storage.atomic import replace_json
from thinkseg.storage.run_folder import ResultFolder, read_rows, read_settings


@pytest.mark.parametrize("cut", range(1, 12))
def test_result_folder_incomplete_line_is_dropped(tmp_path, cut):
    with ResultFolder(tmp_path / "out", {}) as folder:
        for name in "ab":
            folder.add({"id": name})
    path = tmp_path / "out" / "results.jsonl"
    complete = path.read_bytes()
    path.write_bytes(complete[:-cut])
    with ResultFolder(tmp_path / "out", {}) as again:
        assert list(again.rows) == ["a"]
        again.add({"id": "b"})
    assert path.read_bytes() == complete


def test_result_folder_disk_full_keeps_complete_lines(tmp_path):
    with ResultFolder(tmp_path / "out", {}) as folder:
        folder.add({"id": "a"})
        path = tmp_path / "out" / "results.jsonl"
        kept, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) + 5, limits[1]))
        try:
            with pytest.raises(SettingsError, match=r"out \(File too large\)"):
                folder.add({"id": "b", "text": "x" * 20_000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, ignored)
        assert path.read_bytes() == kept
        folder.add({"id": "c"})
        assert list(read_rows(path)) == ["a", "c"]


def test_result_folder_in_use_raises(tmp_path):
    with ResultFolder(tmp_path / "out", {}), pytest.raises(SettingsError, match="is in use by another run"):
        ResultFolder(tmp_path / "out", {})
    with ResultFolder(tmp_path / "out", {}) as folder:
        assert folder.rows == {}


def test_result_folder_other_settings_releases_lock(tmp_path):
    ResultFolder(tmp_path / "out", {"seed": 0}).__exit__(None, None, None)
    for _ in range(2):
        with pytest.raises(SettingsError, match="seed 0 -> 1"):
            ResultFolder(tmp_path / "out", {"seed": 1})


def test_result_folder_with_earlier_name_of_coordinates_resumes(tmp_path):
    (tmp_path / "settings.json").write_text('{"view": {"coordinates": "thousandths"}}')
    with ResultFolder(tmp_path, {"view": {"coordinates": "normalized_1000"}}) as folder:
        assert folder.rows == {}


def test_result_folder_killed_run_releases_lock(tmp_path):
    code = "import sys; from pathlib import Path; from thinkseg.storage.run_folder import ResultFolder\n"
    code += "folder = ResultFolder(Path(sys.argv[1]), {}); print('held', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(SettingsError, match="another run"):
            ResultFolder(tmp_path / "out", {})
        process.kill()
    with ResultFolder(tmp_path / "out", {}) as folder:
        assert folder.rows == {}


@pytest.mark.parametrize("fork", ["os.fork()", "multiprocessing.get_context('fork').Process(target=wait).start()"])
def test_result_folder_killed_run_with_forked_worker_releases_lock(tmp_path, fork):
    code = f"""
import multiprocessing, os, signal, sys
from pathlib import Path
from thinkseg.storage.run_folder import ResultFolder

def wait():
    os.write(1, f"{{os.getpid()}}\\n".encode())
    signal.pause()

folder = ResultFolder(Path(sys.argv[1]), {{}})
{fork}
wait()
"""
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        (worker,) = {int(process.stdout.readline()), int(process.stdout.readline())} - {process.pid}
        try:
            with pytest.raises(SettingsError, match="another run"):
                ResultFolder(tmp_path, {})
            process.kill()
            process.wait()
            with ResultFolder(tmp_path, {}) as folder:
                assert folder.rows == {}
        finally:
            os.kill(worker, signal.SIGKILL)  # which fails unless it outlived the run


def test_result_folder_forked_worker_ends_keeps_lock(tmp_path):
    with ResultFolder(tmp_path, {}):
        worker = os.fork()
        if not worker:
            os._exit(0)
        os.waitpid(worker, 0)
        with pytest.raises(SettingsError, match="another run"):
            ResultFolder(tmp_path, {})


NEW_ROWS = [{"id": "a", "text": "\u0000\n"}, {"id": "é"}, {"id": "c", "j": None}]


def filled(out):
    """Adds the rows that are missing. Returns the file."""
    with ResultFolder(out, {}) as folder:
        for row in NEW_ROWS:
            if row["id"] not in folder.rows:
                folder.add(row)
    return (out / "results.jsonl").read_bytes()


def test_result_folder_file_cut_anywhere_is_completed(tmp_path):
    complete = filled(tmp_path)
    for size in range(len(complete)):
        (tmp_path / "results.jsonl").write_bytes(complete[:size])
        assert filled(tmp_path) == complete


def test_result_folder_zeros_of_power_loss_are_computed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)  # for speed
    complete = filled(tmp_path)
    expected = read_rows(tmp_path / "results.jsonl")
    for begin in range(len(complete)):
        for end in range(begin + 1, len(complete) + 1):
            zeroed = complete[:begin] + bytes(end - begin) + complete[end:]
            (tmp_path / "results.jsonl").write_bytes(zeroed)
            assert read_rows(tmp_path / "results.jsonl").items() <= expected.items()
            if begin % 9 == end % 9 == 0:
                filled(tmp_path)
                assert read_rows(tmp_path / "results.jsonl") == expected


def test_result_folder_zeros_after_last_row_are_dropped(tmp_path):
    complete = filled(tmp_path)
    for zeros in (bytes(5), bytes(4096) + b"\n"):
        (tmp_path / "results.jsonl").write_bytes(complete + zeros)
        assert filled(tmp_path) == complete


def test_read_rows_repeated_id_last_row_counts(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"id": "a", "j": 0}\n{"id": "b"}\n{"id": "a", "j": 1}\n')
    assert read_rows(path) == {"a": {"id": "a", "j": 1}, "b": {"id": "b"}}


def test_read_rows_incomplete_last_line_is_skipped(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b"')
    assert list(read_rows(path)) == ["a"]


def test_read_rows_without_file_is_empty(tmp_path):
    assert read_rows(tmp_path / "results.jsonl") == {}


def test_read_settings_without_file_raises(tmp_path):
    with pytest.raises(SettingsError, match="has no results"):
        read_settings(tmp_path)


@pytest.mark.parametrize("name", ["file", "x" * 5000])
def test_read_settings_of_no_folder_raises(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"cannot be read \(.*\): give a folder of results"):
        read_settings(tmp_path / name)


@pytest.mark.parametrize("text", ["", "3", "[1]", "{", "[" * 100_000])
def test_read_settings_damaged_file_raises(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(SettingsError, match="is not a JSON object"):
        read_settings(tmp_path)


def test_replace_json_invalid_value_keeps_old_file(tmp_path):
    path = tmp_path / "scores.json"
    replace_json({"a": 1}, path)
    with pytest.raises(TypeError):
        replace_json({"a": {1, 2}}, path)
    assert json.loads(path.read_text()) == {"a": 1}


@pytest.mark.parametrize("line", ["{", "3", "[1]", '"id"', "{}", "[" * 100_000])
def test_read_rows_line_without_row_raises(tmp_path, line):
    path = tmp_path / "results.jsonl"
    path.write_text(f'{{"id": "a"}}\n{line}\n')
    with pytest.raises(SettingsError, match="line 2: not a row"):
        read_rows(path)


def test_result_folder_settings_of_earlier_version_resumes(tmp_path):
    replace_json({"view": {"num_frames": 4, "clock": "index"}}, tmp_path / "settings.json")
    with ResultFolder(tmp_path, {"view": {"num_frames": 4, "label_unit": "index"}}) as folder:
        assert folder.rows == {}
