"""Recipes with one field changed."""

import copy
from typing import Any


def with_field(good: dict[str, Any], where: str, value: Any) -> dict[str, Any]:
    """A copy of a recipe's content with one field replaced: "stages.0.steps"."""
    content = copy.deepcopy(good)
    inside: Any = content
    *way, last = (int(part) if part.isdigit() else part for part in where.split("."))
    for part in way:
        inside = inside[part]
    inside[last] = value
    return content
