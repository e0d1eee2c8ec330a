"""The routes of the app: the page, and the REST API that it uses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from thinkseg import __version__
from thinkseg.app.answering import MASKS, RESULT
from thinkseg.app.jobs import read_summary
from thinkseg.app.media import BLOCK
from thinkseg.app.schemas import (
    HEX,
    Ask,
    Error,
    MaskBlock,
    Models,
    PresetFacts,
    Question,
    Video,
    VideoSummary,
)
from thinkseg.app.service import Service
from thinkseg.app.store import Entry, file_title
from thinkseg.report.formats import FORMATS
from thinkseg.web.errors import RequestError

Identity = Annotated[str, PathParameter(pattern=HEX, description="an id that the server gave")]
FrameIndex = Annotated[int, Query(ge=0, le=10_000_000, description="index of a frame")]

EXPORTS = ("result", *FORMATS)
"""Formats of results that can be downloaded. "result" is the folder that `thinkseg segment` writes, without masks in
other formats."""

IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}
UNCHECKED = {"Cache-Control": "no-store"}

KEEP_ALIVE_SECONDS = 15.0
"""After so long without an event, a comment is sent, by which a client that has left is found."""


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns what OpenAPI says about the errors of a route; 422 is for invalid values everywhere."""
    return {status: {"model": Error} for status in (401, 403, 422, *statuses)}


def service_of(request: Request) -> Service:
    """Returns the service of an application."""
    service: Service = request.app.state.service
    return service


App = Annotated[Service, Depends(service_of)]
router = APIRouter(prefix="/api")

BINARY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
JPEG = {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
EVENT_STREAM = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}


@router.get("/models", responses=errors())
async def models(app: App) -> Models:
    """The models in use, presets to choose from, and the limits of the server."""
    choice = app.choice
    return Models(
        version=__version__,
        preset=str(choice.preset.value),
        policy=choice.policy.value,
        tracker=choice.tracker_name(),
        chain=choice.chain_name(),
        presets=[PresetFacts(name=name, summary=summary) for name, summary in app.presets.items()],
        queued=app.jobs.num_queued,
        limits=app.public_limits(),
        used_bytes=app.store.used_bytes,
        **app.jobs.models,
    )


@router.get("/videos", responses=errors())
async def videos(app: App) -> list[VideoSummary]:
    """All videos, the newest first; example clips have queries."""
    return [VideoSummary(**entry.facts) for entry in app.store.videos()]


@router.post(
    "/videos",
    status_code=201,
    responses=errors(400, 408, 411, 413, 503, 507),
    openapi_extra={"requestBody": {**BINARY, "required": True}},
)
async def upload(
    request: Request,
    app: App,
    name: Annotated[str, Query(max_length=300, description="what the video is called")] = "video",
) -> Video:
    """Uploads a video file: its bytes are the body. The file decides what it is, not its name or Content-Type."""
    try:
        entry = await app.upload(request.stream(), int(request.headers.get("content-length", 0)), name)
    except ClientDisconnect:
        raise RequestError(400, "the client left before the end of the body") from None
    return Video(**entry.facts)


@router.get("/videos/{identity}", responses=errors(404))
async def video(app: App, identity: Identity) -> Video:
    """One video, with the times of its frames."""
    return Video(**app.store.find("videos", identity).facts)


@router.delete("/videos/{identity}", status_code=204, responses=errors(404, 409))
async def delete_video(app: App, identity: Identity) -> None:
    """Deletes a video and the questions about it."""
    app.delete(app.store.find("videos", identity))


@router.get("/videos/{identity}/frame", response_class=FileResponse, responses={**errors(404), 200: JPEG})
async def frame(
    app: App,
    identity: Identity,
    index: Annotated[int | None, Query(ge=0, le=10_000_000, description="index of a frame")] = None,
    t: Annotated[float | None, Query(ge=0, le=1e6, description="time in seconds; the nearest frame is meant")] = None,
    small: Annotated[bool, Query(description="at most 240 pixels wide and high")] = False,
) -> FileResponse:
    """One frame, by its index or time (default: the first one)."""
    entry = app.store.find("videos", identity)
    found = nearest(entry.facts["times"], t) if index is None and t is not None else index or 0
    check_frame(entry, found)
    name = f"frames/{'small' if small else 'full'}-{found}.jpg"
    path = await app.made(entry, name, {"task": "frame", "index": found, "small": small})
    return FileResponse(path, media_type="image/jpeg", headers=IMMUTABLE)


@router.get("/videos/{identity}/frames", response_class=FileResponse, responses={**errors(404), 200: BINARY})
async def frames(app: App, identity: Identity, frame: FrameIndex = 0) -> FileResponse:
    """The block of 32 frames that has a frame: for each, the number of its bytes (uint32, little-endian) and a JPEG.

    Block n has the frames from 32 n. Longer sides than 960 pixels are reduced to that.
    """
    entry = app.store.find("videos", identity)
    check_frame(entry, frame)
    start = frame - frame % BLOCK
    path = await app.made(entry, f"frames/{start:06d}", {"task": "block", "start": start})
    return FileResponse(path, media_type="application/octet-stream", headers=IMMUTABLE)


