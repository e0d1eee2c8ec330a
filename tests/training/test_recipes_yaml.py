from typing import Any

import pytest

from thinkseg.errors import SettingsError
from thinkseg.training.recipes import merged

STAGES = [{"name": "see", "steps": 3}, {"name": "say", "steps": 4, "data": {"lists": 1.0}}]


@pytest.mark.parametrize(
    ("content", "changes", "result"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": None}}, {"a": {"b": 1}}),
        ({"a": 1}, {"b": {"c": None, "d": 2}}, {"a": 1, "b": {"d": 2}}),
        ({"a": None}, {"b": 1}, {"a": None, "b": 1}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"stages": STAGES}, {"stages": []}, {"stages": []}),
        ({"stages": STAGES}, {"stages": {"say": None}}, {"stages": STAGES[:1]}),
        (STAGES, {"see": {"steps": 5}}, [{"name": "see", "steps": 5}, STAGES[1]]),
        (STAGES, {"say": {"data": {"lists": None, "traces": 2.0}}}, [STAGES[0], STAGES[1] | {"data": {"traces": 2.0}}]),
    ],
)
def test_content_with_changes(content: Any, changes: Any, result: Any) -> None:
    assert merged(content, changes) == result


def test_what_is_not_there_cannot_be_changed() -> None:
    with pytest.raises(SettingsError, match="changes: there is no 'sya'; there are see, say"):
        merged({"stages": STAGES}, {"stages": {"sya": None}})
