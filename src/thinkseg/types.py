"""The nouns of the straight line: what flows from a data set to a score.

Units, once and for all: a frame is uint8 RGB (H, W, 3); a mask is bool (H, W); a box is float32 xyxy in pixels of the
source frame, x1 and y1 exclusive; a size is (width, height); a time is in seconds; a frame index is 0-based and counts
frames of the whole video.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np

from thinkseg.rle import Rle, decode

Coordinates = Literal["pixels", "normalized_1000"]
"""How a policy writes boxes: pixels of the image it was shown (Qwen2.5-VL) or normalized to 0..1000 (Qwen3-VL)."""

RENAMED_COORDINATES: dict[str, Coordinates] = {"thousandths": "normalized_1000"}
"""Earlier names in stored settings, which are read for one more release."""

LabelUnit = Literal["seconds", "index"]
"""How frames are labelled for a policy: true seconds, or the frame index where a benchmark defines it so."""


class Frames(Protocol):
    """A video: frames on demand, none held longer than needed."""

    name: str
    size_wh: tuple[int, int]
    fps: float | None
    """Mean frames a second; None when the frames carry no times (a folder of images)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray:
        """Frame `index`, uint8 RGB (H, W, 3). Raises IndexError outside 0..len-1."""
        ...

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """The named frames in the order asked for; ascending indices are decoded in one pass."""
        ...

    def time_of(self, index: int) -> float | None:
        """Presentation time of a frame in seconds from the first one; None when unknown."""
        ...


class Track(Protocol):
    """The masks of one object, frame by frame: a tuple, or something that reads them when they are asked for.

    An entry is None where the object is not seen, or where no one has looked: see whoever made the track.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, frame: int, /) -> Rle | None: ...

    def __iter__(self) -> Iterator[Rle | None]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Masklets:
    """Per object, per frame masks of a whole video, kept as run lengths and decoded on demand.

    rles: one track per object with one entry per frame; None where the object is not seen. No objects: no target.
    """

    size_wh: tuple[int, int]
    num_frames: int
    rles: tuple[Track, ...]

    def __post_init__(self) -> None:
        for position, track in enumerate(self.rles):
            if len(track) != self.num_frames:
                raise ValueError(f"object {position} has {len(track)} masks for {self.num_frames} frames")

    @property
    def num_objects(self) -> int:
        return len(self.rles)

    def mask(self, frame: int, obj: int) -> np.ndarray:
        """Mask of one object in one frame, bool (H, W)."""
        rle = self.rles[obj][frame]
        if rle is None:
            return np.zeros(self.size_wh[::-1], bool)
        return decode(rle)

    def masks(self, frame: int) -> np.ndarray:
        """Masks of all objects in one frame, bool (N, H, W)."""
        masks = [self.mask(frame, obj) for obj in range(self.num_objects)]
        return np.stack(masks) if masks else np.zeros((0, *self.size_wh[::-1]), bool)

    def union(self, frame: int) -> np.ndarray:
        """All objects of one frame merged, bool (H, W)."""
        merged = np.zeros(self.size_wh[::-1], bool)
        for track in self.rles:
            rle = track[frame]
            if rle is not None:
                merged |= decode(rle)
        return merged

    def area(self, frame: int) -> int:
        """Pixels of the merged objects in one frame."""
        return int(self.union(frame).sum())

    def boxes(self, frame: int) -> np.ndarray:
        """Tight boxes of the objects that are seen in one frame, float32 (M, 4) with M <= num_objects."""
        found = []
        for track in self.rles:
            rle = track[frame]
            if rle is None:
                continue
            ys, xs = np.nonzero(decode(rle))
            if len(xs):
                found.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
        return np.array(found, np.float32).reshape(-1, 4)


@dataclass(frozen=True, slots=True, eq=False)
class VideoSample:
    """One question about one video, with the truth where it is known.

    truth: masks of the target objects; no objects means the right answer is "there is none"; None means unknown.
    foreground: masks of all annotated objects, which one robustness score needs.
    """

    id: str
    video: Frames
    query: str
    category: str = ""
    truth: Masklets | None = None
    foreground: Masklets | None = None


@dataclass(frozen=True, slots=True)
class View:
    """How a chain shows a video to a policy.

    num_frames: frames sampled from the video (fewer when it is shorter).
    frame_wh: size every frame is resized to; sides are multiples of the policy's `size_multiple`.
    overview_wh, closeup_wh: what takes its place in a chain that shows one frame again, alone and larger: the size of
        the sampled frames (`frame_wh` unless given) and of that one (twice theirs unless given).
    """

    num_frames: int
    frame_wh: tuple[int, int]
    coordinates: Coordinates = "pixels"
    label_unit: LabelUnit = "seconds"
    overview_wh: tuple[int, int] | None = None
    closeup_wh: tuple[int, int] | None = None

    @property
    def overview(self) -> View:
        """How such a chain shows the sampled frames."""
        return replace(self, frame_wh=self.overview_wh or self.frame_wh)

    @property
    def closeup(self) -> View:
        """How such a chain shows the one frame."""
        width, height = self.overview.frame_wh
        return replace(self, num_frames=1, frame_wh=self.closeup_wh or (2 * width, 2 * height))


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the model said about one video.

    keyframe: 0-based index into the whole video, never into the sampled frames; None if there is no target.
    boxes: float32 (N, 4), xyxy, pixels of the source frame; N is 0 if there is no target.
    """

    thinking: str
    keyframe: int | None
    boxes: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """One thing said to a policy: texts and images (uint8 RGB, at the size the policy sees) in reading order."""

    content: tuple[str | np.ndarray, ...]

    @property
    def images(self) -> list[np.ndarray]:
        return [part for part in self.content if not isinstance(part, str)]


