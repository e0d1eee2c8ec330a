"""A supervised training run as one YAML file: the file's path in, a checked `Recipe` out.

Every field is listed here with its meaning. The recipe is saved with the run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args, get_type_hints

from thinkseg.data.shapes.episodes import CATEGORY_WEIGHTS
from thinkseg.data.shapes.wordings import CATEGORIES
from thinkseg.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Create:
    """A model from nothing: the two halves of a Qwen2.5-VL configuration, and a tokenizer learned from the data.

    vocab_size: an upper bound; whole_numbers: the numbers 0..whole_numbers become one token each; tenths: so many of
    the decimals 0.0, 0.1, 0.2, ... do, too.
    corpus: clips whose texts the tokenizer is learned from.
    """

    vision: Mapping[str, Any]
    text: Mapping[str, Any]
    vocab_size: int = 1500
    whole_numbers: int = 224
    tenths: int = 100
    corpus: int = 1500


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank adapters on the language model's linear layers, merged into the weights at the end."""

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelRecipe:
    """Either `create`, or the `name` (folder or hub name) of a checkpoint, which `lora` may adapt."""

    create: Create | None = None
    name: str | None = None
    lora: Lora | None = None
    train_vision: bool = False


REPORTERS = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
"""What can be told of a run while it lasts, by the names of the Trainer, and the packages that are needed."""
PRECISIONS = ("auto", "bf16", "fp32")


def check_model(model: ModelRecipe, path: Path) -> None:
    """Raises SettingsError for a model that a recipe cannot ask for."""
    if (model.create is None) == (model.name is None):
        raise SettingsError(f"{path}: model: give either `create` or `name`")
    if model.lora and model.create:
        raise SettingsError(f"{path}: model.lora: a created model has nothing to adapt; drop `lora`")
    if model.lora and model.train_vision:
        raise SettingsError(f"{path}: model.train_vision: `lora` adapts the language model alone; drop one of them")
    if model.lora and (min(model.lora.rank, model.lora.alpha) < 1 or not 0 <= model.lora.dropout < 1):
        raise SettingsError(f"{path}: model.lora: rank and alpha are at least 1, dropout is at least 0 and below 1")


def check_reporters(names: tuple[str, ...] | None, path: Path) -> None:
    """Raises SettingsError for names that are no reporters, or whose package is not installed."""
    for name in names or ():
        if name not in REPORTERS:
            raise SettingsError(f"{path}: report_to: {name!r} is none of {', '.join(REPORTERS)}")
        if find_spec(REPORTERS[name]) is None:
            raise SettingsError(f"{path}: report_to: {name} is not installed: pip install {REPORTERS[name]}")


def check_asked(asked: Mapping[str, float], where: str) -> None:
    """Raises SettingsError if `asked`, a field of what `where` names, is not shares of categories of shapes."""
    for category in asked:
        if category not in CATEGORIES:
            raise SettingsError(f"{where}: asked: no category {category!r}; there are {', '.join(CATEGORIES)}")
    _check_shares(asked, f"{where}: asked", or_none=True)
    if not any((CATEGORY_WEIGHTS | dict(asked)).values()):
        raise SettingsError(f"{where}: asked: some category needs a share above 0")


def _check_shares(shares: Mapping[str, float], where: str, or_none: bool = False) -> None:
    """or_none: whether a share may be 0."""
    wanted = "from 0 on" if or_none else "above 0"
    for name, share in shares.items():
        if type(share) not in (int, float) or not 0 <= share < math.inf or not (share or or_none):
            raise SettingsError(f"{where}: the share of {name} is {share!r}, not a number {wanted}")


def read_yaml(kind: Any, path: Path, changes: Mapping[str, Any] | None = None) -> Any:
    """The file as an instance of a dataclass, whose fields may be dataclasses, tuples of them, mappings and scalars.

    changes: what to read instead of what is in the file; see `merged`.
    Raises SettingsError if it cannot be read, or does not fit.
    """
    content = read_content(path)
    return build(kind, content if changes is None else merged(content, changes), str(path))


def read_content(path: Path) -> Any:
    """What is in the file, whatever it is. Raises SettingsError if it cannot be read."""
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; recipes are in the folder recipes/") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not a text file in UTF-8") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def merged(content: Any, changes: Any) -> Any:
    """Nested mappings with some of their values replaced, or taken away where the change is null.

    A list of things with a `name` is changed by their names; any other list is replaced as a whole.
    Raises SettingsError for a name that is not there.
    """
    if not isinstance(changes, Mapping):
        return changes
    if isinstance(content, list) and content and all(isinstance(item, Mapping) and "name" in item for item in content):
        return _merged_by_name(content, changes)
    before = content if isinstance(content, Mapping) else {}
    after = {**before, **{key: merged(before.get(key), value) for key, value in changes.items()}}
    return {key: value for key, value in after.items() if value is not None or key not in changes}


def _merged_by_name(items: list[Any], changes: Mapping[str, Any]) -> list[Any]:
    names = [item["name"] for item in items]
    for name in changes:
        if name not in names:
            raise SettingsError(f"changes: there is no {name!r}; there are {', '.join(map(str, names))}")
    return [merged(item, changes.get(item["name"], {})) for item in items if changes.get(item["name"], {}) is not None]


def build(kind: Any, content: Any, where: str) -> Any:
    """A dataclass from a mapping, checked key by key. Raises SettingsError; its message begins with `where`."""
    if not isinstance(content, Mapping):
        raise SettingsError(f"{where}: expected the fields {', '.join(f.name for f in fields(kind))}")
    known = {f.name: f for f in fields(kind)}
    for key in content:
        if key not in known:
            raise SettingsError(f"{where}: unknown field {key!r}; known are {', '.join(known)}")
    hints = get_type_hints(kind)
    values = {}
    for name, spec in known.items():
        if name in content:
            values[name] = _value(hints[name], content[name], f"{where}: {name}")
        elif spec.default is MISSING and spec.default_factory is MISSING:
            raise SettingsError(f"{where}: the field {name!r} is missing")
    return kind(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    options = [option for option in get_args(hint) if option is not type(None)]
    if type(None) in get_args(hint):
        return None if value is None else _value(options[0], value, where)
    if hint is tuple or str(hint).startswith("tuple["):
        if not isinstance(value, list):
            raise SettingsError(f"{where}: expected a list, not {value!r}")
        items = tuple(_value(options[0], item, f"{where}[{i}]") for i, item in enumerate(value))
        if Ellipsis not in options and len(items) != len(options):
            raise SettingsError(f"{where}: expected {len(options)} values, not {len(items)}")
        return items
    if str(hint).startswith("collections.abc.Mapping"):
        if not isinstance(value, Mapping):
            raise SettingsError(f"{where}: expected names with values, not {value!r}")
        return dict(value)
    kind = options[0] if options else hint
    if hasattr(kind, "__dataclass_fields__"):
        return build(kind, value, where)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is float:
        pointless = isinstance(value, str) and re.fullmatch(r"\d+[eE][+-]?\d+", value)
        advice = "; YAML takes 1.0e-4 for a number, but not 1e-4" if pointless else ""
        raise SettingsError(f"{where}: expected a number, not {value!r}{advice}")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise SettingsError(f"{where}: expected {kind.__name__}, not {value!r}")
    return value