@router.get("/questions", responses=errors())
async def questions(
    app: App, video: Annotated[str | None, Query(pattern=HEX, description="those about a video alone")] = None
) -> list[Question]:
    """All questions, the newest first, without summaries."""
    return [question_of(app, entry) for entry in app.store.questions(video)]


@router.post("/questions", status_code=202, responses=errors(404, 409, 503))
async def ask(app: App, asked: Ask) -> Question:
    """Asks a question, has prompts by hand tracked, or corrects a result. The answer is made in the background."""
    return question_of(app, app.ask(asked))


@router.get("/questions/{identity}", responses=errors(404))
async def question(app: App, identity: Identity) -> Question:
    """One question, with the summary of its result."""
    entry = app.store.find("questions", identity)
    return question_of(app, entry).model_copy(update={"summary": await asyncio.to_thread(read_summary, entry)})


@router.delete("/questions/{identity}", status_code=204, responses=errors(404, 409))
async def delete_question(app: App, identity: Identity) -> None:
    """Cancels a question that waits or is being answered; deletes one that has ended."""
    entry = app.store.find("questions", identity)
    if app.jobs.is_pending(entry):
        app.jobs.cancel(entry)
    else:
        app.delete(entry)


@router.get(
    "/questions/{identity}/events",
    response_class=StreamingResponse,
    responses={**errors(404, 503), 200: EVENT_STREAM},
)
async def events(app: App, identity: Identity) -> StreamingResponse:
    """Server-sent events: all that has happened, and what happens, until the question ends."""
    entry = app.store.find("questions", identity)
    app.check_streams()
    return StreamingResponse(app.stream(server_sent(app, entry)), media_type="text/event-stream", headers=UNCHECKED)


@router.get(
    "/questions/{identity}/masks", response_class=FileResponse, responses={**errors(404), 200: {"model": MaskBlock}}
)
async def masks(app: App, identity: Identity, frame: FrameIndex = 0) -> FileResponse:
    """The block of masks that has a frame; blocks are those of the frames of the video."""
    path = app.store.find("questions", identity).folder / MASKS / f"{frame - frame % BLOCK:06d}.json"
    if not path.is_file():
        raise RequestError(404, "there are no masks of this frame")
    return FileResponse(path, media_type="application/json", headers=IMMUTABLE)


@router.get(
    "/questions/{identity}/files/{format}",
    response_class=FileResponse,
    responses={**errors(404, 409), 200: BINARY},
)
async def files(
    app: App, identity: Identity, format: Annotated[str, PathParameter(pattern=f"^({'|'.join(EXPORTS)})$")]
) -> FileResponse:
    """The result in a format of docs/formats.md, or "result" for answer.json and masks.json; a folder as zip."""
    entry = app.store.find("questions", identity)
    if not (entry.folder / RESULT).is_dir() or (format != "result" and not (entry.folder / MASKS).is_dir()):
        raise RequestError(409, "the question has no masks to download; see its state")
    path = await app.exported(entry, format)
    title = file_title(app.store.find("videos", entry.facts["video"]))
    return FileResponse(path, filename=f"{title}-{path.name}", headers=UNCHECKED)


def question_of(app: Service, entry: Entry) -> Question:
    """Returns a question without its summary."""
    return Question(**entry.facts, position=app.jobs.position(entry))


def nearest(times: list[float | None], seconds: float) -> int:
    """Returns the frame whose time is nearest. Raises RequestError (422) for frames without times."""
    if times[0] is None:
        raise RequestError(422, "t: the frames of the video have no times; give an index")
    return min(range(len(times)), key=lambda index: abs((times[index] or 0.0) - seconds))


def check_frame(entry: Entry, index: int) -> None:
    """Raises RequestError (404) if a video has no such frame."""
    if index >= entry.facts["frames"]:
        raise RequestError(404, f"frame {index} is beyond the end: the video has {entry.facts['frames']} frames")


async def server_sent(app: Service, entry: Entry) -> AsyncIterator[str]:
    """Yields the events of a question as server-sent events, and comments while there are none."""
    events = aiter(app.jobs.follow(entry))
    coming: asyncio.Future[Any] = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            done, _ = await asyncio.wait([coming], timeout=KEEP_ALIVE_SECONDS)
            if not done:
                yield ": waiting\n\n"
                continue
            if (event := coming.result()) is None:
                return
            yield f"data: {json.dumps(event)}\n\n"
            coming = asyncio.ensure_future(anext(events, None))
    finally:
        coming.cancel()
