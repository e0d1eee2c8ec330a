"""Rows of answers.jsonl, their verification, and the files of a set that are made from them.

The files depend on the rows only, so the same answers always give the same files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thinkseg.annotation.tasks import SkippedQuestion, Task
from thinkseg.annotation.verify import REASONS, Truth, check_reply
from thinkseg.chains.frames import box_limits
from thinkseg.data.cot import SAMPLES, CotSample, sample_from_json, sample_to_json, write_samples
from thinkseg.data.readers.json_tree import JsonNode
from thinkseg.selection.strata import STRATA, Candidate
from thinkseg.storage.atomic import replace_json, replacing
from thinkseg.storage.run_folder import Row
from thinkseg.types import Reply, View

ANSWERS, REJECTED, COUNTS = "answers.jsonl", "rejected.jsonl", "counts.json"

_OLD_REASONS = {"unseen": "target_not_visible", "crowded": "too_many_targets", "query": "invalid_query"}
"""Of questions that version 0.1 skipped."""


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """The result of one question. sample: None if it is not kept, for `reasons`."""

    candidate: Candidate
    row: Row
    sample: CotSample | None
    reasons: Sequence[str]


def answer_row(task: Task, template: int, reply: Reply) -> Row:
    """Returns the row of an answered question."""
    row = sample_to_json(task.draft)
    del row["thinking"]
    return {
        **row,
        "objects": task.num_objects,
        "template": template,
        "reply": reply.text,
        "truncated": reply.truncated,
        "usage": {"prompt_tokens": reply.num_prompt_tokens, "completion_tokens": reply.num_tokens},
        "seconds": reply.seconds,
    }


def skipped_row(skipped: SkippedQuestion) -> Row:
    """Returns the row of a question that is not prompted."""
    one = skipped.candidate
    fields = {"id": one.id, "video": one.video, "query": skipped.query, "type": one.type, "targets": one.targets}
    return {**fields, "skipped": skipped.reason}


def upgraded(row: Row) -> Row:
    """Returns a row in the current format. Version 0.1 wrote "clock", "read", "written" and "unusable"."""
    row = dict(row)
    if "clock" in row:
        row["label_unit"] = row.pop("clock")
    if "unusable" in row:
        reason = row.pop("unusable")
        row["skipped"] = _OLD_REASONS.get(str(reason), reason)
    if "read" in row:
        row["usage"] = {"prompt_tokens": row.pop("read"), "completion_tokens": row.pop("written", None)}
    return row


def reply_of(row: Row) -> Reply | None:
    """Returns the reply in a row; None for a skipped question. Raises DatasetError for an invalid row."""
    node = _node(row)
    if "skipped" in node:
        return None
    usage = node["usage"]
    return Reply(
        text=node["reply"].string(),
        num_tokens=usage["completion_tokens"].integer(),
        truncated=node["truncated"].boolean(),
        num_prompt_tokens=usage["prompt_tokens"].integer(),
    )


def verify_row(candidate: Candidate, row: Row, view: View) -> Verification:
    """Verifies an answer against its ground truth. Raises DatasetError for an invalid row."""
    reply = reply_of(row)
    if reply is None:
        return Verification(candidate, row, None, [_node(row)["skipped"].string()])
    draft = sample_from_json({**row, "thinking": ""}, str(_node(row).key))
    steps, reasons = check_reply(reply, Truth(draft, _node(row)["objects"].integer(), box_limits(view)))
    sample = replace(draft, thinking=steps.thinking) if steps and not reasons else None
    return Verification(candidate, row, sample, reasons)


def _node(row: Row) -> JsonNode:
    return JsonNode(row, f"{ANSWERS}, {row['id']}")


def write_set(verifications: Sequence[Verification], drawn: Sequence[Candidate], out: Path) -> None:
    """Writes samples.jsonl, rejected.jsonl and counts.json, each atomically."""
    with replacing(out / SAMPLES) as partial:
        write_samples((one.sample for one in verifications if one.sample), partial)
    with replacing(out / REJECTED) as partial:
        partial.write_text("".join(_rejected_line(one) for one in verifications if not one.sample), "utf-8")
    replace_json(_counts(verifications, drawn), out / COUNTS)


def count_reasons(verifications: Sequence[Verification]) -> dict[str, int]:
    """Returns the number of questions per reason, in the order of `REASONS`; a question may have several."""
    found = Counter(reason for one in verifications for reason in one.reasons)
    return {reason: found[reason] for reason in REASONS if found[reason]}


def _rejected_line(one: Verification) -> str:
    # "seconds" is the only field that differs between runs.
    fields = {name: value for name, value in one.row.items() if name not in ("seconds", "fingerprint")}
    return json.dumps({**fields, "reasons": list(one.reasons)}) + "\n"


def _counts(verifications: Sequence[Verification], drawn: Sequence[Candidate]) -> dict[str, Any]:
    drawn_counts = Counter(candidate.stratum for candidate in drawn)
    kept = Counter(one.candidate.stratum for one in verifications if one.sample)
    usage: Counter[str] = Counter(prompt_tokens=0, completion_tokens=0)
    for one in verifications:
        usage.update(one.row.get("usage", {}))
    return {
        "drawn": len(drawn),
        "answered": len(verifications),
        "kept": kept.total(),
        "strata": {name: {"drawn": drawn_counts[name], "kept": kept[name]} for name in STRATA},
        "reasons": count_reasons(verifications),
        "usage": dict(usage),
    }