Dialogue = tuple[Turn | str, ...]
"""A conversation: turns (said to the policy) and strings (its replies) in alternation, a turn first."""

Chain = Generator[Turn, str, Answer]
"""A multi-step protocol: yields turns, receives replies, returns the answer or raises AnswerError."""

ChainFn = Callable[[VideoSample, View], Chain]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a policy wrote in one turn.

    num_tokens: tokens written; num_prompt_tokens: tokens read; 0 where nobody counted.
    truncated: it ran into the token limit.
    seconds: how long this reply alone took; None where those of a batch came together.
    """

    text: str
    num_tokens: int = 0
    truncated: bool = False
    num_prompt_tokens: int = 0
    seconds: float | None = None


class Policy(Protocol):
    """Something that answers turns: a model in this process, a served model, or a script."""

    name: str
    coordinates: Coordinates
    size_multiple: int
    view: View
    """How this policy likes to be shown a video, unless a caller says otherwise."""

    def reply(self, dialogues: Sequence[Dialogue], seeds: Sequence[int] | None = None) -> list[Reply]:
        """Answers the last turn of each dialogue, in order.

        seeds: one integer per dialogue (default: their positions). A sampled reply depends on its dialogue, its seed
            and the policy's own seed, not on other dialogues or earlier calls.
        """
        ...

    def clear(self) -> None:
        """Frees what is cached of earlier turns. Called when a batch of dialogues is finished."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """How one dialogue ended.

    answer: None if a reply could not be used. That was the last one in `dialogue`, and those before it could be.
    failure: None, or why it could not be: a word of `thinkseg.chains.parsing.REASONS`.
    dialogue: everything said, the last reply included.
    keyframe: the frame that was chosen, an index into the whole video, even if no boxes on it could be read; None if
        there is no target, or no frame could be read.
    unasked: turns that were still to come when a reply could not be used.
    truncated: some reply ran into the token limit.
    num_tokens, num_prompt_tokens: written and read by the policy in all turns, see `Reply`.
    seconds: wall time of the chain's own work ("frames": reading and resizing) and its share of the policy's
        ("policy"); and what its replies took of themselves ("latency"), where that is known.
    """

    answer: Answer | None
    failure: str | None
    dialogue: Dialogue
    keyframe: int | None = None
    num_unasked_turns: int = 0
    truncated: bool = False
    num_tokens: int = 0
    num_prompt_tokens: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def replies(self) -> tuple[str, ...]:
        """What the policy said, turn by turn."""
        return tuple(said for said in self.dialogue if isinstance(said, str))


Progress = Callable[[int, int], None]
"""Called with (done, total) while something long runs."""


class Tracker(Protocol):
    """Something that follows boxes from one frame through a whole video."""

    name: str

    def track(self, video: Frames, keyframe: int, boxes: np.ndarray, progress: Progress | None = None) -> Masklets:
        """boxes: float32 (N, 4) xyxy pixels of the source frame, on `keyframe`. N objects in the result, same order."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The outcome of a dialogue about one sample, with the masks of its answer.

    masklets: no objects if the outcome has no answer, or if its answer says that there is no target.
    tracker_seconds: wall time of tracking.
    """

    sample: VideoSample
    outcome: Outcome
    masklets: Masklets
    tracker_seconds: float = 0.0

    @property
    def answer(self) -> Answer | None:
        """None if a reply could not be used."""
        return self.outcome.answer

    @property
    def failure(self) -> str | None:
        """None, or why there is no answer: a word of `thinkseg.chains.parsing.REASONS`."""
        return self.outcome.failure

    @property
    def dialogue(self) -> Dialogue:
        """The whole dialogue, the last reply included."""
        return self.outcome.dialogue

    @property
    def seconds(self) -> Mapping[str, float]:
        """Wall time by step, e.g. {"frames": 0.1, "policy": 1.2, "tracker": 0.8}."""
        return {**self.outcome.seconds, "tracker": self.tracker_seconds}
