import json

from thinkseg.chains.parsing import REASONS
from thinkseg.evaluation.old_results import FAILURES, read_results


def test_read_results_failures_of_earlier_version_are_renamed(tmp_path):
    failures = [*FAILURES, "truncated", "too_many_boxes", None]
    row = {"video": "x", "category": "", "query": "q", "group": "", "target": True, "empty": False, "j": 0.0, "f": 0.0}
    rows = [json.dumps({**row, "id": str(number), "failure": failure}) for number, failure in enumerate(failures)]
    (tmp_path / "results.jsonl").write_text("\n".join(rows) + "\n")
    found = {row["failure"] for row in read_results(tmp_path).values()}
    assert found == {*REASONS, "size_mismatch", "unreadable", None}
