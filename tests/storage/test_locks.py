import pytest

from thinkseg.errors import SettingsError
from thinkseg.storage.locks import locked


def test_locked_twice_raises_and_names_subject(tmp_path):
    lock = tmp_path / ".lock"
    with locked(lock, tmp_path), pytest.raises(SettingsError, match="is in use by another run"), locked(lock, tmp_path):
        pytest.fail("the lock was given twice")
    with locked(lock, tmp_path):
        assert lock.exists()
    assert not lock.exists()


def test_locked_file_renamed_by_the_block_is_kept(tmp_path):
    with locked(tmp_path / "partial", tmp_path):
        (tmp_path / "partial").rename(tmp_path / "complete")
    assert [path.name for path in tmp_path.iterdir()] == ["complete"]
