"""Recipes with some fields changed."""

import copy
from typing import Any, TypeVar

from thinkseg.storage.settings_file import Settings

AnySettings = TypeVar("AnySettings", bound=Settings)


def with_field(good: dict[str, Any], where: str, value: Any) -> dict[str, Any]:
    """A copy of a recipe's content with one field replaced: "stages.0.steps"."""
    content = copy.deepcopy(good)
    inside: Any = content
    *way, last = (int(part) if part.isdigit() else part for part in where.split("."))
    for part in way:
        inside = inside[part]
    inside[last] = value
    return content


def changed_recipe(recipe: AnySettings, **changes: Any) -> AnySettings:
    """A copy of a recipe with some fields replaced."""
    return recipe.model_copy(update=changes)
