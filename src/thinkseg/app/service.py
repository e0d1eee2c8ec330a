"""What the routes of the app act on: the store, the queue, and the processes that decode videos."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from thinkseg.app.answering import Answering, MakeSegmenter, ModelNames
from thinkseg.app.jobs import Jobs, interrupted
from thinkseg.app.limits import Limits
from thinkseg.app.media import Media
from thinkseg.app.processes import Json, TaskError, Worker, Workers
from thinkseg.app.schemas import Ask
from thinkseg.app.store import VIDEO, Entry, Store
from thinkseg.models.choice import FLOW, choose
from thinkseg.storage.atomic import delete
from thinkseg.storage.user_settings import UserSettings
from thinkseg.web.errors import RequestError

PROBE_SECONDS, FRAMES_SECONDS, EXPORT_SECONDS = 60.0, 60.0, 900.0
"""Time for a new video, for frames, and for an export. The process is stopped after it."""

MEDIA_PROCESSES = 2

EXAMPLES = (0, 1, 2, 3)
"""Indices of the example clips, of the val split of the shapes world."""


class Service:
    """The state of the app.

    folder: of its data. make: returns a `Segmenter` in the process of the models (default: of `names`). examples: the
    indices of the clips to make.

    Raises OSError if the folder cannot be written, SettingsError for invalid names of models.
    """

    def __init__(
        self,
        folder: Path,
        names: ModelNames,
        limits: Limits,
        make: MakeSegmenter | None = None,
        examples: Sequence[int] = EXAMPLES,
    ) -> None:
        given = {name: value for name, value in asdict(names).items() if value != "auto"}
        self.choice = choose(UserSettings(**given))
        self.choice.policy_name()
        self.presets = available_presets()
        self.limits = limits
        self._examples = examples
        self.store = Store(folder, limits.quota_bytes)
        interrupted(self.store)
        self._worker = Worker(partial(Answering, make or names.segmenter))
        self.jobs = Jobs(self.store, self._worker, limits.max_queued)
        self._media = Workers(partial(Media, limits), MEDIA_PROCESSES)
        self._making: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self._num_uploads = self._num_streams = 0

    async def run(self) -> None:
        """Makes the example clips, and answers questions, until it is cancelled; then ends the processes."""
        try:
            await asyncio.gather(self.jobs.run(), self._make_examples())
        finally:
            self._worker.close()
            self._media.close()

    def public_limits(self) -> dict[str, float]:
        """Returns the limits that clients have to know."""
        return {name: value for name, value in asdict(self.limits).items() if not name.startswith("max_streams")}

    async def upload(self, body: AsyncIterator[bytes], num_bytes: int, name: str) -> Entry:
        """Keeps a video. Raises RequestError if it is none or beyond the limits, or if there is no room."""
        if not num_bytes:
            raise RequestError(400, "the body is empty; send the bytes of a video file")
        with self._uploading(), self.store.reserving(num_bytes):
            folder = self.store.new_folder("videos")
            try:
                await write_body(body, folder / VIDEO)
                return await self._add_video(folder, {"name": name})
            except BaseException:
                delete(folder)
                raise

    async def _add_video(self, folder: Path, facts: Json) -> Entry:
        """Makes an entry of a folder with a video."""
        path = folder / VIDEO
        found = await self._run({"task": "probe", "video": str(path)}, PROBE_SECONDS)
        seconds = found["times"][-1]
        size = path.stat().st_size
        kept = bool(facts.get("queries"))
        return self.store.add(folder, "videos", {**facts, **found, "seconds": seconds, "bytes": size}, kept)

    def ask(self, asked: Ask) -> Entry:
        """Puts a question into the queue. Raises RequestError if it cannot be asked."""
        facts = asked.model_dump()
        if asked.preset is not None and asked.preset not in self.presets:
            raise RequestError(404, f"preset: {asked.preset!r} is not on this machine; see GET /api/models")
        facts["chain"] = asked.chain or self._chain_of(asked.preset)
        if asked.result is not None:
            earlier = self.store.find("questions", asked.result)
            if earlier.facts["state"] != "done":
                raise RequestError(409, f"result: the question is {earlier.facts['state']}; only a result is corrected")
            facts |= {name: earlier.facts[name] for name in ("video", "query", "chain", "preset")}
        return self.jobs.submit(self.store.find("videos", facts["video"]), facts)

    def _chain_of(self, preset: str | None) -> str:
        return choose(UserSettings(preset=preset)).chain_name() if preset else self.choice.chain_name()

    def delete(self, entry: Entry) -> None:
        """Deletes a video or a question. Raises RequestError (409) if it is in use."""
        if any(map(self.jobs.is_busy, [entry, *self.store.questions(entry.id)])):
            raise RequestError(409, f"{entry.kind[:-1]} {entry.id} is in use; cancel its questions first")
        self.store.remove(entry)

    async def made(self, entry: Entry, name: str, task: Json) -> Path:
        """Returns a file of a video, made when it is first requested."""

        async def make(partial_path: Path) -> Path:
            given = {**task, "video": str(entry.folder / VIDEO), "out": str(partial_path)}
            await self._run(given, FRAMES_SECONDS)
            return entry.folder / name

        return await self._kept(entry, entry.folder / name, make)

    async def exported(self, entry: Entry, format: str) -> Path:
        """Returns the file of a result in a format, made when it is first requested."""
        video, folder = self.store.find("videos", entry.facts["video"]), entry.folder / "exports"
        found = next(iter(folder.glob(f"{format}.*")), folder / format)

        async def make(partial_path: Path) -> Path:
            files = {"result": str(entry.folder / "result"), "video": str(video.folder / VIDEO)}
            task = {"task": "export", "format": format, **files, "out": str(partial_path)}
            made = await self._run(task, EXPORT_SECONDS)
            return folder / f"{format}{made['suffix']}"

        return await self._kept(entry, found, make)

    async def _kept(self, entry: Entry, path: Path, make: Callable[[Path], Any]) -> Path:
        """Returns a file of an entry. make: writes it to the path it is given, and returns where it belongs."""
        async with self._making.setdefault(path, asyncio.Lock()):
            if path.is_file():
                return path
            path.parent.mkdir(exist_ok=True)
            partial_path = path.with_name(f".{path.name}.partial")
            try:
                path = await make(partial_path)
                partial_path.rename(path)
            except FileNotFoundError:
                raise RequestError(404, f"{entry.kind[:-1]} {entry.id} is deleted") from None
            finally:
                partial_path.unlink(missing_ok=True)
        entry.bytes += path.stat().st_size
        self.store.make_room()
        return path

    async def _run(self, task: Json, seconds: float) -> Json:
        try:
            return await self._media.run(task, seconds)
        except TaskError as error:
            message = str(error).replace(str(task.get("video")), "the file")
            raise RequestError(422, message) from None

    @contextmanager
    def _uploading(self) -> Iterator[None]:
        if self._num_uploads >= self.limits.max_uploads:
            raise RequestError(503, f"{self.limits.max_uploads} uploads are in progress; try again later")
        self._num_uploads += 1
        try:
            yield
        finally:
            self._num_uploads -= 1

    def check_streams(self) -> None:
        """Raises RequestError (503) if no more clients can follow questions."""
        if self._num_streams >= self.limits.max_streams:
            raise RequestError(503, f"{self.limits.max_streams} clients follow questions; try again later")

    async def stream(self, parts: AsyncIterator[str]) -> AsyncIterator[str]:
        """Yields the parts of a response that is counted among the streams."""
        self._num_streams += 1
        try:
            async for part in parts:
                yield part
        finally:
            self._num_streams -= 1

    async def _make_examples(self) -> None:
        present = {entry.facts.get("example") for entry in self.store.videos()}
        for index in self._examples:
            if index not in present:
                folder = self.store.new_folder("videos")
                try:
                    task = {"task": "example", "index": index, "out": str(folder / VIDEO)}
                    facts = await self._run(task, EXPORT_SECONDS)
                    await self._add_video(folder, {**facts, "example": index})
                except (RequestError, OSError) as error:
                    print(f"thinkseg: example clip {index + 1}: {error}", file=sys.stderr, flush=True)
                    delete(folder)


async def write_body(body: AsyncIterator[bytes], path: Path) -> None:
    """Writes a body to a file, piece by piece. Raises RequestError (507) if the disk is full."""
    try:
        with path.open("wb") as file:
            async for chunk in body:
                await asyncio.to_thread(file.write, chunk)
    except OSError as error:
        raise RequestError(507, f"the upload cannot be written: {error.strerror}") from None


def available_presets() -> dict[str, str]:
    """Returns the summaries of the presets whose models are on this machine, by name."""
    from thinkseg.models import BUNDLED
    from thinkseg.models.hub import is_complete
    from thinkseg.models.presets import presets

    def is_here(name: str | None) -> bool:
        return name is not None and (name in (FLOW, *BUNDLED) or is_complete(name))

    found = presets().items()
    return {name: one.summary for name, one in found if is_here(one.policy) and is_here(one.tracker)}
