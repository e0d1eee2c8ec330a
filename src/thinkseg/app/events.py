"""Temporary."""

from __future__ import annotations

from typing import Any


def answered(segmenter: Any, video: Any, query: str, report: Any) -> Any:
    def progress(done, total):
        report({"type": "progress", "done": done, "total": total})

    result = segmenter(video, query, progress)
    from thinkseg.chains.frames import sample_indices

    idx = sample_indices(len(video), 8)
    report(
        {
            "type": "turn",
            "number": 0,
            "frames": [{"frame": int(i), "label": f"{(video.time_of(int(i)) or 0):.2f}"} for i in idx],
        }
    )
    for reply in result.outcome.replies:
        report({"type": "text", "text": reply, "restarts": False})
        report({"type": "reply"})
    a = result.answer
    report(
        {
            "type": "answer",
            "keyframe": result.outcome.keyframe,
            "time": None if result.outcome.keyframe is None else video.time_of(result.outcome.keyframe),
            "boxes": a.boxes.tolist() if a else [],
            "no_target": a is not None and a.keyframe is None,
            "failure": result.failure,
        }
    )
    return result
