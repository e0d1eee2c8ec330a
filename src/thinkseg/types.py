"""Types that all parts share, from videos and samples to answers and masks.

Units: a frame is uint8 RGB (H, W, 3), a mask bool (H, W), a box float32 xyxy in pixels of the source frame, a size
(width, height), a time in seconds, a frame index 0-based in the complete video. The maxima of a box are exclusive.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np

from thinkseg.prompts import BUILT_IN, Prompts
from thinkseg.rle import Rle, decode, rle_area

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Coordinates = Literal["pixels", "normalized_1000"]
"""How a policy writes boxes: pixels of the image it was shown (Qwen2.5-VL) or normalized to 0..1000 (Qwen3-VL)."""

RENAMED_COORDINATES: dict[str, Coordinates] = {"thousandths": "normalized_1000"}
"""Earlier names in stored settings, which are read for one more release."""

MAX_SIDE = 4096
"""Longest side of a frame shown to a policy. A larger one is likely a typing error, and would fill the memory."""

LabelUnit = Literal["seconds", "index"]
"""Labels of frames in prompts: times in seconds, or frame indices, which some benchmarks define."""

Clock = Literal["seconds", "index", "auto"]
"""The labels that a policy expects. "auto", of a policy that was not trained here: seconds if the times are known."""


Reading = Literal["strict", "repair"]
"""How replies are read: in the exact form that a turn asks for, or also what `Turn.repair` brings into it."""


class Frames(Protocol):
    """A video whose frames are read on access."""

    name: str
    size_wh: tuple[int, int]
    fps: float | None
    """Mean frames per second; None for frames without times (a folder of images)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray:
        """Returns frame `index`, uint8 RGB (H, W, 3). Raises IndexError outside 0..len-1."""
        ...

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields frames in the order of `indices`; ascending ones are decoded in one pass."""
        ...

    def time_of(self, index: int) -> float | None:
        """Returns the time of a frame in its source, whose first frame has the time 0, in seconds; None if unknown."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """Where the frames of a video are in its source. indices: of its frames. num_frames, size_wh: of the source."""

    indices: range
    num_frames: int
    size_wh: tuple[int, int]


def part_of(video: Frames) -> Part:
    """Returns where the frames of a video are in its source, its attribute `part`; without one, it is all of it."""
    part: Part | None = getattr(video, "part", None)
    return part or Part(range(len(video)), len(video), video.size_wh)


class Track(Protocol):
    """The masks of one object per frame: a tuple, or an object that reads them on access.

    None: the object is not visible, or the frame is not annotated, depending on the source.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, frame: int, /) -> Rle | None: ...

    def __iter__(self) -> Iterator[Rle | None]: ...


