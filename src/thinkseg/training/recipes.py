"""Recipes: YAML files of settings, read into frozen pydantic models.

The fields that `training.sft.recipe` and `training.grpo.recipe` share are here. Every run saves its recipe.
"""

from __future__ import annotations

import math
import reprlib
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.util import find_spec
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from thinkseg.chains import get_chain
from thinkseg.data import BENCHMARKS, open_benchmark
from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.data.shapes.episodes import CATEGORY_WEIGHTS
from thinkseg.data.shapes.wordings import CATEGORIES
from thinkseg.errors import SettingsError
from thinkseg.selection.files import select
from thinkseg.storage.prompt_file import read_prompts
from thinkseg.storage.settings_file import FROM_LIST, Settings
from thinkseg.types import MAX_SIDE, LabelUnit, View

# ---- types of fields


def one_of(names: Collection[str]) -> AfterValidator:
    """Accepts the given names only; for registries, which `Literal` cannot list."""

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"must be one of {', '.join(names)}; got {reprlib.repr(name)}")
        return name

    return AfterValidator(check)


def _readable(read: Callable[[str], object]) -> AfterValidator:
    """Accepts what `read` does not raise a SettingsError for."""

    def check(value: str) -> str:
        try:
            read(value)
        except SettingsError as error:
            raise ValueError(str(error)) from None
        return value

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


MAX_NUMBER = 10**9
"""Largest number of a recipe. A larger one is a typing error, and overflows in the libraries below."""

Count = Annotated[int, Field(gt=0, le=MAX_NUMBER)]
Index = Annotated[int, Field(ge=0, le=MAX_NUMBER)]
Rate = Annotated[float, Field(gt=0, le=MAX_NUMBER)]
Weight = Annotated[float, Field(ge=0, le=MAX_NUMBER)]
Side = Annotated[int, Field(gt=0, le=MAX_SIDE)]

ChainName = Annotated[str, _readable(get_chain)]
PromptsPath = Annotated[str, _readable(read_prompts)]
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


class DataSource(Settings):
    """A benchmark by name with its folder and split, or "shapes".

    split: (default: the benchmark's first).
    select: file of a selection (`thinkseg data select`); the path is relative to the current folder.
    fps: frames per second of frames without times, see `thinkseg.data.readers.frame_rates` (not for shapes).
    clip_offset: first clip of the split (shapes only); lets runs use different clips.
    category_weights: as in `training.sft.recipe.Stage` (shapes only).
    """

    name: Annotated[str, one_of(BENCHMARKS)]
    root: str | None = None
    split: str = ""
    select: str | None = None
    fps: Rate | None = None
    clip_offset: Index = 0
    category_weights: CategoryWeights = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.name != "shapes" and not self.root:
            raise ValueError("`root` is required: the folder of the benchmark")
        if self.name != "shapes" and (self.clip_offset or self.category_weights):
            raise ValueError("`clip_offset` and `category_weights` are for shapes only; drop them")
        if self.name == "shapes" and self.select:
            raise ValueError("`select` is for benchmarks with files; drop it, or write shapes as files")
        if self.name == "shapes" and self.fps:
            raise ValueError("`fps` is for frames without times, and those of shapes have times; drop it")
        return self

    def open(self) -> Benchmark:
        """Opens the benchmark, or the part of it that is selected.

        Raises DatasetError, and SettingsError for a selection of other data.
        """
        benchmark = open_benchmark(self.name, self.root, self.split or None, fps=self.fps, **self._loader_options())
        return select(benchmark, self.select) if self.select else benchmark

    def _loader_options(self) -> Mapping[str, Any]:
        return {}


class RunRecipe(Settings):
    """Settings of a run with any method.

    num_frames, frame_wh, closeup_wh: see `thinkseg.types.View`.
    label_unit: labels of the frames, "seconds" or "index" (default: those of the model, else seconds).
    prompts: file with the wording of chains (default: that of the model's checkpoint, else the built-in one).
    precision: "auto" is bf16 where the hardware is fast at it, else fp32.
    sharding: "full" divides parameters, gradients and optimizer states among the processes; "none": each has all.
    cpu_offload: keeps a process's part of them in the memory of the CPU ("full" only).
    report_to: where metrics go besides log.jsonl; None: TensorBoard.
    """

    model: ModelRecipe
    num_frames: Count
    frame_wh: SizeWh
    closeup_wh: SizeWh | None = None
    label_unit: LabelUnit | None = None
    prompts: PromptsPath | None = None
    seed: int = Field(default=0, ge=0, lt=2**32)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    # Default values are not recorded, so that runs of older recipes can resume.
    sharding: Literal["none", "full"] = Field(default="none", exclude_if=lambda value: value == "none")
    cpu_offload: bool = Field(default=False, exclude_if=lambda value: not value)
    report_to: Annotated[tuple[Reporter, ...], FROM_LIST] | None = None

    @model_validator(mode="after")
    def _check_sharding(self) -> Self:
        if self.cpu_offload and self.sharding != "full":
            raise ValueError("`cpu_offload` is for sharded parameters; set `sharding: full`, or drop it")
        if self.sharding == "full" and "muon" in self.optimizers:
            raise ValueError("`optimizer: muon` needs whole matrices; use adamw, or drop `sharding: full`")
        return self

    @property
    @abstractmethod
    def optimizers(self) -> Collection[str]:
        """The names of all optimizers that the run uses."""

    @property
    def view(self) -> View:
        """The view of the recipe alone; `training.trainer.run_view` completes it."""
        prompts = read_prompts(self.prompts) if self.prompts else None
        unit = self.label_unit or "seconds"
        return View(self.num_frames, self.frame_wh, label_unit=unit, closeup_wh=self.closeup_wh, prompts=prompts)
