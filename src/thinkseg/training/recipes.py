"""Recipes: YAML files of settings, read into frozen pydantic models.

The fields that `training.sft.recipe` and `training.grpo.recipe` share are here. Every run saves its recipe.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from thinkseg.data.shapes.episodes import CATEGORY_WEIGHTS
from thinkseg.data.shapes.wordings import CATEGORIES
from thinkseg.errors import SettingsError
from thinkseg.storage.yaml_file import load_yaml
from thinkseg.types import MAX_SIDE, LabelUnit, View

# ---- types of fields


class Settings(BaseModel):
    """Base of all that is read from YAML. It takes no unknown fields, and converts no types but int to float."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def one_of(names: Collection[str]) -> AfterValidator:
    """Accepts the given names only; for registries, which `Literal` cannot list."""

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"must be one of {', '.join(names)}; got {reprlib.repr(name)}")
        return name

    return AfterValidator(check)


def _check_category_weights(weights: Mapping[str, float]) -> Mapping[str, float]:
    if not any((CATEGORY_WEIGHTS | dict(weights)).values()):
        raise ValueError("must leave at least one category with a weight above 0")
    return weights


def _check_installed(package: str) -> str:
    if find_spec(package) is None:
        raise ValueError(f"{package} is not installed; run `pip install {package}`")
    return package


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError unless there are names, and they differ."""
    if not names:
        raise ValueError("must have at least one item")
    if len(set(names)) < len(names):
        raise ValueError(f"names must differ; got {', '.join(names)}")


FROM_LIST = Field(strict=False)
"""Lets YAML's lists become tuples; the types of their items stay strict."""

MAX_NUMBER = 10**9
"""Largest number of a recipe. A larger one is a typing error, and overflows in the libraries below."""

Count = Annotated[int, Field(gt=0, le=MAX_NUMBER)]
Index = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
Rate = Annotated[float, Field(gt=0, le=MAX_NUMBER)]
Weight = Annotated[float, Field(ge=0, le=MAX_NUMBER)]
Side = Annotated[int, Field(gt=0, le=MAX_SIDE)]

FolderName = Annotated[str, Field(pattern=r"^[\w-]+$")]
Scheduler = Literal["cosine", "linear", "constant", "constant_with_warmup"]
SizeWh = Annotated[tuple[Side, Side], FROM_LIST]
CategoryWeights = Annotated[
    Mapping[Annotated[str, one_of(CATEGORIES)], Weight], AfterValidator(_check_category_weights)
]
Reporter = Annotated[Literal["tensorboard", "wandb", "mlflow", "trackio"], AfterValidator(_check_installed)]

# ---- fields that recipes share


MAX_SIZE = 1_000_000
TokenCount = Annotated[int, Field(ge=0, le=MAX_SIZE)]


def _check_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, value in config.items():
        if isinstance(value, int | float) and not 0 <= value <= MAX_SIZE:
            raise ValueError(f"{name} must be from 0 to {MAX_SIZE}; got {reprlib.repr(value)}")
    return config


ModelConfig = Annotated[Mapping[str, Any], AfterValidator(_check_config)]


class Create(Settings):
    """A model from scratch: both parts of a Qwen2.5-VL configuration, and a tokenizer trained on texts of shapes.

    vocab_size: upper bound. max_integer_token: the integers 0..max_integer_token are one token each.
    num_decimal_tokens: so many of the decimals 0.0, 0.1, 0.2, ... are one token each.
    tokenizer_clips: number of clips whose texts the tokenizer is trained on.
    """

    vision: ModelConfig
    text: ModelConfig
    vocab_size: TokenCount = 1500
    max_integer_token: TokenCount = 224
    num_decimal_tokens: TokenCount = 100
    tokenizer_clips: Count = 1500


class Lora(Settings):
    """Low-rank adapters on the linear layers of the language model. They are merged into the weights at the end."""

    rank: Count = 8
    alpha: Count = 16
    dropout: float = Field(default=0.0, ge=0, lt=1)


class ModelRecipe(Settings):
    """Either `create`, or the `name` (folder or hub name) of a checkpoint, which `lora` may adapt."""

    create: Create | None = None
    name: str | None = None
    lora: Lora | None = None
    train_vision: bool = False

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if (self.create is None) == (self.name is None):
            raise ValueError("give either `create` or `name`")
        if self.lora and self.create:
            raise ValueError("`lora` adapts a checkpoint; give `name` instead of `create`, or drop `lora`")
        if self.lora and self.train_vision:
            raise ValueError("`lora` adapts the language model only; drop `lora` or `train_vision`")
        return self


