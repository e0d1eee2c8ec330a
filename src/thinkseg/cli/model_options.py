"""The models of commands: which policy and tracker, where they run, and how the policy is prompted."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from thinkseg.cli import parsers
from thinkseg.cli.declare import choice, option, path, suggested, text
from thinkseg.cli.options import CHAINS, PRECISIONS, READINGS, ChainName, Coordinates, Device, Labels, ReadingName
from thinkseg.cli.parsers import Size
from thinkseg.console import warn

if TYPE_CHECKING:
    from thinkseg.console import Progress
    from thinkseg.data.readers.frame_rates import FrameTimes
    from thinkseg.prompts import Prompts
    from thinkseg.types import ChainFn, Policy, Tracker, View


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """How videos are shown to a policy."""

    frames: Annotated[
        int | None, option(parsers.count, "N", "number of frames shown to the policy (default: the policy's own)")
    ] = None
    frame_size: Annotated[Size | None, option(parsers.size, "WxH", "size of these frames, e.g. 560x560")] = None
    closeup_size: Annotated[
        Size | None, option(parsers.size, "WxH", "size of the one frame that the chain revseg shows again")
    ] = None
    label_unit: Annotated[
        Labels | None,
        choice(get_args(Labels), "labels of the frames (default: as trained, else seconds if the times are known)"),
    ] = None
    chain: ChainName = None
    prompts: Annotated[
        Path | None, option(path, "FILE", "wording of the chain, YAML (default: the policy's own, else the built-in)")
    ] = None

    def chain_function(self) -> ChainFn:
        """The chain requested. Raises SettingsError if it is unknown, or --prompts is not a wording of it."""
        from thinkseg.chains import get_chain

        chain = get_chain(self.chain_name)
        self._wording()
        return chain

    @property
    def chain_name(self) -> str:
        """The name of the chain requested, or of the default one."""
        return self.chain or CHAINS[0]

    def _wording(self) -> Prompts | None:
        from thinkseg.storage.prompt_file import read_prompts

        return read_prompts(self.prompts, self.chain_name) if self.prompts else None

    def view(self, policy: Policy) -> View:
        """The view requested; the policy decides about the rest."""
        from thinkseg.pipeline import changed_view, resolve_view

        sizes = (self.frames, self.frame_size, self.closeup_size)
        return resolve_view(policy, changed_view(policy.view, *sizes, self.label_unit, self._wording()))


@dataclass(frozen=True, kw_only=True)
class PlacementOptions:
    """Where a model runs."""

    device: Device = None
    precision: Annotated[str | None, choice(PRECISIONS, "of the weights (default: auto)")] = None

    def placement(self) -> dict[str, Any]:
        """Device and precision, as keyword arguments of `thinkseg.models.load_tracker`.

        Raises ModelError for a device that cannot be used, also if neither model would run on it.
        """
        if self.device:
            from thinkseg.models.devices import resolve_device

            resolve_device(self.device)
        return {"device": self.device, "precision": self.precision or "auto"}


@dataclass(frozen=True, kw_only=True)
class PolicyOptions(PlacementOptions, ViewOptions):
    """How a policy is prompted and run."""

    temperature: Annotated[float, option(parsers.temperature, "T", "of sampling; 0 is greedy")] = 0.0
    seed: Annotated[int, option(parsers.non_negative_int, "S", "of sampling, for a temperature > 0")] = 0
    max_tokens: Annotated[int | None, option(parsers.count, "N", "longest reply, in tokens (default: 1024)")] = None
    coordinates: Coordinates = None
    reading: Annotated[
        ReadingName, choice(READINGS, "of replies: in the exact form only, or also after repairs without guessing")
    ] = "repair"
    jpeg_quality: Annotated[
        int | None, option(parsers.jpeg_quality, "Q", "send frames to a server as JPEG, 1 to 100 (default: as PNG)")
    ] = None

    def settings(self) -> dict[str, Any]:
        """Keyword arguments of `thinkseg.models.load_policy`, which are also stored with the results."""
        # Unset ones are omitted, so that results of earlier versions, which lack them, can resume.
        optional = {
            "max_new_tokens": self.max_tokens,
            "coordinates": self.coordinates,
            "jpeg_quality": self.jpeg_quality,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return {**self.placement(), "temperature": self.temperature, "seed": self.seed, **given}

    def record(self, policy: Policy, tracker: Tracker, view: View) -> dict[str, Any]:
        """What answer.json says about the models that were used, and how. view: with which a policy was prompted."""
        from thinkseg.models.devices import device_of

        return {
            "policy": policy.name,
            "tracker": tracker.name,
            "chain": self.chain,
            "frames": view.num_frames,
            "frame_size": list(view.frame_wh),
            "overview_size": list(view.overview.frame_wh),
            "closeup_size": list(view.closeup.frame_wh),
            "reading": self.reading,
            "label_unit": view.label_unit,
            **self.settings(),
            "device": device_of(policy, tracker),
        }


def _preset_names(incomplete: str) -> list[str]:
    from thinkseg.models.presets import presets

    return [name for name in presets() if name.startswith(incomplete)]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The policy and the tracker."""

    preset: Annotated[
        str | None,
        option(
            text,
            "NAME",
            "a policy with its tracker and how it is prompted: see `thinkseg models`",
            autocompletion=_preset_names,
        ),
    ] = None
    policy: Annotated[
        str | None,
        suggested(
            ("shapes", "shapes-revseg", "openai:"),
            "NAME",
            "model that answers: a folder, a hub name, openai:MODEL@BASE_URL, or a bundled one: shapes (default), "
            "or shapes-revseg (default with --chain revseg)",
        ),
    ] = None
    tracker: Annotated[
        str | None,
        suggested(
            ("auto", "flow"),
            "NAME",
            "model that tracks the boxes: flow, a SAM 2 by folder or hub name, or auto (default): that of the preset",
        ),
    ] = None

    def chosen(self, asking: PolicyOptions, only_options: bool = False) -> tuple[ChosenModels, PolicyOptions]:
        """The policy and the tracker, and how the policy is prompted, with the chain and the view of the preset.

        only_options: see `thinkseg.models.choice.choose`. Warns if the tracker is not that of the preset.
        Raises SettingsError as `choose` does.
        """
        from thinkseg.models.choice import choose
        from thinkseg.storage.user_settings import UserSettings

        given: dict[str, Any] = {name: getattr(self, name) for name in ("preset", "policy", "tracker")}
        given |= {name: getattr(asking, name) for name in ("chain", "device", "precision")}
        choice = choose(UserSettings(**given), only_options)
        named = ChosenModels(choice.policy_name(), choice.tracker_name())
        if choice.note:
            warn(choice.note)
        view = choice.view_settings()
        view |= {name: value for name in view if (value := getattr(asking, name))}
        return named, replace(asking, chain=choice.chain.value, **choice.placement(), **view)

    def note_unused_settings(self) -> None:
        """Warns if models are set by the user and not given as options, where only options count."""
        from thinkseg.storage.user_settings import user_sources

        for source in [] if self.preset or self.policy else user_sources():
            for name in ("preset", "policy"):
                if value := getattr(source.values, name):
                    warn(f"{source.label(name)}: the {name} {value} is not used here; give it as --{name} {value}")
                    return


