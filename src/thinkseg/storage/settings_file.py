"""Reads YAML files of settings into pydantic models or dataclasses. Errors have one line and name each field."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from thinkseg.errors import SettingsError
from thinkseg.storage.yaml_file import load_yaml, parse_yaml


class Settings(BaseModel):
    """Base of all that is read from YAML. It takes no unknown fields, and converts no types but int to float."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


AnySettings = TypeVar("AnySettings")

FROM_LIST = Field(strict=False)
"""Lets YAML's lists become tuples; the types of their items stay strict."""

MAX_DEPTH = 20
"""Keys in the name of a field to override."""


def read_yaml(kind: type[AnySettings], path: str | Path, *overrides: Mapping[str, Any]) -> AnySettings:
    """Reads a YAML file into a model or a dataclass. overrides: merged into it one after another, see `merged`.

    Raises SettingsError with the file and every invalid field, in one line.
    """
    return checked(kind, read_content(path, *overrides), path)


def checked(kind: type[AnySettings], content: Any, place: str | Path) -> AnySettings:
    """Returns content as a model or a dataclass. Raises SettingsError with its place and every invalid field."""
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise SettingsError(f"{place}: {_explained(error.errors(), kind, content)}") from None


def read_content(path: str | Path, *overrides: Mapping[str, Any]) -> Any:
    """Returns the fields of a YAML file, unchecked. overrides: as of `read_yaml`. Raises SettingsError."""
    content = load_yaml(path)
    if not isinstance(content, Mapping):
        raise SettingsError(f"{path}: must be a mapping of fields; got {reprlib.repr(content)}")
    try:
        return reduce(merged, overrides, content)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def assigned(assignment: str) -> dict[str, Any]:
    """Converts a text such as "stages.sft.steps=4" to overrides. Raises SettingsError for one of another form."""
    field, equals, text = assignment.partition("=")
    keys = field.split(".")
    if not equals or not all(keys) or len(keys) > MAX_DEPTH:
        shown = reprlib.repr(assignment)
        raise SettingsError(f"--set: {shown} is not FIELD=VALUE; give e.g. stages.sft.steps=4")
    overrides: dict[str, Any] = {keys[-1]: parse_yaml(text, f"--set {field}")}
    for key in reversed(keys[:-1]):
        overrides = {key: overrides}
    return overrides


def merged(content: Any, overrides: Any) -> Any:
    """Nested mappings with some values replaced, or removed where the override is null.

    A null without a value to remove is kept: the result may be overrides itself.

    The items of a list that all have a `name` are overridden by name; any other list is replaced.
    Raises SettingsError for an unknown name.
    """
    if not isinstance(overrides, Mapping):
        return overrides
    if isinstance(content, list) and content and all(_has_name(item) for item in content):
        return _merged_by_name(content, overrides)
    before = content if isinstance(content, Mapping) else {}
    after = {**before, **{key: merged(before.get(key), value) for key, value in overrides.items()}}
    removed = {key for key, value in overrides.items() if value is None and key in before}
    return {key: value for key, value in after.items() if key not in removed}


def _has_name(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("name"), str)


def _merged_by_name(items: list[Any], overrides: Mapping[str, Any]) -> list[Any]:
    names = [item["name"] for item in items]
    for name in overrides:
        if name not in names:
            raise SettingsError(f"overrides: unknown name {name!r}: must be one of {', '.join(map(str, names))}")
    chosen = [(item, overrides.get(item["name"], {})) for item in items]
    return [merged(item, override) for item, override in chosen if override is not None]


# ---- messages

RENAMED = {
    "batch": "batch_size",
    "accumulate": "gradient_accumulation_steps",
    "schedule": "lr_scheduler_type",
    "warmup": "warmup_steps",
    "save_every": "save_steps",
    "workers": "dataloader_num_workers",
    "rollouts": "num_generations",
    "scaled": "scale_rewards",
    "normalisation": "loss_type",
    "exclude_truncated": "mask_truncated_completions",
    "tokens_at_once": "max_cache_tokens",
    "show_every": "log_rollouts_steps",
    "patches": "vision_probe",
    "words": "causal_lm",
    "questions": "questions_per_clip",
    "asked": "category_weights",
    "strays": "noise_word_rate",
    "first_clip": "clip_offset",
    "offset": "clip_offset",
    "whole_numbers": "max_integer_token",
    "tenths": "num_decimal_tokens",
    "corpus": "tokenizer_clips",
    "way": "method",
    "start": "init_policy",
    "changes": "overrides",
    "firsts": "first_visible_keyframe",
    "keyframes": "keyframe_only",
    "closeups": "two_turns",
    "boxings": "two_turns_boxes_only",
    "glimpses": "single_frame_questions",
    "lists": "list_objects",
    "frames": "list_objects_single_frame",
}
"""Fields and values of earlier versions, and their names now."""