class OptimizationRecipe(Settings):
    """Settings of the updates, named as in `transformers.TrainingArguments`.

    steps, epochs: the length, by one of the two. Epochs need data of a known size; `resolved` converts them to steps.
    optimizer: see `training.optimizers`. warmup_steps: below 1, a fraction of all steps.
    gradient_checkpointing: takes less memory and more time.
    """

    steps: Count | None = None
    epochs: Rate | None = None
    learning_rate: Rate
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr_scheduler_type: Scheduler = "cosine"
    warmup_steps: Weight = 0.05
    weight_decay: Weight = 0.01
    max_grad_norm: Rate = 1.0
    gradient_checkpointing: bool = False
    save_steps: Count = 200

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either `steps` or `epochs`")
        return self

    @property
    def num_steps(self) -> int:
        """The number of steps of a recipe that is `resolved`."""
        if self.steps is None:
            raise RuntimeError("the recipe has epochs, which are not resolved yet")
        return self.steps

    def resolved(self, size: int, per_step: int) -> Self:
        """Returns the same settings with steps instead of epochs, rounded up.

        size: number of samples of an epoch. per_step: samples of a step.
        """
        if self.epochs is None:
            return self
        return self.model_copy(update={"steps": math.ceil(self.epochs * size / per_step), "epochs": None})


class RunRecipe(Settings):
    """Settings of a run with any method.

    num_frames, frame_wh, closeup_wh: see `thinkseg.types.View`.
    label_unit: labels of the frames, "seconds" or "index" (default: those of the model, else seconds).
    precision: "auto" is bf16 where the hardware is fast at it, else fp32.
    report_to: where metrics go besides log.jsonl; None: TensorBoard.
    """

    model: ModelRecipe
    num_frames: Count
    frame_wh: SizeWh
    closeup_wh: SizeWh | None = None
    label_unit: LabelUnit | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    report_to: Annotated[tuple[Reporter, ...], FROM_LIST] | None = None

    @property
    def view(self) -> View:
        """What the policy is shown. `training.trainer.with_clock` sets its label unit."""
        return View(self.num_frames, self.frame_wh, label_unit=self.label_unit or "seconds", closeup_wh=self.closeup_wh)


# ---- from a file to a recipe

AnySettings = TypeVar("AnySettings", bound=Settings)


def read_yaml(kind: type[AnySettings], path: str | Path, overrides: Mapping[str, Any] | None = None) -> AnySettings:
    """Reads a YAML file into a model. overrides: see `merged`.

    Raises SettingsError with the file and every invalid field, in one line.
    """
    content = read_content(path, overrides)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"{path}: {_explained(error.errors(), kind, content)}") from None


def read_content(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Any:
    """Returns the fields of a YAML file, unchecked. overrides: see `merged`. Raises SettingsError."""
    content = load_yaml(path)
    if not isinstance(content, Mapping):
        raise SettingsError(f"{path}: must be a mapping of fields; got {reprlib.repr(content)}")
    try:
        return content if overrides is None else merged(content, overrides)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def merged(content: Any, overrides: Any) -> Any:
    """Nested mappings with some values replaced, or removed where the override is null.

    The items of a list that all have a `name` are overridden by name; any other list is replaced.
    Raises SettingsError for an unknown name.
    """
    if not isinstance(overrides, Mapping):
        return overrides
    if isinstance(content, list) and content and all(_has_name(item) for item in content):
        return _merged_by_name(content, overrides)
    before = content if isinstance(content, Mapping) else {}
    after = {**before, **{key: merged(before.get(key), value) for key, value in overrides.items()}}
    return {key: value for key, value in after.items() if value is not None or key not in overrides}


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
    "prompts": "prompts_per_step",
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
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "too_long": "has too many items",
    "invalid_key": "must be a string",
    "bool_type": "must be true or false",
    "string_pattern_mismatch": "must be one word of letters, digits, _ and -, for it names a folder",
}
"""Requirements by type of pydantic error, where pydantic's message does not fit YAML."""


def _explained(errors: Sequence[ErrorDetails], kind: type[Settings], content: Any) -> str:
    renamed = {(*error["loc"][:-1], RENAMED.get(str(error["loc"][-1]))) for error in errors if _is_unknown(error)}
    missing = [error for error in errors if error["type"] == "missing" and error["loc"] not in renamed]
    listed = [error for error in errors if error["type"] != "missing"] + missing
    lines = [": ".join(filter(None, (_dotted(error["loc"], content), _message(error, kind)))) for error in listed]
    lines = [line if len(line) <= MAX_CHARS else f"{line[: MAX_CHARS - 3]}..." for line in lines]
    more = [f"and {len(lines) - MAX_ERRORS} more"] if len(lines) > MAX_ERRORS else []
    return "; ".join([*lines[:MAX_ERRORS], *more])


def _is_unknown(error: ErrorDetails) -> bool:
    return error["type"] == "extra_forbidden"


def _dotted(keys: Iterable[str | int], content: Any) -> str:
    """A path such as stages.reason.steps, where list items with a name stand under their name."""
    parts = []
    for key in keys:
        if key != "[key]":  # marks an error in a key of a mapping
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


def _message(error: ErrorDetails, kind: type[Settings]) -> str:
    if _is_unknown(error):
        *parents, name = error["loc"]
        return _unknown_field(str(name), list(_model_at(kind, parents).model_fields))
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


def _model_at(kind: type[Settings], keys: Iterable[str | int]) -> type[Settings]:
    for key in keys:
        if isinstance(key, str):
            kind = _model_in(kind.model_fields[key].annotation) or kind
    return kind


def _model_in(annotation: Any) -> type[Settings] | None:
    """The model in an annotation such as `tuple[Stage, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)
