"""What becomes of an annotator's replies: rows of answers.jsonl in; the set, and what was rejected, out.

Nothing else is read, so that the same answers always make the same files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thinkseg.annotation.candidates import STRATA, Candidate
from thinkseg.annotation.tasks import SkippedQuestion, Task, limits
from thinkseg.annotation.verify import REASONS, Truth, check
from thinkseg.data.cot import SAMPLES, CotSample, sample_from_json, sample_to_json, write_samples
from thinkseg.storage.atomic import replace_json, replacing
from thinkseg.storage.run_folder import Row
from thinkseg.types import Reply, View

ANSWERS, REJECTED, COUNTS = "answers.jsonl", "rejected.jsonl", "counts.json"


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """What became of one question. sample: None where there is none to keep, and then `reasons` says why."""

    candidate: Candidate
    row: Row
    sample: CotSample | None
    reasons: Sequence[str]


def answer_row(task: Task, template: int, reply: Reply) -> Row:
    """All that is known of a question that was asked."""
    row = sample_to_json(task.draft)
    del row["thinking"]
    return {
        **row,
        "objects": task.num_objects,
        "template": template,
        "reply": reply.text,
        "truncated": reply.truncated,
        "read": reply.num_prompt_tokens,
        "written": reply.num_tokens,
        "seconds": reply.seconds,
    }


def unusable_row(unusable: SkippedQuestion) -> Row:
    """All that is known of a question that cannot be asked."""
    one = unusable.candidate
    fields = {"id": one.id, "video": one.video, "query": unusable.query, "type": one.type, "targets": one.targets}
    return {**fields, "unusable": unusable.flaw}


def reply_of(row: Row) -> Reply | None:
    """The reply in a row; None if its question was not asked."""
    if "unusable" in row:
        return None
    return Reply(row["reply"], row["written"], row["truncated"], row["read"], row["seconds"])


def verdict(candidate: Candidate, row: Row, view: View) -> Verification:
    """Holds an answer against the truth. Raises DatasetError if the row was damaged."""
    reply = reply_of(row)
    if reply is None:
        return Verification(candidate, row, None, [row["unusable"]])
    draft = sample_from_json({**row, "thinking": ""}, f"{ANSWERS}, {candidate.id}")
    steps, reasons = check(reply, Truth(draft, row["objects"], limits(view)))
    sample = replace(draft, thinking=steps.thinking) if steps and not reasons else None
    return Verification(candidate, row, sample, reasons)


def write_verdicts(verdicts: Sequence[Verification], drawn: Sequence[Candidate], out: Path) -> None:
    """Writes samples.jsonl, rejected.jsonl and counts.json, each in full or not at all."""
    with replacing(out / SAMPLES) as partial:
        write_samples((one.sample for one in verdicts if one.sample), partial)
    with replacing(out / REJECTED) as partial:
        partial.write_text("".join(_rejected(one) for one in verdicts if not one.sample), "utf-8")
    replace_json(_counts(verdicts, drawn), out / COUNTS)


def reasons(verdicts: Sequence[Verification]) -> dict[str, int]:
    """How often each reason was met, in the order of `REASONS`; a question may have several against it."""
    found = Counter(reason for verdict in verdicts for reason in verdict.reasons)
    return {reason: found[reason] for reason in REASONS if found[reason]}


def _rejected(one: Verification) -> str:
    # Times differ from run to run, and nothing else does.
    known = {name: value for name, value in one.row.items() if name != "seconds"}
    return json.dumps({**known, "reasons": list(one.reasons)}) + "\n"


def _counts(verdicts: Sequence[Verification], drawn: Sequence[Candidate]) -> dict[str, Any]:
    asked = Counter(candidate.stratum for candidate in drawn)
    kept = Counter(one.candidate.stratum for one in verdicts if one.sample)
    return {
        "drawn": len(drawn),
        "answered": len(verdicts),
        "kept": kept.total(),
        "strata": {name: {"drawn": asked[name], "kept": kept[name]} for name in STRATA},
        "reasons": reasons(verdicts),
        "read": sum(one.row.get("read", 0) for one in verdicts),
        "written": sum(one.row.get("written", 0) for one in verdicts),
    }
