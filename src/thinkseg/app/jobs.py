"""The queue of questions: they are answered one at a time, and clients follow what happens.

Events are JSON objects with a "type"; docs/app.md lists them. A client that starts to follow gets all that has happened
so far, of "text" and of passing events the latest state only.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from thinkseg.app.answering import PASSING, RESULT, SUMMARY
from thinkseg.app.processes import Cancelled, Json, TaskError, Worker
from thinkseg.app.schemas import ENDED
from thinkseg.app.store import EVENTS, VIDEO, Entry, Store, file_title
from thinkseg.storage.atomic import replace_json
from thinkseg.web.errors import RequestError

MAX_BEHIND = 1_000
"""Events that a client may be behind. One that is slower has to start again."""

UNSAVED = ("state", "models")
"""Types of events that are not stored."""


class Log:
    """The events of a question, and the clients that follow them."""

    def __init__(self) -> None:
        self.events: list[Json] = []
        self._followers: set[asyncio.Queue[Json]] = set()

    def add(self, event: Json) -> None:
        """Adds an event, and passes it on."""
        self._remember(event)
        for follower in list(self._followers):
            try:
                follower.put_nowait(event)
            except asyncio.QueueFull:
                self._followers.discard(follower)

    def _remember(self, event: Json) -> None:
        replaced = {"text": "reading", "state": "state", **dict(zip(PASSING, PASSING, strict=True))}.get(event["type"])
        self.events = [one for one in self.events if one["type"] != replaced]
        last = self.events[-1] if self.events else {"type": None}
        if event["type"] == last["type"] == "text":
            text = event["text"] if event["restarts"] else last["text"] + event["text"]
            event = {**last, "text": text}
            self.events.pop()
        self.events.append(event)

    async def follow(self) -> AsyncIterator[Json]:
        """Yields all events so far and those to come, up to a state that is final."""
        queue: asyncio.Queue[Json] = asyncio.Queue(MAX_BEHIND)
        self._followers.add(queue)
        try:
            for event in [*self.events]:
                yield event
                if is_final(event):
                    return
            while queue in self._followers or not queue.empty():
                event = await queue.get()
                yield event
                if is_final(event):
                    return
        finally:
            self._followers.discard(queue)


def is_final(event: Json) -> bool:
    """Whether an event is the last one of a question."""
    return event["type"] == "state" and event["state"] in ENDED


class Jobs:
    """The questions that wait, and the one that is answered. worker: answers them. max_queued: that may wait."""

    def __init__(self, store: Store, worker: Worker, max_queued: int) -> None:
        self.models: Json = {"models": [], "device": None, "devices": [], "memory": None}
        self._store, self._worker, self._max_queued = store, worker, max_queued
        self._waiting: list[Entry] = []
        self._running: Entry | None = None
        self._logs: dict[str, Log] = {}
        self._wanted = asyncio.Event()
        store.busy = self.is_busy

    @property
    def num_queued(self) -> int:
        """Questions that wait."""
        return len(self._waiting)

    def is_pending(self, entry: Entry) -> bool:
        """Whether a question waits or is being answered."""
        return entry is self._running or entry in self._waiting

    def is_busy(self, entry: Entry) -> bool:
        """Whether a question waits or is being answered, or is corrected by one."""
        pending = [*self._waiting, *([self._running] if self._running else [])]
        return any(entry is one or entry.id in (one.facts["video"], one.facts["result"]) for one in pending)

    def submit(self, video: Entry, facts: Json) -> Entry:
        """Puts a question into the queue. Raises RequestError (503) if the queue is full."""
        if len(self._waiting) >= self._max_queued:
            raise RequestError(503, f"{self._max_queued} questions are waiting; ask later")
        folder = self._store.new_folder("questions")
        entry = self._store.add(folder, "questions", {**facts, "video": video.id, "state": "queued"})
        self._logs[entry.id] = Log()
        self._waiting.append(entry)
        self._tell_positions()
        self._wanted.set()
        return entry

    def cancel(self, entry: Entry) -> None:
        """Cancels a question that waits or is being answered."""
        if entry is self._running:
            self._worker.cancel()
        elif entry in self._waiting:
            self._waiting.remove(entry)
            self._end(entry, "cancelled")
            self._tell_positions()

    def position(self, entry: Entry) -> int | None:
        """Returns the place of a question in the queue, from 1."""
        return self._waiting.index(entry) + 1 if entry in self._waiting else None

    async def follow(self, entry: Entry) -> AsyncIterator[Json]:
        """Yields the events of a question, see `Log.follow`."""
        log = self._logs.get(entry.id)
        if log is None:
            for event in await asyncio.to_thread(_stored_events, entry):
                yield event
            yield self._state(entry)
        else:
            async for event in log.follow():
                yield event

    async def run(self) -> None:
        """Starts the process with the models, and answers questions until it is cancelled."""
        with suppress(TaskError):  # a process that cannot start fails the first question, with the reason
            self._note_models(await self._worker.run({}, lambda _: None))
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting:
                self._running = entry = self._waiting.pop(0)
                try:
                    await self._answer(entry)
                finally:
                    self._running = None

    async def _answer(self, entry: Entry) -> None:
        started = time.monotonic()
        self._set_state(entry, "running")
        self._tell_positions()
        log = self._logs[entry.id]
        try:
            result = await self._worker.run(self._task(entry), lambda event: self._on_report(log, event))
            self._note_models(result)
            entry.facts["seconds"] = round(time.monotonic() - started, 3)
            entry.measure()
            self._store.make_room()
            self._end(entry, "done")
        except Cancelled:
            self._end(entry, "cancelled")
        except (TaskError, RequestError, OSError) as error:
            self._end(entry, "failed", str(error))
        except asyncio.CancelledError:
            self._end(entry, "failed", "the app was stopped; ask again")
            raise

    def _task(self, entry: Entry) -> Json:
        facts = entry.facts
        video = self._store.find("videos", facts["video"])
        earlier = self._store.find("questions", facts["result"]).folder / RESULT if facts["result"] else None
        asked = {name: facts[name] for name in ("query", "chain", "reading", "preset", "device", "prompts", "drop")}
        places = {"video": str(video.folder / VIDEO), "out": str(entry.folder), "earlier": earlier and str(earlier)}
        return {**asked, **places, "title": file_title(video)}

    def _on_report(self, log: Log, event: Json | None) -> None:
        if event is None:
            return
        if event["type"] == "models":
            self._note_models(event)
        log.add(event)

    def _note_models(self, found: Json) -> None:
        self.models = {name: found[name] for name in self.models}

    def _set_state(self, entry: Entry, state: str, error: str | None = None) -> None:
        entry.facts |= {"state": state, "error": error}
        with suppress(OSError):  # the disk is full: what is in memory counts
            entry.write()
        self._logs[entry.id].add(self._state(entry))

    def _end(self, entry: Entry, state: str, error: str | None = None) -> None:
        """Ends a question. Its events are on disk from now on."""
        events = [event for event in self._logs[entry.id].events if event["type"] not in (*UNSAVED, *PASSING)]
        with suppress(OSError):
            replace_json(events, entry.folder / EVENTS)
        self._set_state(entry, state, error)
        del self._logs[entry.id]

    def _tell_positions(self) -> None:
        for entry in self._waiting:
            self._logs[entry.id].add(self._state(entry))

    def _state(self, entry: Entry) -> Json:
        facts = entry.facts
        state = {"type": "state", "state": facts["state"], "error": facts.get("error")}
        return {**state, "position": self.position(entry)}


def _stored_events(entry: Entry) -> list[Json]:
    events: list[Json] = _read(entry.folder / EVENTS, [])
    return events


def read_summary(entry: Entry) -> Json | None:
    """Returns the summary of a question's result; None if there is none."""
    summary: Json | None = _read(entry.folder / SUMMARY, None)
    return summary


def _read(path: Path, missing: Any) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return missing


def interrupted(store: Store) -> None:
    """Marks questions as failed that the last app did not finish."""
    for entry in store.questions():
        if entry.facts["state"] not in ENDED:
            entry.facts |= {"state": "failed", "error": "the app was stopped; ask again"}
            entry.write()
