"""A folder of results that is cut off and gone on with; see test_evaluate.py for what evaluations make of it."""

import json
import subprocess
import sys

import pytest

from thinkseg.errors import SettingsError
from thinkseg.storage.atomic import replace_json
from thinkseg.storage.run_folder import ResultFolder, read_rows, read_settings


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_cut_anywhere_is_dropped_and_the_others_stay(tmp_path, cut):
    with ResultFolder(tmp_path / "out", {}) as folder:
        for name in "ab":
            folder.add({"id": name})
    path = tmp_path / "out" / "results.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with ResultFolder(tmp_path / "out", {}) as again:
        assert list(again.rows) == ["a"]
        again.add({"id": "b"})
    assert path.read_bytes() == whole


def test_a_folder_is_for_one_run_at_a_time(tmp_path):
    with ResultFolder(tmp_path / "out", {}), pytest.raises(SettingsError, match="another run is at work in"):
        ResultFolder(tmp_path / "out", {})
    with ResultFolder(tmp_path / "out", {}) as folder:
        assert folder.rows == {}


def test_a_folder_that_could_not_be_opened_is_free(tmp_path):
    ResultFolder(tmp_path / "out", {"seed": 0}).__exit__(None, None, None)
    for _ in range(2):
        with pytest.raises(SettingsError, match="seed 0 -> 1"):
            ResultFolder(tmp_path / "out", {"seed": 1})


def test_result_folder_with_earlier_name_of_coordinates_resumes(tmp_path):
    (tmp_path / "settings.json").write_text('{"view": {"coordinates": "thousandths"}}')
    with ResultFolder(tmp_path, {"view": {"coordinates": "normalized_1000"}}) as folder:
        assert folder.rows == {}


def test_a_run_that_was_killed_leaves_its_folder_free(tmp_path):
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


def test_rows_are_read_while_they_are_being_written(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"id": "a"}\n{"id": "b"')
    assert list(read_rows(path)) == ["a"]


def test_no_rows_yet(tmp_path):
    assert read_rows(tmp_path / "results.jsonl") == {}


def test_no_results(tmp_path):
    with pytest.raises(SettingsError, match="holds no results"):
        read_settings(tmp_path)


def test_a_file_that_cannot_be_written_in_full_stays_as_it_was(tmp_path):
    path = tmp_path / "scores.json"
    replace_json({"a": 1}, path)
    with pytest.raises(TypeError):
        replace_json({"a": {1, 2}}, path)
    assert json.loads(path.read_text()) == {"a": 1}


def test_result_folder_settings_of_earlier_version_resumes(tmp_path):
    replace_json({"view": {"num_frames": 4, "clock": "index"}}, tmp_path / "settings.json")
    with ResultFolder(tmp_path, {"view": {"num_frames": 4, "label_unit": "index"}}) as folder:
        assert folder.rows == {}
