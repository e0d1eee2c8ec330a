"""A training run as one YAML file: the file's path in, a checked `Recipe` out.

Every field is listed here with its meaning; an unknown key, a missing one or a value of another type is a SettingsError
that names it. The recipe is saved with the run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from thinkseg.errors import SettingsError
from thinkseg.train.optimizer import OPTIMIZERS
from thinkseg.types import View


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


@dataclass(frozen=True, slots=True)
class Stage:
    """One training stage.

    objective: "patches" (the vision tower alone: what and where, from each visual token) or "words" (next token).
    data: shares of `train.mixtures.KINDS` (words only). questions: dialogues packed over one clip.
    batch: rows (words) or clips (patches) a forward pass; accumulate: such batches a step, all weighing alike.
    optimizer: one of `train.optimizer.OPTIMIZERS`; schedule: of the learning rate, one of `SCHEDULES`.
    gradient_checkpointing: less memory for more time. workers: processes that make data.
    """

    name: str
    objective: str
    steps: int
    batch: int
    learning_rate: float
    data: Mapping[str, float] = field(default_factory=dict)
    questions: int = 1
    accumulate: int = 1
    optimizer: str = "adamw"
    schedule: str = "cosine"
    warmup: float = 0.05  # steps; below 1 a share of all steps
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    gradient_checkpointing: bool = False
    save_every: int = 200
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training run.

    num_frames, frame_wh, closeup_wh: how videos are shown, see `thinkseg.types.View`.
    precision: "auto" (bf16 where the hardware is quick at it), "bf16" or "fp32".
    """

    model: ModelRecipe
    stages: tuple[Stage, ...]
    num_frames: int
    frame_wh: tuple[int, int]
    closeup_wh: tuple[int, int] | None = None
    seed: int = 0
    precision: str = "auto"

    @property
    def view(self) -> View:
        return View(self.num_frames, self.frame_wh, closeup_wh=self.closeup_wh)


OBJECTIVES = ("patches", "words")
PRECISIONS = ("auto", "bf16", "fp32")
SCHEDULES = ("cosine", "linear", "constant", "constant_with_warmup")


def load_recipe(path: Path) -> Recipe:
    """Reads and checks a recipe. Raises SettingsError."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; recipes are in the folder recipes/") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not a text file in UTF-8") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    recipe = _build(Recipe, content, str(path))
    _check(recipe, path)
    return recipe


def _check(recipe: Recipe, path: Path) -> None:
    model = recipe.model
    if (model.create is None) == (model.name is None):
        raise SettingsError(f"{path}: model: give either `create` or `name`")
    if model.lora and model.create:
        raise SettingsError(f"{path}: model.lora: a created model has nothing to adapt; drop `lora`")
    if model.lora and model.train_vision:
        raise SettingsError(f"{path}: model.train_vision: `lora` adapts the language model alone; drop one of them")
    if model.lora and (min(model.lora.rank, model.lora.alpha) < 1 or not 0 <= model.lora.dropout < 1):
        raise SettingsError(f"{path}: model.lora: rank and alpha are at least 1, dropout is at least 0 and below 1")
    if recipe.precision not in PRECISIONS:
        raise SettingsError(f"{path}: precision: {recipe.precision!r} is none of {', '.join(PRECISIONS)}")
    if min(recipe.num_frames, *recipe.frame_wh, *(recipe.closeup_wh or ())) < 1:
        raise SettingsError(f"{path}: num_frames, frame_wh and closeup_wh are at least 1")
    if not 0 <= recipe.seed < 2**32:
        raise SettingsError(f"{path}: seed: {recipe.seed} is not in 0..{2**32 - 1}")
    if not recipe.stages:
        raise SettingsError(f"{path}: stages: at least one is needed")
    names = [stage.name for stage in recipe.stages]
    for stage in recipe.stages:
        if not re.fullmatch(r"[\w-]+", stage.name) or names.count(stage.name) > 1:
            raise SettingsError(
                f"{path}: stage {stage.name!r}: a name is one word, and no other stage's: it is a folder"
            )
        _check_stage(stage, f"{path}: stage {stage.name!r}")


def _check_stage(stage: Stage, where: str) -> None:
    if stage.optimizer not in OPTIMIZERS:
        raise SettingsError(f"{where}: optimizer {stage.optimizer!r} is none of {', '.join(OPTIMIZERS)}")
    if stage.objective not in OBJECTIVES:
        raise SettingsError(f"{where}: objective {stage.objective!r} is none of {', '.join(OBJECTIVES)}")
    if (stage.objective == "words") != bool(stage.data):
        raise SettingsError(f"{where}: data: needed for words, e.g. {{traces: 1.0}}, and for nothing else")
    for kind, share in stage.data.items():
        if type(share) not in (int, float) or not 0 < share < math.inf:
            raise SettingsError(f"{where}: data: the share of {kind} is {share!r}, not a number above 0")
    if stage.schedule not in SCHEDULES:
        raise SettingsError(f"{where}: schedule {stage.schedule!r} is none of {', '.join(SCHEDULES)}")
    if min(stage.steps, stage.batch, stage.accumulate, stage.questions, stage.save_every) < 1:
        raise SettingsError(f"{where}: steps, batch, accumulate, questions and save_every are at least 1")
    if not (0 < stage.learning_rate < math.inf and 0 < stage.max_grad_norm < math.inf):
        raise SettingsError(f"{where}: learning_rate and max_grad_norm are above 0")
    if not (0 <= stage.warmup < math.inf and 0 <= stage.weight_decay < math.inf and stage.workers >= 0):
        raise SettingsError(f"{where}: warmup, weight_decay and workers are at least 0")


def _build(kind: Any, content: Any, where: str) -> Any:
    """A dataclass from a mapping, checked key by key."""
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
        return _build(kind, value, where)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is float:
        pointless = isinstance(value, str) and re.fullmatch(r"\d+[eE][+-]?\d+", value)
        advice = "; YAML takes 1.0e-4 for a number, but not 1e-4" if pointless else ""
        raise SettingsError(f"{where}: expected a number, not {value!r}{advice}")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise SettingsError(f"{where}: expected {kind.__name__}, not {value!r}")
    return value
