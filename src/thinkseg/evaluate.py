"""From samples with known truth to scores.

In: samples, a chain, a policy, a tracker and a folder. Out, in that folder:

    settings.json   what was run; a folder holds the results of one setting only
    results.jsonl   one line a sample (see `thinkseg.scores`), written as it finishes, so that an evaluation that is cut
                    off goes on where it was
    scores.json     the `Scores` over all samples and by category, once all are done
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from operator import length_hint
from pathlib import Path
from typing import Any

import thinkseg
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.pipeline import chain_named, checked_view, segment_samples
from thinkseg.scores import Row, Scores, judge, known_truth, summarise, table
from thinkseg.types import Policy, Progress, Tracker, VideoSample, View

__all__ = ["Scores", "evaluate", "table"]


def evaluate(
    samples: Iterable[VideoSample],
    chain: str,
    policy: Policy,
    tracker: Tracker,
    out: Path,
    *,
    view: View | None = None,
    batch_size: int = 1,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Scores a chain, a policy and a tracker on samples, or goes on where an earlier call in `out` was cut off.

    chain: a name from `thinkseg.chains.CHAINS`.
    settings: whatever else decides the results (data set, split, seed, sampling), plain JSON values. Kept in `out`
        beside the names and the view; how many samples are asked for is no setting, so that more can be added.
    progress: called with (samples done, samples in all), the latter 0 where `samples` does not know its length.

    Raises SettingsError if `out` cannot be written or holds results of other settings, DatasetError if two samples
    share an id or a sample has no truth.
    """
    view = checked_view(policy, view)
    chain_fn = chain_named(chain)
    names = {"chain": chain, "policy": policy.name, "tracker": tracker.name, "version": thinkseg.__version__}
    with _writing(out):
        _settle({**(settings or {}), **names, "view": asdict(view)}, out)
        done = _finished(out / "results.jsonl")
    asked = _Asked(samples)
    waiting = (sample for sample in asked if sample.id not in done)
    for segmentation in segment_samples(waiting, chain_fn, policy, tracker, view, batch_size):
        row = judge(segmentation, view)
        with _writing(out), (out / "results.jsonl").open("a", encoding="utf-8") as results:
            results.write(json.dumps(row) + "\n")
        done[row["id"]] = row
        if progress:
            progress(asked.positions[row["id"]], length_hint(samples))
    scores = summarise([done[name] for name in asked.positions])
    with _writing(out):
        _write_json(asdict(scores), out / "scores.json")
    return scores


class _Asked:
    """Samples on their way in, each checked that it can be scored.

    positions: ids of the samples that have come through, in order, each with how many that makes.
    """

    def __init__(self, samples: Iterable[VideoSample]) -> None:
        self.samples = samples
        self.positions: dict[str, int] = {}

    def __iter__(self) -> Iterator[VideoSample]:
        for position, sample in enumerate(self.samples, start=1):
            known_truth(sample)
            if sample.id in self.positions:
                raise DatasetError(f"two samples have the id {sample.id!r}: their results could not be told apart")
            self.positions[sample.id] = position
            yield sample


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turns what the file system refuses into an error that names the folder."""
    try:
        yield
    except OSError as error:
        raise SettingsError(f"cannot keep results in {out} ({error.strerror}): choose another folder") from error


def _settle(settings: Mapping[str, Any], out: Path) -> None:
    """Makes the folder one for these settings, or raises SettingsError if it cannot be."""
    path = out / "settings.json"
    out.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        if (out / "results.jsonl").exists():
            raise SettingsError(f"{out} holds results but not the settings they came from: choose another folder")
        _write_json(settings, path)
    try:
        stored = dict(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{path} holds no settings: choose another folder") from error
    wanted = json.loads(json.dumps(settings))
    if differing := sorted(key for key in {*stored, *wanted} if stored.get(key) != wanted.get(key)):
        changes = ", ".join(f"{key} {stored.get(key)!r} -> {wanted.get(key)!r}" for key in differing)
        raise SettingsError(f"{out} holds results of other settings ({changes}): choose another folder")


def _finished(path: Path) -> dict[str, Row]:
    """Results already in the file, by sample id; a last line that was cut off is dropped from it."""
    if not path.exists():
        return {}
    whole, newline, partial = path.read_bytes().rpartition(b"\n")
    if partial:
        os.truncate(path, len(whole) + len(newline))
    rows = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = json.loads(line)
            rows[row["id"]] = row
        except (ValueError, TypeError, KeyError) as error:
            raise SettingsError(
                f"{path}, line {number}: not a result; remove the line to do that sample again"
            ) from error
    return rows


def _write_json(value: Any, path: Path) -> None:
    """Writes a file that is there in full or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
    os.replace(partial, path)
