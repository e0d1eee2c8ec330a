"""Building sets: prompts, verified samples, rejected answers, costs and errors."""

import json
import threading
from concurrent.futures import Future

import pytest

from annotating import VIEW, Script, good, steps_text
from thinkseg.annotation.build import MAX_FAILURES_IN_A_ROW, AnnotationSettings, annotate
from thinkseg.annotation.costs import CostBudget, CostTracker
from thinkseg.data.cot import read_cot_set
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.errors import DatasetError, ModelError, SettingsError, VideoError
from thinkseg.types import Reply

NAMES = ("single/0", "multiple/0", "none/0", "hidden/0", "single/1")
BAD = steps_text("A cat comes into the garden and sits down.", "It has an outline.", "It sits in the grass.")


def run(source, out, annotator, budget=None, **more):
    costs = CostTracker(budget or CostBudget(), annotator.max_reply_tokens)
    settings = AnnotationSettings(VIEW, 0, {"temperature": 0.0})
    return annotate(source, source.candidates, annotator, settings, costs, out, **more), costs


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def files(out):
    """The files of a set that do not differ between runs."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != "answers.jsonl"
    }


def test_annotate_all_kinds_of_questions_writes_set(clips, tmp_path):
    annotator = Script(lambda task: BAD if task.draft.id == "single/1" else good(task))
    counts_done = []
    result, costs = run(clips(*NAMES), tmp_path, annotator, on_answer=counts_done.append)
    assert annotator.prompted == ["single/0", "multiple/0", "none/0", "single/1"]
    assert counts_done == [1, 2, 3, 4, 5]
    assert (costs.prompt_tokens, costs.completion_tokens, result.failures) == (400, 40, [])
    assert [list(one.reasons) for one in result.verifications] == [
        [],
        [],
        [],
        ["target_not_visible"],
        ["wrong_keyframe", "mentions_overlay"],
    ]
    cot = read_cot_set(tmp_path)
    assert [sample.id for sample in cot.samples] == ["single/0", "multiple/0", "none/0"]
    assert cot.samples[1].boxes.tolist() == [[0, 0, 4, 4], [0, 7, 8, 8]]
    assert cot.samples[2].keyframe is None
    assert cot.samples[0].thinking.startswith("A cat comes into the garden and sits down. Nobody else")
    assert (cot.view.frame_wh, cot.view.label_unit, cot.boxes_in_thinking) == (VIEW.frame_wh, "seconds", False)
    assert cot.settings["annotator"] == "script"
    # Without overlays: the frames of the clips have one gray level each, which JPEG keeps.
    for sample in cot.samples:
        for index, image in zip(sample.indices, cot.images(sample), strict=True):
            assert image.shape == (16, 16, 3)
            assert (image == index).all()
    assert [(row["id"], row["reasons"]) for row in lines(tmp_path / "rejected.jsonl")] == [
        ("hidden/0", ["target_not_visible"]),
        ("single/1", ["wrong_keyframe", "mentions_overlay"]),
    ]
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert (counts["drawn"], counts["kept"]) == (5, 3)
    assert counts["usage"] == {"prompt_tokens": 400, "completion_tokens": 40}
    assert counts["strata"]["referring, single"] == {"drawn": 3, "kept": 1}
    assert counts["reasons"] == {"target_not_visible": 1, "wrong_keyframe": 1, "mentions_overlay": 1}


def test_annotate_rerun_requests_nothing(clips, tmp_path):
    annotator = Script(good)
    run(clips(*NAMES), tmp_path, annotator)
    before = files(tmp_path)
    result, costs = run(clips(*NAMES), tmp_path, annotator)
    assert len(annotator.prompted) == 4
    assert costs.prompt_tokens == 400
    assert len(result.verifications) == 5
    assert files(tmp_path) == before


@pytest.mark.parametrize("kept", range(4))
def test_annotate_after_kill_writes_same_set(clips, tmp_path, kept):
    """A kill leaves complete lines, a part of a line, and an incomplete folder of frames."""
    run(clips(*NAMES), tmp_path / "complete", Script(good))
    parts = tmp_path / "parts"
    run(clips(*NAMES[:kept]), parts, Script(good)) if kept else parts.mkdir()
    with (parts / "answers.jsonl").open("a") as file:
        file.write('{"id": "single/1", "vid')
    (parts / "frames" / "single" / ".1.partial").mkdir(parents=True)
    annotator = Script(good)
    if not kept:
        (parts / "answers.jsonl").unlink()
    run(clips(*NAMES), parts, annotator)
    assert files(parts) == files(tmp_path / "complete")
    assert annotator.prompted == [name for name in NAMES[kept:] if name != "hidden/0"]


def test_annotate_folder_of_version_0_1_is_resumed(clips, tmp_path):
    run(clips(*NAMES), tmp_path, Script(lambda task: BAD if task.draft.id == "single/1" else good(task)))
    before = [lines(tmp_path / name) for name in ("samples.jsonl", "rejected.jsonl")]
    rows = lines(tmp_path / "answers.jsonl")
    for row in rows:
        if "usage" in row:
            usage = row.pop("usage")
            row |= {"read": usage["prompt_tokens"], "written": usage["completion_tokens"]}
            row["clock"] = row.pop("label_unit")
        else:
            row["unusable"] = {"target_not_visible": "unseen"}[row.pop("skipped")]
    (tmp_path / "answers.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    settings = json.loads((tmp_path / "settings.json").read_text())
    settings["tells_boxes"] = settings.pop("boxes_in_thinking")
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    annotator = Script(good)
    _, costs = run(clips(*NAMES), tmp_path, annotator)
    assert annotator.prompted == []
    assert (costs.prompt_tokens, costs.completion_tokens) == (400, 40)
    assert [lines(tmp_path / name) for name in ("samples.jsonl", "rejected.jsonl")] == before


def test_annotate_larger_draw_adds_samples(clips, tmp_path):
    run(clips(*NAMES[:2]), tmp_path, Script(good))
    annotator = Script(good)
    run(clips(*NAMES), tmp_path, annotator)
    assert annotator.prompted == ["none/0", "single/1"]
    assert len(read_cot_set(tmp_path).samples) == 4


def test_annotate_folder_of_another_annotator_raises(clips, tmp_path):
    run(clips(*NAMES), tmp_path, Script(good))
    with pytest.raises(SettingsError, match="annotator 'script' -> 'other'"):
        run(clips(*NAMES), tmp_path, Script(good, "other"))


def test_annotate_failed_request_is_repeated_on_rerun(clips, tmp_path):
    down = {"multiple/0"}
    annotator = Script(lambda task: ModelError("too long") if task.draft.id in down else good(task))
    result, _ = run(clips(*NAMES), tmp_path, annotator)
    assert [str(failure) for failure in result.failures] == ["too long"]
    assert [one.candidate.id for one in result.verifications] == [name for name in NAMES if name != "multiple/0"]
    assert len(read_cot_set(tmp_path).samples) == 3
    down.clear()
    result, _ = run(clips(*NAMES), tmp_path, annotator)
    assert annotator.prompted[4:] == ["multiple/0"]
    assert [sample.id for sample in read_cot_set(tmp_path).samples] == ["single/0", "multiple/0", "none/0", "single/1"]


def test_annotate_server_down_stops_after_five_failures(clips, tmp_path):
    annotator = Script(lambda task: ModelError("gone"))
    result, _ = run(clips(*(f"single/{number}" for number in range(20))), tmp_path, annotator)
    assert len(annotator.prompted) == len(result.failures) == MAX_FAILURES_IN_A_ROW
    assert result.verifications == []


def test_annotate_budget_used_up_leaves_questions_unasked(clips, tmp_path):
    """A reply takes 110 tokens and is estimated at 150."""
    source, annotator = clips(*(f"single/{number}" for number in range(10))), Script(good)
    result, costs = run(source, tmp_path, annotator, CostBudget(tokens=500))
    assert costs.prompt_tokens + costs.completion_tokens == 440
    assert (len(result.verifications), result.failures, result.num_unasked) == (4, [], 6)
    run(source, tmp_path, annotator, CostBudget(tokens=500))
    assert len(annotator.prompted) == 4
    _, costs = run(source, tmp_path, annotator, CostBudget(tokens=700))
    assert costs.prompt_tokens + costs.completion_tokens == 660
    run(source, tmp_path, annotator)
    assert len(annotator.prompted) == 10


def test_annotate_budget_without_usage_raises(clips, tmp_path):
    annotator = Script(lambda task: Reply(good(task)))
    with pytest.raises(ModelError, match="does not report prompt tokens"):
        run(clips(*NAMES), tmp_path, annotator, CostBudget(tokens=500))
    assert len(lines(tmp_path / "answers.jsonl")) == 1


@pytest.mark.parametrize("error", [DatasetError("no mask"), VideoError("no frame")])
def test_annotate_unreadable_frames_raise_and_keep_answers(clips, tmp_path, error):
    source = clips(*NAMES)
    source.errors["none/0"] = error
    with pytest.raises(type(error), match="no"):
        run(source, tmp_path, Script(good))
    assert [row["id"] for row in lines(tmp_path / "answers.jsonl")] == ["single/0", "multiple/0"]


def test_annotate_unreadable_frames_keep_going_skips_question(clips, tmp_path):
    source, issues = clips(*NAMES), DatasetIssues(keep_going=True)
    source.errors["none/0"] = VideoError("no frame")
    result, _ = run(source, tmp_path, Script(good), issues=issues)
    assert issues.total == 1
    assert (len(result.verifications), result.num_unreadable, result.num_unasked) == (4, 1, 0)


def test_annotate_notes_are_not_unreadable_questions(clips, tmp_path):
    issues = DatasetIssues()
    issues.note(DatasetFileError("count", "odd"))
    result, _ = run(clips(*NAMES), tmp_path, Script(good), issues=issues)
    assert (len(result.verifications), result.num_unreadable, result.num_unasked) == (5, 0, 0)


class Slow(Script):
    """Replies to the latest of `concurrency` requests in flight. most: largest number of requests in flight."""

    concurrency = 3

    def __init__(self):
        super().__init__(good)
        self.waiting: list[tuple[Future, str]] = []
        self.most = 0

    def submit(self, task, template):
        future: Future = Future()
        self.waiting.append((future, super().submit(task, template).result()))
        self.most = max(self.most, len(self.waiting))
        if len(self.waiting) == self.concurrency:
            self.answer(1)
            threading.Timer(0.3, self.answer, [self.concurrency]).start()
        return future

    def answer(self, count):
        """Replies to the latest requests, up to `count`."""
        for _ in range(min(count, len(self.waiting))):
            future, reply = self.waiting.pop()
            future.set_result(reply)


def test_annotate_replies_out_of_order_write_same_set(clips, tmp_path):
    names = [f"single/{number}" for number in range(9)]
    annotator = Slow()
    run(clips(*names), tmp_path / "slow", annotator)
    assert annotator.most == 3
    assert [row["id"] for row in lines(tmp_path / "slow" / "answers.jsonl")] != names
    run(clips(*names), tmp_path / "one", Script(good))
    assert files(tmp_path / "slow") == files(tmp_path / "one")


def test_annotate_error_waits_for_replies_in_flight(clips, tmp_path):
    names = [f"single/{number}" for number in range(4)]
    source = clips(*names)
    source.errors["single/3"] = VideoError("no frame")
    with pytest.raises(VideoError):
        run(source, tmp_path, Slow())
    assert sorted(row["id"] for row in lines(tmp_path / "answers.jsonl")) == names[:3]


def test_annotate_new_verification_rules_use_stored_answers(clips, tmp_path, monkeypatch):
    annotator = Script(good)
    run(clips("single/0"), tmp_path, annotator)
    monkeypatch.setattr("thinkseg.annotation.verify.MIN_WORDS", 1000)
    result, _ = run(clips("single/0"), tmp_path, annotator)
    assert result.verifications[0].reasons == ["invalid_length"]
    assert read_cot_set(tmp_path).samples == ()
    assert len(annotator.prompted) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("usage", "10 tokens"),
        ("usage", {"completion_tokens": 3}),
        ("reply", None),
        ("truncated", 0),
        ("objects", "1"),
        ("skipped", []),
        ("unusable", {}),
    ],
)
def test_annotate_damaged_answer_raises_with_its_id(clips, tmp_path, field, value):
    run(clips("single/0"), tmp_path, Script(good))
    (row,) = lines(tmp_path / "answers.jsonl")
    (tmp_path / "answers.jsonl").write_text(json.dumps({**row, field: value}) + "\n")
    with pytest.raises(DatasetError, match=r"answers\.jsonl, single/0: "):
        run(clips("single/0"), tmp_path, Script(good))


def test_annotate_other_data_prompts_or_annotator_raises(clips, tmp_path, monkeypatch):
    run(clips(*NAMES), tmp_path, Script(good))
    source = clips(*NAMES)
    monkeypatch.setattr(source, "fingerprint", lambda name: {"query": "the dog", "masks": name})
    with pytest.raises(SettingsError, match=r"another one, or was changed since \(query of single/0\)"):
        run(source, tmp_path, Script(good))
    annotator = Script(good)
    annotator.fingerprint = {"root": "/models/b"}
    with pytest.raises(SettingsError, match=r"annotator 'script' changed since its first run \(root\)"):
        run(clips(*NAMES), tmp_path, annotator)
    monkeypatch.setattr("thinkseg.annotation.build.TEMPLATES", ("Explain.",))
    with pytest.raises(SettingsError, match="the prompts changed"):
        run(clips(*NAMES), tmp_path, Script(good))


def test_annotate_frames_of_lost_row_are_replaced(clips, tmp_path):
    run(clips("single/0"), tmp_path, Script(good))
    image = next((tmp_path / "frames").rglob("*.jpg"))
    expected = image.read_bytes()
    image.write_bytes(b"of other data")
    (tmp_path / "answers.jsonl").write_bytes(b"")
    run(clips("single/0"), tmp_path, Script(good))
    assert image.read_bytes() == expected