@dataclass(frozen=True, slots=True)
class ChosenModels:
    """The names of a policy and of a tracker, for `thinkseg.models`."""

    policy: str
    tracker: str

    def check_times(self, asking: PolicyOptions, times: FrameTimes) -> None:
        """Raises SettingsError if the policy needs seconds and the times of a video are unknown. Loads no weights."""
        from thinkseg.models import clock_of
        from thinkseg.pipeline import resolve_clock

        times.check(resolve_clock(self.policy, clock_of(self.policy), asking.label_unit or "auto"))

    def load_policy(self, progress: Progress, **settings: Any) -> Policy:
        """Loads the policy. settings: keyword arguments of `thinkseg.models.load_policy`."""
        return load_policy(self.policy, progress, **settings)

    def load_tracker(self, progress: Progress, **settings: Any) -> Tracker:
        """Loads the tracker. settings: keyword arguments of `thinkseg.models.load_tracker`."""
        return load_tracker(self.tracker, progress, **settings)


def load_policy(name: str, progress: Progress, **settings: Any) -> Policy:
    """A policy by name. On a terminal, a bar shows downloads, and none shows loading from disk."""
    from thinkseg import models

    progress.show(f"loading {name}")
    hide_bars()
    return models.load_policy(name, **settings)


def load_tracker(name: str, progress: Progress, **settings: Any) -> Tracker:
    """A tracker by name, as `load_policy`."""
    from thinkseg import models

    progress.show(f"loading {name}")
    if name != "flow":  # which spares the import of the hub's library
        hide_bars()
    return models.load_tracker(name, **settings)


def hide_bars() -> None:
    """Hides the bars of downloads, unless they are drawn on a terminal."""
    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
