"""The recipe of GRPO. The defaults are those of Veason-R1."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from thinkseg.chains import get_chain, takes_indices
from thinkseg.errors import ModelError, SettingsError
from thinkseg.models import check_tracker
from thinkseg.models.policies.sampling import MAX_TEMPERATURE, MIN_TEMPERATURE
from thinkseg.rewards import checked_weights
from thinkseg.storage.settings_file import FROM_LIST, Settings, read_yaml
from thinkseg.training.grpo.loss import LossType
from thinkseg.training.recipes import (
    MAX_NUMBER,
    ChainName,
    Count,
    DataSource,
    Index,
    ModelRecipe,
    OptimizationRecipe,
    Rate,
    RunRecipe,
    Scheduler,
    Weight,
)


class PromptSource(DataSource):
    """A source of prompts."""

    split: str = "train"


def _check_url(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+/?", url):
        raise ValueError(f"must be a URL such as http://127.0.0.1:8000, without a path; got {reprlib.repr(url)}")
    return url


ServerUrl = Annotated[str, AfterValidator(_check_url)]


class Rollout(Settings):
    """What samples the rollouts.

    engine: "local" is the model in training, in its own process; "vllm" are `servers`, which may be many.
    servers: their URLs, such as http://127.0.0.1:8000, without a path.
    sync: what the servers load before each step: the LoRA "adapter" or all "weights".
    sync_dir: folder through which they do, for this run alone and under the same path on all machines (default: sync in
        the run's folder).
    importance_cap: upper bound of the importance weight of a token, which corrects that the servers compute
        probabilities in another way than the training; None: no correction, strictly the loss of the papers.
    timeout: seconds after which a server that has not responded counts as down.
    """

    engine: Literal["local", "vllm"] = "local"
    # Where a run samples is no part of its identity: it may resume with other servers.
    servers: Annotated[tuple[ServerUrl, ...], Field(strict=False, exclude=True)] = ()
    sync: Literal["adapter", "weights"] | None = None
    sync_dir: Annotated[str | None, Field(exclude=True)] = None
    importance_cap: Rate | None = 2.0
    timeout: Annotated[Rate, Field(exclude=True)] = 600.0

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        if self.engine == "vllm" and not (self.servers and self.sync):
            raise ValueError("the engine vllm needs `servers` and `sync`")
        if self.engine == "local" and (self.servers or self.sync or self.sync_dir):
            raise ValueError("`servers`, `sync` and `sync_dir` are for `engine: vllm`; add that, or drop them")
        return self


class GrpoRecipe(RunRecipe, OptimizationRecipe):
    """One run. Each step is one update on `prompts_per_step` groups of `num_generations` rollouts.

    data: sources whose prompts are shuffled together. rewards: weights by name of `thinkseg.rewards.REWARDS`.
    chain: a name for `thinkseg.chains.get_chain`. tracker: used by the reward "consistency".
    beta: weight of the KL to the initial policy; 0 keeps no copy of that policy.
    loss_type: see `training.grpo.loss`. scale_rewards: whether advantages are divided by their standard deviation.
    max_new_tokens: per reply. mask_truncated_completions: whether rollouts that reach it are excluded from the loss.
    max_cache_tokens: size of the KV cache of rollouts; lower it if memory runs out.
    log_rollouts_steps: steps between two pages of rollouts in the run's folder; 0 for none.
    rollout: what samples the rollouts (default: the model in training).
    """

    data: Annotated[tuple[PromptSource, ...], FROM_LIST]
    rewards: Mapping[str, Weight]
    prompts_per_step: Count = 16
    num_generations: int = Field(default=8, ge=2, le=MAX_NUMBER)
    chain: ChainName = "veason"
    tracker: str = "flow"
    learning_rate: Rate = 1e-6
    lr_scheduler_type: Scheduler = "constant"
    warmup_steps: Weight = 0.0
    beta: Weight = 5e-3
    loss_type: LossType = "grpo"
    scale_rewards: bool = True
    temperature: float = Field(default=1.0, ge=MIN_TEMPERATURE, le=MAX_TEMPERATURE)
    max_new_tokens: Count = 1024
    mask_truncated_completions: bool = False
    max_cache_tokens: Count = 200_000
    save_steps: Count = 50
    log_rollouts_steps: Index = 50
    rollout: Rollout | None = None

    @property
    def vllm(self) -> Rollout | None:
        """The settings of rollouts on servers; None if the model in training samples them."""
        return self.rollout if self.rollout and self.rollout.engine == "vllm" else None

    @property
    def optimizers(self) -> Collection[str]:
        return {self.optimizer}

    @field_validator("model")
    @classmethod
    def _check_model(cls, model: ModelRecipe) -> ModelRecipe:
        if model.create:
            raise ValueError("GRPO starts from a trained policy; give its `name` instead of `create`")
        return model

    @field_validator("chain")
    @classmethod
    def _check_chain(cls, chain: str) -> str:
        if not takes_indices(get_chain(chain)):
            raise ValueError(f"{chain!r} lacks the parameter `indices`, the frames to show; add it to the function")
        return chain

    @field_validator("data")
    @classmethod
    def _check_data(cls, data: tuple[PromptSource, ...]) -> tuple[PromptSource, ...]:
        if not data or (len(data) > 1 and any(source.name == "shapes" for source in data)):
            raise ValueError("give one or more benchmarks, or only shapes")
        return data

    @field_validator("rewards")
    @classmethod
    def _check_rewards(cls, rewards: Mapping[str, float]) -> Mapping[str, float]:
        try:
            checked_weights(rewards)
        except SettingsError as error:
            raise ValueError(str(error)) from None
        return rewards

    @model_validator(mode="after")
    def _check_epochs(self) -> Self:
        if self.epochs and self.data[0].name == "shapes":
            raise ValueError("`epochs` need data of a known size, and shapes have none; give `steps`")
        return self

    @model_validator(mode="after")
    def _check_rollout(self) -> Self:
        sync = self.rollout and self.rollout.sync
        if sync and (sync == "adapter") != (self.model.lora is not None):
            raise ValueError(
                "rollout: `sync: adapter` is for models with `lora`, and `sync: weights` for those without"
            )
        return self

    @model_validator(mode="after")
    def _check_tracker(self) -> Self:
        if self.rewards.get("consistency"):
            try:
                check_tracker(self.tracker)
            except ModelError as error:
                raise ValueError(f"tracker: {error}") from None
        return self


def load_grpo_recipe(path: str | Path, *overrides: Mapping[str, Any]) -> GrpoRecipe:
    """Reads a recipe, with some of its fields overridden, see `read_yaml`. Raises SettingsError."""
    return read_yaml(GrpoRecipe, path, *overrides)
