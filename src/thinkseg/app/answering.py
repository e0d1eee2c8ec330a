"""The tasks of the process with the models: a question about a video, prompts by hand, or the correction of a result.

    {"video": PATH, "title": "clip", "query": "...", "chain": "veason", "reading": "repair", "preset": None,
     "device": None, "prompts": [], "drop": [], "earlier": None, "out": PATH}
    {}                                                      only returns the state, as every task does

out gets result/ (`thinkseg.report.result_files`, without masks in other formats), masks/000064.json (`BLOCK` frames
each) and summary.json. What happens is reported as it happens; docs/app.md lists the events.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinkseg.app.events import event_of, progress_event
from thinkseg.app.media import BLOCK
from thinkseg.app.processes import Json, Report
from thinkseg.chains.parsing import explained
from thinkseg.storage.atomic import write_json
from thinkseg.types import ObjectPrompt, Reading, part_of

if TYPE_CHECKING:
    from thinkseg.report.result import Result
    from thinkseg.segmenter import Segmenter

RESULT, MASKS, SUMMARY = "result", "masks", "summary.json"
"""What a task writes."""

PASSING, INTERVAL = ("reading", "progress"), 0.1
"""Events of which only the latest counts, and seconds between two that are reported."""


MakeSegmenter = Callable[[str | None, str | None, str, Reading], "Segmenter"]
"""Of a preset, a device, a chain and a way of reading."""


@dataclass(frozen=True, slots=True)
class ModelNames:
    """The models of the app, as arguments of `thinkseg.Segmenter`. None: as it chooses."""

    preset: str | None = None
    policy: str | None = None
    tracker: str = "auto"
    device: str | None = None

    def segmenter(self, preset: str | None, device: str | None, chain: str, reading: Reading) -> Segmenter:
        """Returns a new `Segmenter`. preset, device: in place of the models and the device given here."""
        from thinkseg.segmenter import Segmenter

        names = replace(ModelNames(preset) if preset else self, device=device or self.device)
        return Segmenter(**asdict(names), chain=chain, reading=reading)


class Answering:
    """Does these tasks. The models of one preset stay loaded on one device, and the latest video in memory.

    make: returns a new `Segmenter`.
    """

    def __init__(self, make: MakeSegmenter) -> None:
        self._make = make
        self._placed: tuple[str | None, str | None] = None, None
        self._segmenters: dict[tuple[str, Reading], Segmenter] = {}

    def __call__(self, task: Json, report: Report) -> Json:
        """Does a task. Raises ThinkSegError for what the user can mend."""
        if not task:
            return self.state()
        report = throttled(report)
        segmenter = self._segmenter(task, report)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            result = self._result(segmenter, task, report)
        for note in [str(one.message) for one in caught if one.category is UserWarning] + list(result.warnings):
            report({"type": "note", "text": note})
        report({"type": "writing"})
        titled = replace(result, sample=replace(result.sample, id=task["title"]))
        write_answer(titled, Path(task["out"]), self._settings(segmenter, task))
        return {"failure": result.failure, **self.state()}

    def state(self) -> Json:
        """Returns the models that are loaded, their device, all devices, and the memory in use in bytes."""
        from thinkseg.models.devices import available_devices, device_of

        loaded = [vars(one).get(role) for one in self._segmenters.values() for role in ("policy", "tracker")]
        models = [one for one in loaded if one is not None]
        names = list(dict.fromkeys(str(model.name) for model in models))
        places = {"device": device_of(*models), "devices": available_devices()}
        return {"models": names, **places, "memory": memory_in_use()}

    def _segmenter(self, task: Json, report: Report) -> Segmenter:
        """The one of a task. The chains share the latest video, and the models that they have in common."""
        key = task["chain"], task["reading"]
        placed = task["preset"], task["device"]
        if placed != self._placed:
            self._segmenters.clear()
        self._placed = placed
        if key not in self._segmenters:
            self._segmenters[key] = self._make(*placed, *key)
        segmenter = self._segmenters[key]
        for other in self._segmenters.values():
            segmenter.share_loaded(other)
        for role in ("tracker", *(["policy"] if _needs_policy(task) else [])):
            if role not in vars(segmenter):
                report({"type": "loading", "what": role})
                getattr(segmenter, role)
                report({"type": "models", **self.state()})
        return segmenter

    def _result(self, segmenter: Segmenter, task: Json, report: Report) -> Result:
        prompts, video = [_prompt(one) for one in task["prompts"]], task["video"]
        if task["earlier"]:
            from thinkseg.report.stored_result import read_result

            earlier, dropped = read_result(Path(task["earlier"])), [number - 1 for number in task["drop"]]
            return segmenter.correct(
                earlier, prompts, dropped, lambda *counts: report(progress_event(*counts)), video=video
            )
        return segmenter(video, task["query"], prompts=prompts or None, on_event=lambda event: report(event_of(event)))

    def _settings(self, segmenter: Segmenter, task: Json) -> Mapping[str, Any]:
        used = {"policy": segmenter.policy.name} if _needs_policy(task) else {"policy": None}
        asked = {name: task[name] for name in ("chain", "reading", "preset")}
        return {**used, "tracker": segmenter.tracker.name, **asked, "device": self.state()["device"]}


def throttled(report: Report) -> Report:
    """Returns a `Report` that leaves out events of `PASSING` types that follow the one before within `INTERVAL`."""
    latest: dict[str, float] = {}

    def report_some(event: Json | None) -> None:
        if event is not None and event["type"] in PASSING:
            now, before = time.monotonic(), latest.get(event["type"], 0.0)
            if now - before < INTERVAL and event["done"] < event["total"]:
                event = None
            else:
                latest[event["type"]] = now
        report(event)

    return report_some


def _needs_policy(task: Json) -> bool:
    return not task["prompts"] and not task["earlier"]


def _prompt(given: Json) -> ObjectPrompt:
    """A prompt as in the API: objects are numbered from 1, and a time is a float."""
    moment = int(given["frame"]) if given["time"] is None else float(given["time"])
    return ObjectPrompt(moment, given["object"] - 1, given["box"], given["points"], given["labels"] or None)


def write_answer(result: Result, out: Path, settings: Mapping[str, Any]) -> None:
    """Writes what is kept of a result to an existing folder."""
    from thinkseg.report.result_files import write_result

    write_result(result, out / RESULT, settings, formats=())
    write_json(summary_of(result), out / SUMMARY)
    if not result.masklets.num_objects:
        return
    (out / MASKS).mkdir()
    for start in range(0, result.masklets.num_frames, BLOCK):
        write_json(mask_block(result, start), out / MASKS / f"{start:06d}.json")


def mask_block(result: Result, start: int) -> Json:
    """Returns the masks of up to `BLOCK` frames: per object and frame the counts of an RLE, or None if it is empty."""
    width, height = result.masklets.size_wh
    end = min(start + BLOCK, result.masklets.num_frames)
    tracks = [[track[frame] for frame in range(start, end)] for track in result.masklets.rles]
    counts = [[None if rle is None else rle["counts"] for rle in track] for track in tracks]
    return {"start": start, "size": [height, width], "objects": counts}


def summary_of(result: Result) -> Json:
    """Returns what the page shows of a result besides masks: the answer, and per object where it is seen."""
    from thinkseg.segmenter.corrections import prompts_of

    answer, masklets = result.answer, result.masklets
    confidence = None if masklets.confidence is None else masklets.confidence.round(3).tolist()
    prompts = [] if answer is None else prompts_of(result)
    return {
        "failure": explained(result.failure) if result.failure else None,
        "no_target": answer is not None and answer.keyframe is None,
        "thinking": answer.thinking if answer else None,
        "keyframe": answer.keyframe if answer else None,
        "boxes": answer.boxes.tolist() if answer else [],
        "prompts": [_prompt_record(one, result) for one in prompts],
        "replies": list(result.outcome.replies),
        "objects": [{"seen": masklets.seen(obj).astype(int).tolist()} for obj in range(masklets.num_objects)],
        "confidence": confidence,
        "seconds": {step: round(seconds, 3) for step, seconds in result.seconds.items()},
    }


def _prompt_record(prompt: ObjectPrompt, result: Result) -> Json:
    """A prompt in the form of the API."""
    return {
        "frame": part_of(result.sample.video).indices[prompt.frame],
        "object": prompt.obj + 1,
        "box": None if prompt.box is None else prompt.box.tolist(),
        "points": prompt.points.tolist(),
        "labels": prompt.labels.tolist(),
    }


def memory_in_use() -> Json:
    """Returns the memory of this process in bytes, and that of its GPU if it uses one."""
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    torch = sys.modules.get("torch")
    gpu = torch.cuda.memory_allocated() if torch and torch.cuda.is_initialized() else None
    return {"process": pages * 4096, "gpu": gpu}
