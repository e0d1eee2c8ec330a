"""Requests and responses of the REST API."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from thinkseg.types import Reading

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED: tuple[State, ...] = ("done", "failed", "cancelled")

MAX_PROMPTS, MAX_POINTS, MAX_OBJECTS = 500, 200, 100

HEX = "^[0-9a-f]{32}$"
DEVICE = "^[a-z]{1,20}(:[0-9]{1,3})?$"
Id = Annotated[str, Field(pattern=HEX)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6)]
Frame = Annotated[int, Field(ge=0, le=10_000_000)]
ObjectNumber = Annotated[int, Field(ge=1, le=MAX_OBJECTS)]


class Error(BaseModel):
    """Why a request is not answered, in one line."""

    error: str


class VideoSummary(BaseModel):
    """A video.

    name: as the client calls it. size: [width, height]. fps, seconds: None for frames without times. bytes: of the
    file. created: Unix time. queries: suggestions about an example clip, and none about other videos.
    """

    id: Id
    name: str
    frames: int
    size: tuple[int, int]
    fps: float | None
    seconds: float | None
    bytes: int
    created: float
    queries: list[str] = []


class Video(VideoSummary):
    """A video with the time of each frame in seconds."""

    times: list[float | None]


class PromptIn(BaseModel):
    """What marks one object on one frame: a box, points, or both, in pixels of the video.

    frame or time: index, or seconds. object: number, from 1. box: [x1, y1, x2, y2]. points: [[x, y], ...]. labels: 1
    for a point on the object (default), 0 for one beside it.
    """

    model_config = ConfigDict(extra="forbid")

    frame: Frame | None = None
    time: Annotated[float, Field(ge=0, le=1e6)] | None = None
    object: ObjectNumber = 1
    box: Annotated[list[Coordinate], Field(min_length=4, max_length=4)] | None = None
    points: Annotated[
        list[Annotated[list[Coordinate], Field(min_length=2, max_length=2)]], Field(max_length=MAX_POINTS)
    ] = []
    labels: Annotated[list[Literal[0, 1]], Field(max_length=MAX_POINTS)] = []

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.frame is None) == (self.time is None):
            raise ValueError("give frame or time")
        if self.labels and len(self.labels) != len(self.points):
            raise ValueError(f"{len(self.labels)} labels for {len(self.points)} points; give one per point, or none")
        return self


class Ask(BaseModel):
    """A question about a video, or prompts by hand, or prompts that correct the result of an earlier question.

    Three forms: {video, query}; {video, prompts}; {result, prompts, drop}. preset: the models, a name of
    GET /api/models (default: those of the server). device: of the models, such as "cuda:1" (default:
    that of the server). drop: objects of the result whose earlier prompts do not count.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"video": 32 * "0", "query": "the ball that is hit last"},
                {"video": 32 * "0", "prompts": [{"time": 2.4, "box": [105, 85, 195, 175]}]},
                {"result": 32 * "0", "prompts": [{"frame": 12, "object": 1, "points": [[150, 130]], "labels": [1]}]},
            ]
        },
    )

    video: Id | None = None
    result: Id | None = None
    query: Annotated[str, Field(max_length=4_000)] | None = None
    chain: Literal["veason", "revseg"] | None = None
    reading: Reading = "repair"
    preset: Annotated[str, Field(max_length=100)] | None = None
    device: Annotated[str, Field(pattern=DEVICE)] | None = None
    prompts: Annotated[list[PromptIn], Field(max_length=MAX_PROMPTS)] = []
    drop: Annotated[list[ObjectNumber], Field(max_length=MAX_OBJECTS)] = []

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.video is None) == (self.result is None):
            raise ValueError("give video, or result to correct one")
        if self.result and not (self.prompts or self.drop):
            raise ValueError("give prompts or drop, which correct the result")
        if self.video and not self.prompts and not (self.query or "").strip():
            raise ValueError("give a query, or prompts")
        if self.drop and not self.result:
            raise ValueError("drop is about the objects of a result")
        return self


class Question(BaseModel):
    """A question and what became of it.

    video: its video. result: the earlier question that it corrects. position: in the queue, from 1. error: why it
    failed. created, seconds: Unix time, and time of work. summary: of the result, once the state is "done":
    failure (the reply could not be used), no_target, thinking, keyframe, boxes, prompts, replies, objects (seen: 1 per
    frame with a mask), confidence (per object and frame).
    """

    id: Id
    video: Id
    query: str | None
    chain: str
    reading: Reading
    preset: str | None
    device: str | None
    prompts: list[PromptIn]
    drop: list[int]
    result: Id | None
    state: State
    position: int | None = None
    error: str | None = None
    created: float
    seconds: float | None = None
    summary: dict[str, Any] | None = None


class MaskBlock(BaseModel):
    """Masks of up to 32 frames. objects: per object and frame the counts of COCO's compressed RLE; None: empty."""

    start: int
    size: tuple[int, int]
    objects: list[list[str | None]]


class Memory(BaseModel):
    """Bytes. process: of the process with the models. gpu: of its tensors on a GPU."""

    process: int
    gpu: int | None


class PresetFacts(BaseModel):
    """A preset whose models are on this machine."""

    name: str
    summary: str


class Models(BaseModel):
    """The models of the server, what it accepts, and how busy it is.

    models, device, memory: of what is loaded. devices: that can be chosen; none until they are known.
    """

    version: str
    preset: str
    policy: str | None
    tracker: str
    chain: str
    presets: list[PresetFacts]
    models: list[str]
    device: str | None
    devices: list[str]
    memory: Memory | None
    queued: int
    limits: dict[str, float]
    used_bytes: int
