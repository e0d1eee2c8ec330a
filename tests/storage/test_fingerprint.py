import os
import shutil

import pytest

from thinkseg.storage.fingerprint import (
    EXACT_BYTES,
    MISSING,
    STRIDE_BYTES,
    file_fingerprint,
    first_change,
    sample_fingerprint,
    text_fingerprint,
)


def test_file_fingerprint_depends_on_content_alone(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    before = file_fingerprint(path)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(path, tmp_path / "elsewhere" / "b")
    os.utime(path, (0, 0))
    assert file_fingerprint(path) == file_fingerprint(tmp_path / "elsewhere" / "b") == before
    path.write_bytes(b"abd")
    assert file_fingerprint(path) != before


@pytest.mark.parametrize("position", [0, STRIDE_BYTES, 3 * STRIDE_BYTES + 5, -1])
def test_file_fingerprint_of_large_file_samples_its_blocks(tmp_path, position):
    path = tmp_path / "a"
    size = EXACT_BYTES + 1
    with path.open("wb") as file:
        file.truncate(size)
    before = file_fingerprint(path)
    with path.open("r+b") as file:
        file.seek(position % size)
        file.write(b"x")
    assert file_fingerprint(path) != before
    with path.open("wb") as file:
        file.truncate(size + 1)
    assert file_fingerprint(path) != before


def test_file_fingerprint_unreadable_is_missing(tmp_path):
    assert file_fingerprint(tmp_path) == file_fingerprint(tmp_path / "none") == MISSING


def test_text_fingerprint_keeps_texts_apart():
    assert text_fingerprint("ab", "c") != text_fingerprint("a", "bc") != text_fingerprint("abc")
    assert text_fingerprint("\udc80") != text_fingerprint("")  # of a file name that is not UTF-8


def test_sample_fingerprint_reads_some_files(tmp_path):
    paths = [tmp_path / str(number) for number in range(10)]
    for path in paths:
        path.write_text(path.name)
    before = sample_fingerprint(paths, 5)
    assert sample_fingerprint(paths[:9], 5) != before
    paths[1].write_text("x")
    assert sample_fingerprint(paths, 5) == before
    paths[2].write_text("x")
    assert sample_fingerprint(paths, 5) != before


def test_first_change_names_input_and_parts():
    before = {"policy": {"config.json": "a", "model.safetensors": "b"}, "tracker": {}}
    assert first_change(before, before) is None
    assert first_change(before, {**before, "policy": {"config.json": "a", "x": "b"}}) == (
        "policy",
        "model.safetensors, x",
    )
    assert first_change(before, {"policy": before["policy"]}) is None
    many = {str(number): "" for number in range(5)}
    assert first_change(before, {**before, "data": many}) == ("data", "0, 1, 2 and 2 more")
