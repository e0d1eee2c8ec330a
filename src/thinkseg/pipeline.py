"""Segmentation of videos with a chain, a policy and a tracker.

`run_chains` runs chains with a policy; `segment_samples` and `segment_sample` add the tracker, `track_prompts` does
without a policy; `thinkseg.segmenter` takes files and names. A reply that cannot be used is no error: the outcome has
its failure. All other errors are raised.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice, repeat
from numbers import Integral
from typing import TypeVar, get_args

import numpy as np

from thinkseg.errors import AnswerError, SettingsError
from thinkseg.events import (
    Answered,
    Event,
    Finished,
    OnEvent,
    ReplyFinished,
    ReplyText,
    TurnStarted,
    Waiting,
    no_listener,
    tracking,
)
from thinkseg.models.policies.sampling import mixed_seed
from thinkseg.ops.masks import empty
from thinkseg.prompts import Prompts
from thinkseg.rle import rle_box
from thinkseg.types import (
    MAX_SIDE,
    Answer,
    Chain,
    ChainFn,
    Clock,
    Frames,
    LabelUnit,
    Masklets,
    ObjectPrompt,
    Outcome,
    Policy,
    ProgressCallback,
    PromptTracker,
    Reading,
    Reply,
    Segmentation,
    StreamingPolicy,
    Tracker,
    Turn,
    VideoSample,
    View,
)

T = TypeVar("T")


def run_chains(
    chains: Iterable[Chain],
    policy: Policy,
    batch_size: int | None = None,
    seeds: Iterable[int] | None = None,
    reading: Reading = "strict",
    listeners: Iterable[OnEvent] | None = None,
) -> list[Outcome]:
    """Runs chains in lockstep, so that the policy answers turns in batches; returns one outcome per chain, in order.

    chains: new generators, started with their batch. batch_size: turns per call of the policy (default: all).
    seeds: one integer per chain, from which the seeds of its replies are derived (default: the chain's index).
    reading: "strict", as rewards require, or "repair". listeners: one per chain, see `thinkseg.events`.
    """
    outcomes: list[Outcome] = []
    settings = count() if seeds is None else seeds, listeners or repeat(no_listener)
    for group in batched(zip(chains, *settings, strict=False), batch_size):
        runs = [_Run(chain, seed, reading, listener) for chain, seed, listener in group]
        for run in runs:
            run.advance(None)
        try:
            while waiting := [run for run in runs if not run.finished]:
                _reply(waiting, policy)
        finally:
            policy.clear()
        outcomes += [run.outcome() for run in runs]
    return outcomes


def _reply(runs: Sequence[_Run], policy: Policy) -> None:
    """Advances each chain by one reply of the policy."""
    started = time.perf_counter()
    dialogues, seeds = [tuple(run.dialogue) for run in runs], [run.reply_seed for run in runs]
    if runs[0].on_event is not no_listener and isinstance(policy, StreamingPolicy):
        replies = policy.stream(dialogues, seeds, _BatchListener(runs))
    else:
        replies = policy.reply(dialogues, seeds)
    share = (time.perf_counter() - started) / len(runs)
    for run, reply in zip(runs, replies, strict=True):
        run.seconds["policy"] += share
        run.advance(reply)


def segment_samples(
    samples: Iterable[VideoSample],
    chain: ChainFn,
    policy: Policy,
    tracker: Tracker,
    view: View | None = None,
    batch_size: int = 1,
    progress: ProgressCallback | None = None,
    reading: Reading = "repair",
    on_event: Callable[[VideoSample, Event], None] | None = None,
) -> Iterator[Segmentation]:
    """Answers samples in batches, and tracks the answers one at a time; yields one result per sample, in order.

    view: (default: the policy's own). progress: called with (done, total) frames while a target is tracked.
    reading: of replies, see `thinkseg.types.Reading`. on_event: called with a sample and what happens to it.
    """
    view = resolve_view(policy, view)
    for group in batched(samples, batch_size):
        seeds = [mixed_seed(sample.id) for sample in group]
        listeners = [partial(on_event, sample) if on_event else no_listener for sample in group]
        chains = (chain(sample, view) for sample in group)
        outcomes = run_chains(chains, policy, seeds=seeds, reading=reading, listeners=listeners)
        for sample, outcome, listener in zip(group, outcomes, listeners, strict=True):
            found = _tracked(sample, outcome, tracker, tracking(listener, progress))
            found = replace(found, warnings=_warnings(sample, policy))
            listener(Finished(found))
            yield found


def _warnings(sample: VideoSample, policy: Policy) -> tuple[str, ...]:
    """Returns why the answer of a policy about a sample may mean nothing."""
    from thinkseg import models
    from thinkseg.data.shapes import shows_shapes

    return (models.BUNDLED_WARNING,) if models.is_bundled(policy.name) and not shows_shapes(sample.video) else ()


def segment_sample(
    sample: VideoSample,
    chain: ChainFn,
    policy: Policy,
    tracker: Tracker,
    view: View | None = None,
    progress: ProgressCallback | None = None,
    reading: Reading = "repair",
    on_event: OnEvent | None = None,
) -> Segmentation:
    """Answers and tracks one sample, see `segment_samples`. on_event: see `thinkseg.events`."""
    tell = (lambda _, event: on_event(event)) if on_event else None
    return next(segment_samples([sample], chain, policy, tracker, view, 1, progress, reading, tell))


def track_prompts(
    sample: VideoSample,
    prompts: Sequence[ObjectPrompt],
    tracker: Tracker,
    progress: ProgressCallback | None = None,
    outcome: Outcome | None = None,
) -> Segmentation:
    """Tracks prompts that `thinkseg.ops.inputs.checked_prompts` returned.

    outcome: what a policy found, which the prompts correct (default: the answer is the boxes on the first keyframe,
        those of the masks found there where none is given). Raises SettingsError if the tracker takes boxes alone.
    """
    started = time.perf_counter()
    masklets = _tracked_prompts(sample.video, prompts, tracker, progress)
    seconds = time.perf_counter() - started
    if outcome is None or outcome.keyframe is None:
        keyframe = min(one.frame for one in prompts)
        answer = Answer(_thinking_of(outcome), keyframe, _boxes_on(keyframe, prompts, masklets))
        outcome = replace(outcome or Outcome(answer, None, ()), answer=answer, keyframe=keyframe)
    return Segmentation(sample, outcome, masklets, seconds, prompts=tuple(prompts))


def _thinking_of(outcome: Outcome | None) -> str:
    return outcome.answer.thinking if outcome and outcome.answer else ""


def _tracked_prompts(
    video: Frames, prompts: Sequence[ObjectPrompt], tracker: Tracker, progress: ProgressCallback | None
) -> Masklets:
    if isinstance(tracker, PromptTracker):
        return tracker.track_prompts(video, prompts, progress)
    boxes = [one.box for one in prompts if one.box is not None and not len(one.points)]
    if len(boxes) < len(prompts) or len({one.frame for one in prompts}) > 1:
        raise SettingsError(f"{tracker.name}: takes boxes on one frame; for other prompts, take flow or a SAM 2")
    return tracker.track(video, prompts[0].frame, np.array(boxes, np.float32), progress)


def _boxes_on(keyframe: int, prompts: Sequence[ObjectPrompt], masklets: Masklets) -> np.ndarray:
    """The boxes of the objects with a prompt on a frame, float32 (N, 4): as given, else of what is found there."""
    boxes = []
    for one in prompts:
        if one.frame == keyframe:
            rle = masklets.rles[one.obj][keyframe]
            box = one.box if one.box is not None else rle and rle_box(rle)
            boxes += [] if box is None else [box]
    return np.array(boxes, np.float32).reshape(-1, 4)


def check_reading(reading: str) -> None:
    """Raises SettingsError unless it is one of `Reading`."""
    if reading not in get_args(Reading):
        raise SettingsError(f"reading: {reading!r} is not valid; give one of {', '.join(get_args(Reading))}")


def changed_view(
    view: View,
    num_frames: int | None = None,
    frame_wh: tuple[int, int] | None = None,
    closeup_wh: tuple[int, int] | None = None,
    label_unit: LabelUnit | None = None,
    prompts: Prompts | None = None,
) -> View:
    """Returns a view with the values that are given. A size of the frames is also that of `overview`."""
    return replace(
        view,
        num_frames=num_frames or view.num_frames,
        frame_wh=frame_wh or view.frame_wh,
        overview_wh=None if frame_wh else view.overview_wh,
        closeup_wh=closeup_wh or view.closeup_wh,
        label_unit=label_unit or view.label_unit,
        prompts=prompts or view.prompts,
    )


def check_view(view: View) -> None:
    """Raises SettingsError unless the numbers of a view are integers >= 1, and its sides at most `MAX_SIDE`."""
    for size in filter(None, (view.frame_wh, view.overview_wh, view.closeup_wh)):
        sides = tuple(size) if isinstance(size, Sequence) else (size,)
        whole = all(isinstance(number, Integral) and number >= 1 for number in (view.num_frames, *sides))
        if len(sides) != 2 or not whole:
            text = f"{view.num_frames!r} frames of {'x'.join(map(str, sides))}"
            raise SettingsError(f"view: {text}; give integers, which must be >= 1, and sizes as (width, height)")
        if max(sides) > MAX_SIDE:
            raise SettingsError(f"view: frames of {sides[0]}x{sides[1]}; sides must be <= {MAX_SIDE}")


def resolve_view(policy: Policy, view: View | None = None) -> View:
    """Returns a view (default: the policy's own) with sizes rounded to the policy's multiple, and with the policy's own
    wording if it has none.

    The coordinates are always those of the policy, which are not a choice, and so are its labels of frames if it states
    them. Raises SettingsError as `check_view` and `resolve_clock` do.
    """
    view = view or policy.view
    check_view(view)
    unit = policy.size_multiple

    def fitted(size_wh: tuple[int, int]) -> tuple[int, int]:
        width, height = size_wh
        return max(unit, round(width / unit) * unit), max(unit, round(height / unit) * unit)

    return replace(
        view,
        frame_wh=fitted(view.frame_wh),
        overview_wh=view.overview_wh and fitted(view.overview_wh),
        closeup_wh=view.closeup_wh and fitted(view.closeup_wh),
        coordinates=policy.coordinates,
        label_unit=resolve_clock(policy.name, policy.view.label_unit, view.label_unit),
        prompts=view.prompts or policy.view.prompts,
    )


def resolve_clock(policy: str, own: Clock, requested: Clock) -> Clock:
    """Returns the labels of frames of a policy. own: those it was trained with. Raises SettingsError for others."""
    if "auto" not in (own, requested) and own != requested:
        raise SettingsError(f"{policy}: was trained with frames labeled by {own}, not {requested}; drop label_unit")
    return requested if own == "auto" else own


def batched(items: Iterable[T], size: int | None) -> Iterator[list[T]]:
    """Yields lists of up to `size` consecutive items, read on demand; one list of all items for None."""
    if size is not None and size < 1:
        raise SettingsError(f"batch size: {size}; must be >= 1")
    items = iter(items)
    while group := list(islice(items, size)):
        yield group


@dataclass(slots=True, eq=False)
class _Run:
    """The state of a running chain. text: of its next reply, as far as the policy has passed it on."""

    chain: Chain
    seed: int
    reading: Reading
    on_event: OnEvent
    dialogue: list[Turn | str] = field(default_factory=list)
    finished: bool = False
    answer: Answer | None = None
    failure: str | None = None
    keyframe: int | None = None
    num_unasked_turns: int = 0
    truncated: bool = False
    repairs: tuple[str, ...] = ()
    num_tokens: int = 0
    num_prompt_tokens: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"frames": 0.0, "policy": 0.0})
    text: str = ""

    @property
    def reply_seed(self) -> int:
        """The seed of the next reply."""
        return mixed_seed(self.seed, len(self.dialogue) // 2)

    def advance(self, reply: Reply | None) -> None:
        """Sends the chain a reply, or None to start it, and receives its next turn or its end."""
        if reply is not None:
            self.receive(reply.text)
            self.on_event(ReplyFinished(reply))
        started = time.perf_counter()
        try:
            turn = next(self.chain) if reply is None else self.chain.send(self._taken(reply))
        except StopIteration as end:
            self.finished, self.answer, self.keyframe = True, end.value, end.value.keyframe
        except AnswerError as error:
            # A truncated reply can fail in any way; the cause is the truncation.
            is_truncated = reply is not None and reply.truncated
            self.finished, self.failure = True, "truncated" if is_truncated else error.reason
            self.keyframe, self.num_unasked_turns = error.keyframe, error.num_unasked_turns
        else:
            self.dialogue.append(turn)
        self.seconds["frames"] += time.perf_counter() - started
        if self.finished:
            self.on_event(Answered(self.outcome()))
        else:
            self.text = ""
            self.on_event(TurnStarted(len(self.dialogue) // 2, turn))

    def receive(self, text: str) -> None:
        """Reports what is new in the text so far of a reply."""
        if text != self.text:
            restarts = not text.startswith(self.text)
            self.on_event(ReplyText(text if restarts else text[len(self.text) :], restarts))
            self.text = text

    def _taken(self, reply: Reply) -> str:
        """Records a reply, and returns it as the chain reads it."""
        text = self._text_of(reply)
        self.dialogue.append(reply.text)
        self.truncated |= reply.truncated
        self.num_tokens += reply.num_tokens
        self.num_prompt_tokens += reply.num_prompt_tokens
        if reply.seconds is not None:
            self.seconds["latency"] = self.seconds.get("latency", 0.0) + reply.seconds
        return text

    def _text_of(self, reply: Reply) -> str:
        """Returns a reply as the chain reads it. One that is incomplete is not repaired."""
        turn = self.dialogue[-1]
        if self.reading == "strict" or reply.truncated or not isinstance(turn, Turn) or turn.repair is None:
            return reply.text
        text, repairs = turn.repair(reply.text)
        self.repairs = tuple(dict.fromkeys((*self.repairs, *repairs)))
        return text

    def outcome(self) -> Outcome:
        return Outcome(
            answer=self.answer,
            failure=self.failure,
            dialogue=tuple(self.dialogue),
            keyframe=self.keyframe,
            num_unasked_turns=self.num_unasked_turns,
            truncated=self.truncated,
            repairs=self.repairs,
            num_tokens=self.num_tokens,
            num_prompt_tokens=self.num_prompt_tokens,
            seconds=dict(self.seconds),
        )


class _BatchListener:
    """Passes what a policy reports about a batch of replies on to the chains. A `thinkseg.types.ReplyListener`."""

    def __init__(self, runs: Sequence[_Run]) -> None:
        self._runs = runs

    def waiting(self, done: int, total: int) -> None:
        for run in self._runs:
            run.on_event(Waiting(done, total))

    def text(self, index: int, text: str) -> None:
        self._runs[index].receive(text)


def _tracked(
    sample: VideoSample, outcome: Outcome, tracker: Tracker, progress: ProgressCallback | None
) -> Segmentation:
    """Returns the outcome with masks tracked from its boxes; no objects without boxes."""
    started = time.perf_counter()
    answer, video = outcome.answer, sample.video
    if answer is None or answer.keyframe is None:
        masklets = empty(video.size_wh, len(video))
    else:
        masklets = tracker.track(video, answer.keyframe, answer.boxes, progress)
    return Segmentation(sample, outcome, masklets, time.perf_counter() - started)
