import pytest

from thinkseg.errors import SettingsError
from thinkseg.training import distributed


def test_per_process_unequal_parts_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (distributed.world_size(), distributed.rank(), distributed.per_process(3, "prompts")) == (1, 0, 3)
    assert distributed.all_gather("mine") == ["mine"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert distributed.per_process(6, "prompts") == 3
    with pytest.raises(SettingsError, match="prompts: 3 is not a multiple of 2"):
        distributed.per_process(3, "prompts")
