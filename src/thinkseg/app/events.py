"""The events of a question (`thinkseg.events`) as JSON objects, for pages that follow it."""

from __future__ import annotations

from thinkseg.app.processes import Json
from thinkseg.chains.parsing import explained
from thinkseg.events import Answered, Event, ReplyFinished, ReplyText, Tracked, TurnStarted, Waiting
from thinkseg.types import Outcome


def event_of(event: Event) -> Json | None:
    """Returns an event as JSON; None for one that says nothing more."""
    match event:
        case TurnStarted():
            frames = [{"frame": frame, "label": label} for frame, label in event.turn.labels.items()]
            return {"type": "turn", "number": event.number, "frames": frames}
        case Waiting():
            return {"type": "reading", "done": event.done, "total": event.total}
        case ReplyText():
            return {"type": "text", "text": event.text, "restarts": event.restarts}
        case ReplyFinished():
            return {"type": "reply"}
        case Answered():
            return _answer(event.outcome)
        case Tracked():
            return progress_event(event.done, event.total)
    return None


def progress_event(done: int, total: int) -> Json:
    """Returns the event that `done` of `total` frames are tracked."""
    return {"type": "progress", "done": done, "total": total}


def _answer(outcome: Outcome) -> Json:
    answer = outcome.answer
    return {
        "type": "answer",
        "keyframe": outcome.keyframe,
        "boxes": answer.boxes.tolist() if answer else [],
        "no_target": answer is not None and answer.keyframe is None,
        "failure": explained(outcome.failure) if outcome.failure else None,
    }