def _short(text: str) -> str:
    """A text in quotes, for `repr`, at most 80 characters long."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def _shape(num_frames: int, size_wh: tuple[int, int]) -> str:
    """The extent of a video, for `repr`."""
    return "{} frames of {}x{}".format(num_frames, *size_wh)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Masklets:
    """Masks of a video per object and frame, stored as RLEs and decoded on access.

    rles: one track per object with one entry per frame. No objects: there is no target.
    confidence: float32 (N, T) in 0..1, how sure the tracker is of each object in each frame, be it visible or not; None
        if it is unknown, as for the ground truth.
    """

    size_wh: tuple[int, int]
    num_frames: int
    rles: tuple[Track, ...]
    confidence: np.ndarray | None = None

    def __post_init__(self) -> None:
        expected = self.num_objects, self.num_frames
        if self.confidence is not None and self.confidence.shape != expected:
            raise ValueError(f"confidence has the shape {self.confidence.shape}, not {expected}")
        for position, track in enumerate(self.rles):
            if len(track) != self.num_frames:
                raise ValueError(f"object {position} has {len(track)} masks for {self.num_frames} frames")

    def __repr__(self) -> str:
        return f"Masklets({self.num_objects} objects, {_shape(self.num_frames, self.size_wh)})"

    @property
    def num_objects(self) -> int:
        return len(self.rles)

    def objects(self, indices: Sequence[int]) -> Masklets:
        """Returns the masks of some objects, in the order of their indices."""
        confidence = None if self.confidence is None else self.confidence[list(indices)]
        return replace(self, rles=tuple(self.rles[obj] for obj in indices), confidence=confidence)

    def seen(self, obj: int) -> np.ndarray:
        """Returns in which frames the mask of an object is not empty, bool (T,)."""
        return np.array([rle is not None and rle_area(rle) > 0 for rle in self.rles[obj]], bool)

    def mask(self, frame: int, obj: int) -> np.ndarray:
        """Returns the mask of an object in a frame, bool (H, W)."""
        rle = self.rles[obj][frame]
        if rle is None:
            return np.zeros(self.size_wh[::-1], bool)
        return decode(rle)

    def masks(self, frame: int) -> np.ndarray:
        """Returns the masks of all objects in a frame, bool (N, H, W)."""
        masks = [self.mask(frame, obj) for obj in range(self.num_objects)]
        return np.stack(masks) if masks else np.zeros((0, *self.size_wh[::-1]), bool)

    def union(self, frame: int) -> np.ndarray:
        """Returns the merged mask of all objects in a frame, bool (H, W)."""
        merged = np.zeros(self.size_wh[::-1], bool)
        for track in self.rles:
            rle = track[frame]
            if rle is not None:
                merged |= decode(rle)
        return merged

    def area(self, frame: int) -> int:
        """Returns the area of the merged mask of a frame in pixels."""
        return int(self.union(frame).sum())

    def boxes(self, frame: int) -> np.ndarray:
        """Returns tight boxes of the objects visible in a frame, float32 (M, 4), M <= num_objects."""
        found = []
        for track in self.rles:
            rle = track[frame]
            if rle is None:
                continue
            ys, xs = np.nonzero(decode(rle))
            if len(xs):
                found.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
        return np.array(found, np.float32).reshape(-1, 4)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class VideoSample:
    """A video and a query, with the ground truth if it is known.

    truth: masks of the targets; no objects: there is no target; None: unknown.
    foreground: masks of all annotated objects, which a robustness metric of ReVOS requires.
    """

    id: str
    video: Frames
    query: str
    category: str = ""
    truth: Masklets | None = None
    foreground: Masklets | None = None

    def __repr__(self) -> str:
        video = _shape(len(self.video), self.video.size_wh)
        return f"VideoSample({self.id!r}, {video}, query={_short(self.query)}, truth={self.truth})"


@dataclass(frozen=True, slots=True)
class View:
    """How a chain shows a video to a policy.

    num_frames: frames sampled from the video, fewer if it is shorter.
    label_unit: labels of the frames; those that the policy was trained with, if it states them.
    frame_wh: size of the frames shown; sides are multiples of the policy's `size_multiple`.
    overview_wh, closeup_wh: sizes for a chain that shows one frame again: of the sampled frames (default: `frame_wh`),
        and of that frame (default: twice the former).
    prompts: the wording of the chains (default: the policy's own, else the built-in one).
    """

    num_frames: int
    frame_wh: tuple[int, int]
    coordinates: Coordinates = "pixels"
    label_unit: Clock = "auto"
    overview_wh: tuple[int, int] | None = None
    closeup_wh: tuple[int, int] | None = None
    prompts: Prompts | None = None

    @property
    def wording(self) -> Prompts:
        """The wording in force."""
        return self.prompts or BUILT_IN

    @property
    def overview(self) -> View:
        """The view of the sampled frames in such a chain."""
        return replace(self, frame_wh=self.overview_wh or self.frame_wh)

    @property
    def closeup(self) -> View:
        """The view of the single frame in such a chain."""
        width, height = self.overview.frame_wh
        return replace(self, num_frames=1, frame_wh=self.closeup_wh or (2 * width, 2 * height))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Answer:
    """A parsed answer.

    keyframe: index into the video, not into the sampled frames; None if there is no target.
    boxes: float32 (N, 4), xyxy in pixels of the source frame; N is 0 if there is no target.
    """

    thinking: str
    keyframe: int | None
    boxes: np.ndarray

    def __repr__(self) -> str:
        boxes = reprlib.repr(self.boxes.astype(float).round(1).tolist())
        return f"Answer(keyframe={self.keyframe}, boxes={boxes}, thinking={_short(self.thinking)})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Turn:
    """A user message: texts and images (uint8 RGB, in the size shown) in reading order.

    repair: returns a reply in the form that this turn asks for, with the names of its repairs, for `Reading` "repair";
        see `thinkseg.chains.repair`. None: replies are read as they are.
    labels: of the frames that the images show, by their index into the video; empty if the chain does not state them.
    """

    content: tuple[str | np.ndarray, ...]
    repair: Callable[[str], tuple[str, tuple[str, ...]]] | None = None
    labels: Mapping[int, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        images = self.images
        size = " of {}x{}".format(*images[0].shape[1::-1]) if images else ""
        text = " ".join(part for part in self.content if isinstance(part, str))
        return f"Turn({len(images)} images{size}, text={_short(text)})"

    @property
    def images(self) -> list[np.ndarray]:
        return [part for part in self.content if not isinstance(part, str)]


Dialogue = tuple[Turn | str, ...]
"""A conversation: alternating turns and replies (strings), starting with a turn."""

Chain = Generator[Turn, str, Answer]
"""A multi-step protocol: yields turns, receives replies, returns the answer or raises AnswerError."""

ChainFn = Callable[[VideoSample, View], Chain]
"""Starts a dialogue about a sample."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A policy's reply to one turn.

    num_tokens, num_prompt_tokens: completion and prompt tokens; 0 if not counted.
    truncated: the reply reached the token limit.
    seconds: latency of this reply; None if replies of a batch are not timed separately.
    """

    text: str
    num_tokens: int = 0
    truncated: bool = False
    num_prompt_tokens: int = 0
    seconds: float | None = None


class ReplyListener(Protocol):
    """Receives replies while they are generated. An exception that it raises ends the generation, and is passed on."""

    def waiting(self, done: int, total: int) -> None:
        """Called again and again while there is no new text.

        done, total: layers of the model that have read the prompt; 0 of 0 if unknown, as of a served model.
        """
        ...

    def text(self, index: int, text: str) -> None:
        """Takes the text so far of the reply to dialogue `index`.

        A text that does not continue the one before replaces it, as after a request that was sent again.
        """
        ...


class Policy(Protocol):
    """Replies to turns: a local model, a served model or a script.

    A policy may also have `stream(dialogues, seeds, listener)`, see `StreamingPolicy`.
    """

    name: str
    coordinates: Coordinates
    size_multiple: int
    view: View
    """Default view of this policy."""

    def reply(self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None = None) -> list[Reply]:
        """Replies to the last turn of each dialogue, in order.

        seeds: one integer per dialogue (default: their positions). A sampled reply depends on its dialogue, its seed
            and the policy's own seed, not on other dialogues or earlier calls.
        """
        ...

    def clear(self) -> None:
        """Frees what is cached of earlier turns. Called when a batch of dialogues is finished."""
        ...


@runtime_checkable
class StreamingPolicy(Policy, Protocol):
    """A policy whose replies can be read while they are generated."""

    def stream(
        self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None, listener: ReplyListener
    ) -> list[Reply]:
        """Returns what `reply` returns. The listener is called on the thread of the caller, in its own time."""
        ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Outcome:
    """The result of a dialogue.

    answer: None if the last reply is invalid.
    failure: why it is invalid, a key of `thinkseg.chains.parsing.REASONS`; None if it is valid.
    dialogue: all turns and replies.
    keyframe: the chosen frame, an index into the video, also if the boxes on it are invalid; None without a target or
        a valid frame.
    num_unasked_turns: turns that the dialogue lacks because a reply is invalid.
    truncated: a reply reached the token limit.
    repairs: names of what was repaired in replies, see `thinkseg.chains.repair.REPAIRS`. `dialogue` has the originals.
    num_tokens, num_prompt_tokens: sums over all turns, see `Reply`.
    seconds: wall times: "frames" for reading and resizing, "policy" for the share of the policy's time, and "latency"
        for the latencies of the replies, if known.
    """

    answer: Answer | None
    failure: str | None
    dialogue: Dialogue
    keyframe: int | None = None
    num_unasked_turns: int = 0
    truncated: bool = False
    repairs: tuple[str, ...] = ()
    num_tokens: int = 0
    num_prompt_tokens: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        result = f"failure={self.failure!r}" if self.failure else f"answer={self.answer}"
        return f"Outcome({result}, {len(self.replies)} replies, {self.num_tokens} tokens)"

    @property
    def replies(self) -> tuple[str, ...]:
        """The replies of the policy, per turn."""
        return tuple(message for message in self.dialogue if isinstance(message, str))


ProgressCallback = Callable[[int, int], None]
"""Called with (done, total) during a long operation."""


@dataclass(frozen=True, slots=True, eq=False, repr=False, init=False)
class ObjectPrompt:
    """What marks one object on one frame: a box, points or both, or a mask.

    frame: index into the video; a time in seconds (float) becomes one when the prompts are checked. obj: number of the
        object, from 0, as in `Masklets`.
    box: float32 (4,), xyxy. points: float32 (P, 2), xy; labels: int (P,), 1 for a point on the object (default), 0 for
        one beside it. mask: bool (H, W). All in pixels of the source frame, and given as any array or list;
        `thinkseg.ops.inputs.checked_prompts` checks the values.
    """

    frame: int
    obj: int
    box: np.ndarray | None
    points: np.ndarray
    labels: np.ndarray
    mask: np.ndarray | None

    def __init__(
        self,
        frame: int | float,
        obj: int = 0,
        box: ArrayLike | None = None,
        points: ArrayLike = (),
        labels: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> None:
        """Raises ValueError for points, labels or a box of another shape."""
        xy = np.asarray(points, np.float32).reshape(-1, 2)
        values = {
            "frame": frame,
            "obj": obj,
            "box": None if box is None else np.asarray(box, np.float32).reshape(4),
            "points": xy,
            "labels": np.ones(len(xy), int) if labels is None else np.asarray(labels, int).reshape(len(xy)),
            "mask": None if mask is None else np.asarray(mask) != 0,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        box = None if self.box is None else self.box.tolist()
        parts = {"box": box, "points": self.points.tolist(), "labels": self.labels.tolist()}
        shown = [f"{name}={value}" for name, value in parts.items() if value] + ["mask=..."] * (self.mask is not None)
        return f"ObjectPrompt({', '.join([f'frame={self.frame}', f'obj={self.obj}', *shown])})"


class Tracker(Protocol):
    """Tracks boxes on one frame through a video.

    A tracker may also have `track_prompts(video, prompts, progress)`, see `PromptTracker`.
    """

    name: str

    def track(
        self, video: Frames, keyframe: int, boxes: np.ndarray, progress: ProgressCallback | None = None
    ) -> Masklets:
        """Tracks boxes on `keyframe`, float32 (N, 4), xyxy in pixels of the source frame.

        Returns masks of N objects in the same order, in all frames.
        """
        ...


@runtime_checkable
class PromptTracker(Tracker, Protocol):
    """A tracker that also takes points and masks, and prompts on several frames."""

    def track_prompts(
        self, video: Frames, prompts: Sequence[ObjectPrompt], progress: ProgressCallback | None = None
    ) -> Masklets:
        """Tracks objects from all their prompts.

        prompts: valid ones, see `thinkseg.ops.inputs.checked_prompts`: at most one per object and frame, and at least
            one for each of the objects 0 to N - 1. Returns masks of these N objects, in all frames.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Segmentation:
    """The outcome of a sample's dialogue, with the masks of its answer.

    masklets: without objects if there is no answer, or if the answer is that there is no target.
    tracker_seconds: wall time of tracking.
    prompts: what the tracker was given by hand, alone or in correction of the answer; none: the boxes of the answer.
    warnings: one line each, why the result may mean nothing.
    """

    sample: VideoSample
    outcome: Outcome
    masklets: Masklets
    tracker_seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    prompts: tuple[ObjectPrompt, ...] = ()

    def __repr__(self) -> str:
        names = ("sample", "outcome", "masklets") + ("warnings",) * bool(self.warnings)
        return "Segmentation(\n" + "".join(f"    {name}={getattr(self, name)},\n" for name in names) + ")"

    @property
    def answer(self) -> Answer | None:
        """None if a reply is invalid."""
        return self.outcome.answer

    @property
    def failure(self) -> str | None:
        """Why there is no answer, a key of `thinkseg.chains.parsing.REASONS`; None if there is one."""
        return self.outcome.failure

    @property
    def dialogue(self) -> Dialogue:
        """All turns and replies."""
        return self.outcome.dialogue

    @property
    def seconds(self) -> Mapping[str, float]:
        """Wall time per step, such as {"frames": 0.1, "policy": 1.2, "tracker": 0.8}."""
        return {**self.outcome.seconds, "tracker": self.tracker_seconds}
