"""The events of a question, as clients that come later get them."""

import asyncio

from thinkseg.app.jobs import Log

DONE = {"type": "state", "state": "done"}


def test_log_joins_texts_and_keeps_latest_of_passing_events():
    log = Log()
    for event in (
        {"type": "state", "state": "queued"},
        {"type": "state", "state": "running"},
        {"type": "reading", "done": 1, "total": 2},
        {"type": "text", "text": "lost", "restarts": False},
        {"type": "reading", "done": 2, "total": 2},
        {"type": "text", "text": "It ", "restarts": True},
        {"type": "text", "text": "moves.", "restarts": False},
        {"type": "progress", "done": 1, "total": 9},
        {"type": "progress", "done": 9, "total": 9},
    ):
        log.add(event)
    assert log.events == [
        {"type": "state", "state": "running"},
        {"type": "text", "text": "It moves.", "restarts": False},
        {"type": "progress", "done": 9, "total": 9},
    ]


def test_follow_gets_past_and_coming_events_up_to_the_end():
    async def follow():
        log = Log()
        log.add({"type": "reply"})
        following = asyncio.ensure_future(collect(log))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log.add(DONE)
        log.add({"type": "reply"})
        return await following

    async def collect(log):
        return [event async for event in log.follow()]

    assert asyncio.run(follow()) == [{"type": "reply"}, DONE]


def test_follow_of_slow_client_ends(monkeypatch):
    monkeypatch.setattr("thinkseg.app.jobs.MAX_BEHIND", 2)

    async def follow():
        log = Log()
        log.add({"type": "reply"})
        events = log.follow()
        first = await anext(events)
        for _ in range(5):
            log.add({"type": "note"})
        return [first, *[event async for event in events]]

    assert [event["type"] for event in asyncio.run(follow())] == ["reply", "note", "note"]