MAX_ERRORS, MAX_CHARS = 5, 500
"""Errors that one message lists, and characters of each."""

MESSAGES = {
    "model_type": "must be a mapping of fields",
    "dataclass_type": "must be a mapping of fields",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "too_long": "has too many items",
    "invalid_key": "must be a string",
    "bool_type": "must be true or false",
    "string_pattern_mismatch": "must be one word of letters, digits, _ and -, for it names a folder",
}
"""Requirements by type of pydantic error, where pydantic's message does not fit YAML."""


def _explained(errors: Sequence[ErrorDetails], kind: type, content: Any) -> str:
    renamed = {(*error["loc"][:-1], RENAMED.get(str(error["loc"][-1]))) for error in errors if _is_unknown(error)}
    missing = [error for error in errors if error["type"] == "missing" and error["loc"] not in renamed]
    listed = [error for error in errors if error["type"] != "missing"] + missing
    lines = [": ".join(filter(None, (_dotted(error["loc"], content), _message(error, kind)))) for error in listed]
    lines = [line if len(line) <= MAX_CHARS else f"{line[: MAX_CHARS - 3]}..." for line in lines]
    more = [f"and {len(lines) - MAX_ERRORS} more"] if len(lines) > MAX_ERRORS else []
    return "; ".join([*lines[:MAX_ERRORS], *more])


def _is_unknown(error: ErrorDetails) -> bool:
    return error["type"] in ("extra_forbidden", "unexpected_keyword_argument")


def _dotted(keys: Iterable[str | int], content: Any) -> str:
    """A path such as stages.reason.steps, where list items with a name stand under their name."""
    parts = []
    for key in keys:
        if key != "[key]":  # pydantic's name for an error in a key of a mapping
            content = _item(content, key)
            parts.append((isinstance(key, int) and _name_of(content)) or str(key))
    return ".".join(parts)


def _item(content: Any, key: str | int) -> Any:
    try:
        return content[key]
    except (LookupError, TypeError):
        return None


def _name_of(item: Any) -> str | None:
    name = item.get("name") if isinstance(item, Mapping) else None
    return name if isinstance(name, str) and name.isprintable() else None


def _message(error: ErrorDetails, kind: type) -> str:
    if _is_unknown(error):
        *parents, name = error["loc"]
        return _unknown_field(str(name), list(_field_types(_model_at(kind, parents))))
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "missing":
        return "missing; add it"
    value = reprlib.repr(error["input"])
    return _renamed_value(error) or f"{_requirement(error)}; got {value}"


def _renamed_value(error: ErrorDetails) -> str | None:
    new = RENAMED.get(str(error["input"])) if error["type"] == "literal_error" else None
    return f"renamed to {new}" if new and repr(new) in error["ctx"]["expected"] else None


def _requirement(error: ErrorDetails) -> str:
    """What the value must be, from pydantic's message: "Input should be a valid integer"."""
    message = MESSAGES.get(error["type"]) or error["msg"].replace("Input should be", "must be")
    return message.replace("a valid integer", "an integer").replace("a valid ", "a ")


def _unknown_field(name: str, known: Sequence[str]) -> str:
    if RENAMED.get(name) in known:
        return f"renamed to {RENAMED[name]}"
    close = get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]}? Known" if close else "known"
    return f"unknown field; {hint} fields are {', '.join(known)}"


def _model_at(kind: type, keys: Iterable[str | int]) -> type:
    for key in keys:
        if isinstance(key, str):
            kind = _model_in(_field_types(kind)[key]) or kind
    return kind


def _field_types(kind: Any) -> dict[str, Any]:
    """The types of the fields of a model or a dataclass."""
    if is_dataclass(kind):
        return get_type_hints(kind)
    return {name: field.annotation for name, field in kind.model_fields.items()}


def _model_in(annotation: Any) -> type | None:
    """The model or dataclass in an annotation such as `tuple[Stage, ...]`."""
    if isinstance(annotation, type) and (is_dataclass(annotation) or issubclass(annotation, BaseModel)):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
