"""Benchmarks evaluated: rows, masks and scores; runs interrupted and resumed; invalid data sets and folders."""

import json

import numpy as np
import pytest

import layouts
from memory_benchmark import benchmark_of
from thinkseg.chains.frames import select_frames
from thinkseg.chains.parsing import write_answer
from thinkseg.data import open_benchmark
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.data.shapes.writer import write_dataset
from thinkseg.errors import DatasetError, ModelError, SettingsError, VideoError
from thinkseg.evaluation.evaluate import Evaluator, Method, evaluate, evaluate_with
from thinkseg.evaluation.predictions import open_predictions
from thinkseg.evaluation.scores import format_scores
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.prompts import BUILT_IN, Prompts, VeasonPrompts
from thinkseg.scale.workers import WorkerLostError
from thinkseg.types import View

VIEW = View(num_frames=3, frame_wh=(10, 8))
NONE = '<think>none</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'
LEFT = '<think>there</think><answer>{"keyframe_timestamp": 0, "bbox_2d_list": [[0, 0, 4, 4]]}</answer>'
"""The box of layouts.LEFT: the view is twice the size of the frames."""

REVOS = {"lvos/clip/0": LEFT, "lvos/clip/1": LEFT, "lvos/clip/2": NONE, "solo/0": "junk"}
SCRIPT = tuple(REVOS.values())


def found(second, *box):
    return f'<think>there</think><answer>{{"keyframe_timestamp": {second}, "bbox_2d_list": [{[*box]}]}}</answer>'


RIGHT, HALF, WRONG = found("2.0", 0, 0, 4, 4), found("1.0", 0, 0, 4, 2), found("0.0", 4, 4, 8, 8)
"""R_k of 1, 0.5 and 0 on a `question` with a target."""

CHOICE = '[{"frame_idx": 2, "object description": "the target"}]'


@pytest.fixture
def root(tmp_path):
    layouts.revos(tmp_path / "revos")
    return tmp_path / "revos"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(root, out, box_tracker):
    """Evaluates a benchmark on scripted replies in one folder, so that a second call resumes the first."""

    def run(replies=SCRIPT, name="revos", keep_going=False, fps=None, **options):
        benchmark = open_benchmark(name, root, None, DatasetIssues(keep_going), fps)
        policy = ScriptedPolicy(replies, view=VIEW)
        return evaluate(benchmark, Method("veason", policy, box_tracker), out, **options)

    return run


@pytest.fixture
def run_samples(out, box_tracker):
    """Evaluates samples in one folder; returns the metrics of all of them and the policy."""

    def run_samples(samples, replies, view=None, chain="veason", batch_size=1, **options):
        policy = ScriptedPolicy(replies, view=View(num_frames=4, frame_wh=(8, 8)))
        scores = evaluate(benchmark_of(samples), Method(chain, policy, box_tracker, view, batch_size), out, **options)
        return {name: one["value"] for name, one in scores["metrics"].get("overall", {}).items()}, policy

    return run_samples


def lines(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def rows(out):
    return {row["id"]: row for row in lines(out)}


def test_evaluate_writes_one_row_per_expression(run, out):
    scores = run()
    found = rows(out)
    assert list(found) == list(REVOS)
    # LEFT is visible in frames 0 and 1; the tracked box fills frame 2 as well.
    assert found["lvos/clip/0"]["j"] == pytest.approx(2 / 3)
    assert found["lvos/clip/0"]["is_empty"] is False
    # The union of both objects in frame 0; the left one in frame 1; the floor in frame 2.
    assert found["lvos/clip/1"]["j"] == pytest.approx((4 / 8 + 1 + 0) / 3)
    assert found["lvos/clip/2"]["has_target"] is False
    assert found["lvos/clip/2"]["is_empty"] is True
    assert found["solo/0"]["failure"] == "invalid_tags"
    assert (found["solo/0"]["j"], found["solo/0"]["f"], found["solo/0"]["is_empty"]) == (0, 0, False)
    assert found["lvos/clip/0"]["r_k"] == 1.0
    assert json.loads((out / "scores.json").read_text()) == json.loads(json.dumps(scores))
    assert scores["failures"] == {"invalid_tags": 1}
    assert scores["metrics"]["referring"]["J"]["value"] == pytest.approx(round(200 / 3, 2) / 2)
    assert scores["metrics"]["referring"]["R_k"]["value"] == 50
    assert scores["metrics"]["no-target"]["N-acc"]["value"] == 100
    assert scores["metrics"]["overall"]["parse rate"]["value"] == 75


def test_evaluate_masks_score_the_same_in_both_forms(run, root, out):
    run(save_png=True)
    benchmark = open_benchmark("revos", root)
    for folder in (out, out / "pictures"):
        predictions = open_predictions(folder, "revos")
        for expression in benchmark.expressions:
            masks = predictions.of(expression, benchmark.videos[expression.video], (5, 4))
            if expression.key == "solo/0":
                assert masks is None
                continue
            expected = layouts.LEFT if expression.id != "2" else layouts.NOTHING
            np.testing.assert_array_equal(masks.union(2), expected)
    names = sorted(path.relative_to(out / "pictures").as_posix() for path in (out / "pictures").rglob("*.png"))
    assert names == [f"lvos/clip/{number}/{name}.png" for number in "012" for name in layouts.FRAMES]


def test_evaluate_interrupted_resumes(run, out):
    with pytest.raises(ModelError, match="used up"):
        run([LEFT])
    assert list(rows(out)) == ["lvos/clip/0"]
    assert not (out / "scores.json").exists()
    seen = []
    scores = run([LEFT, NONE, "junk"], on_row=lambda row, done: seen.append((row["id"], done)))
    assert seen == [(key, done) for done, key in enumerate(REVOS, start=1)]
    before = (out / "results.jsonl").read_bytes()
    assert run([]) == scores
    assert (out / "results.jsonl").read_bytes() == before


def test_evaluate_old_keys_resumes(run, out):
    scores = run()
    text = (out / "results.jsonl").read_text()
    for new, old in (("has_target", "target"), ("is_empty", "empty"), ("robustness_area", "r_area")):
        text = text.replace(f'"{new}"', f'"{old}"')
    (out / "results.jsonl").write_text(text)
    assert run([]) == scores


def test_evaluate_refdavis_writes_object_rows(root, run, out):
    layouts.refdavis(root)
    # Run 0 finds both objects, in swapped order; the others find none, or have unusable replies.
    right = LEFT.replace("[0, 0, 4, 4]", "[6, 0, 10, 4]")
    script = [right, NONE, NONE, NONE, LEFT, "junk", "junk", NONE]
    scores = run(script, name="refdavis")
    found = rows(out)
    objects = [name for name in found if "object" in found[name]]
    assert objects == [f"dogs/anno_{run}/object {number}" for run in range(4) for number in (1, 2)]
    assert [found[name]["j"] for name in objects] == [1, 1, 0, 0, 0, 0, 0, 0]
    assert (scores["expressions"], scores["failures"]) == (8, {"invalid_tags": 2})
    assert (scores["metrics"]["A"]["J"]["value"], scores["metrics"]["A, anno_0"]["J"]["value"]) == (25, 100)
    before = (out / "results.jsonl").read_bytes()
    assert run([], name="refdavis") == scores
    assert (out / "results.jsonl").read_bytes() == before


def test_evaluate_decodes_each_frame_once(run, monkeypatch):
    from thinkseg.ops import frame_folder

    reads = []
    original = frame_folder.read_picture
    monkeypatch.setattr(frame_folder, "read_picture", lambda path: reads.append(path) or original(path))
    run()
    assert len(reads) == len(set(reads)) == 5


def test_evaluate_unreadable_frame_raises_or_skips_video(run, root, out):
    (root / "JPEGImages" / "lvos" / "clip" / "00002.jpg").write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"00002\.jpg"):
        run()
    scores = run(["junk"], keep_going=True)
    assert list(rows(out)) == ["solo/0"]
    assert scores["skipped"] == 3


def test_evaluate_invalid_truth_raises_or_skips_expression(run, root, out):
    with layouts.editing(root / "mask_dict.json") as masks:
        masks["0"][1]["counts"] = "?"
    with pytest.raises(DatasetError, match=r"mask_dict\.json"):
        run()
    scores = run([LEFT, LEFT, NONE, LEFT], keep_going=True)
    assert list(rows(out)) == ["lvos/clip/2", "solo/0"]
    assert scores["skipped"] == 2


def test_evaluate_fps_is_a_setting(run, out):
    run(fps=2.0)
    assert rows(out)["lvos/clip/0"]["keyframe"] == 0
    with pytest.raises(SettingsError, match=r"fps 2\.0 -> None"):
        run()


def test_evaluate_shapes_written_as_revos_scores_the_same(tmp_path, box_tracker):
    tree = tmp_path / "shapes"
    tree.mkdir()
    write_dataset(tree, "val", range(3))

    def reply(dialogue):
        time = dialogue[0].content[5].removesuffix(" s:")
        return f'<think>.</think><answer>{{"keyframe_timestamp": {time}, "bbox_2d_list": [[0, 0, 200, 180]]}}</answer>'

    policy = ScriptedPolicy(reply, view=View(4, (224, 224), label_unit="seconds"))
    method = Method("veason", policy, box_tracker)
    evaluate(open_benchmark("shapes", limit=3), method, tmp_path / "world")
    evaluate(open_benchmark("revos", tree), method, tmp_path / "files")
    kept = ("keyframe", "boxes", "j", "f", "r_k", "r_s", "has_target")
    expected, found = ([[row[key] for key in kept] for row in lines(tmp_path / name)] for name in ("world", "files"))
    assert found == expected
    assert any(0 < row["j"] < 1 for row in lines(tmp_path / "world"))


def test_evaluate_ground_truth_of_shapes_returns_100(tmp_path, box_tracker):
    """At the size of the source a box is written exactly, so R_k and R_s must be 1, not nearly 1."""
    benchmark = open_benchmark("shapes", limit=14)
    samples = list(benchmark.samples())
    view = View(6, samples[0].video.size_wh)
    policy = ScriptedPolicy([true_reply(sample, view) for sample in samples], view=view)
    scores = evaluate(benchmark, Method("veason", policy, box_tracker, batch_size=8), tmp_path)
    metrics = scores["metrics"]["overall"]
    values = [metrics[name]["value"] for name in ("R_k", "R_s", "T-acc", "N-acc", "parse rate")]
    assert values == [100] * 5


def true_reply(sample, view):
    """The reply that chooses the frame with most of the target, and boxes it there."""
    shown = select_frames(sample.video, view)
    if sample.truth.num_objects == 0:
        return write_answer("as simulated", None, np.zeros((0, 4)), shown)
    keyframe = max(shown.indices, key=sample.truth.area)
    return write_answer("as simulated", keyframe, sample.truth.boxes(keyframe), shown)


def test_evaluate_interrupted_line_is_answered_again(question, run_samples, out):
    run_samples([question("a"), question("b")], [RIGHT, HALF])
    results = out / "results.jsonl"
    results.write_bytes(results.read_bytes()[:-9])
    metrics, policy = run_samples([question("a"), question("b")], [WRONG])
    assert [row["id"] for row in lines(out)] == ["a/0", "b/0"]
    assert len(policy.dialogues) == 1
    assert metrics["R_k"] == 50


def test_evaluate_interrupted_first_line_is_answered_again(question, run_samples, out):
    run_samples([question("a")], [RIGHT])
    results = out / "results.jsonl"
    results.write_bytes(results.read_bytes()[:9])
    run_samples([question("a")], [HALF])
    assert [row["keyframe"] for row in lines(out)] == [1]


def test_evaluate_more_or_fewer_samples_uses_known_rows(question, run_samples):
    samples = [question(name) for name in "abc"]
    run_samples(samples[:1], [RIGHT])
    assert run_samples(samples, [WRONG, WRONG])[0]["R_k"] == pytest.approx(100 / 3)
    fewer, policy = run_samples(samples[:1], [])
    assert (fewer["R_k"], policy.dialogues) == (100, [])


def test_evaluate_no_samples_raises(run_samples):
    with pytest.raises(DatasetError, match="no expressions; choose another split"):
        run_samples([], [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": {"seed": 1}}, "seed 0 -> 1"),
        ({"settings": {}}, "seed 0 -> None"),
        ({"settings": {"seed": 0}, "view": View(3, (8, 8))}, "view"),
    ],
)
def test_evaluate_other_settings_raises(question, run_samples, options, message):
    run_samples([question("a")], [RIGHT], settings={"seed": 0})
    with pytest.raises(SettingsError, match=message):
        run_samples([question("a")], [RIGHT], **options)


def test_evaluate_other_category_weights_raises(tmp_path, box_tracker):
    method = Method("veason", ScriptedPolicy([NONE] * 2, view=VIEW), box_tracker)
    evaluate(open_benchmark("shapes", limit=1), method, tmp_path)
    with pytest.raises(SettingsError, match="category_weights"):
        evaluate(open_benchmark("shapes", limit=1, category_weights={"none": 1.0}), method, tmp_path)


def test_evaluate_other_wording_raises_for_the_same_folder(question, run_samples):
    run_samples([question("a")], [RIGHT])
    run_samples([question("a")], [], view=View(4, (8, 8), prompts=BUILT_IN))
    wording = Prompts(VeasonPrompts(prompt="{frames}{query}"))
    with pytest.raises(SettingsError, match=r"the prompts changed since its first run \(veason\)"):
        run_samples([question("a")], [RIGHT], view=View(4, (8, 8), prompts=wording))


def test_evaluate_on_another_device_resumes(question, run_samples, out):
    samples = [question("a"), question("b")]
    run_samples(samples[:1], [RIGHT], settings={"device": None, "precision": "auto"})
    metrics, policy = run_samples(samples, [RIGHT], settings={"device": "cpu", "precision": "fp32"})
    assert (metrics["R_k"], len(policy.dialogues)) == (100, 1)
    assert json.loads((out / "settings.json").read_text())["device"] is None


def test_evaluate_writes_settings(question, run_samples, out):
    run_samples([question("a")], [RIGHT], settings={"seed": 1})
    stored = json.loads((out / "settings.json").read_text())
    assert (stored["chain"], stored["policy"], stored["tracker"]) == ("veason", "scripted", "boxes")
    assert (stored["view"]["num_frames"], stored["data"], stored["seed"]) == (4, "memory", 1)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("settings.json", "{", "settings"),
        ("settings.json", "[1]", "settings"),
        ("results.jsonl", '{"id": "a"\n', "results.jsonl, line 2"),
        ("results.jsonl", "[]\n", "results.jsonl, line 2"),
    ],
)
def test_evaluate_foreign_files_raises(question, run_samples, out, name, text, message):
    run_samples([question("a")], [RIGHT])
    path = out / name
    path.write_text(text if name == "settings.json" else path.read_text() + text)
    with pytest.raises(SettingsError, match=message):
        run_samples([question("a"), question("b")], [RIGHT])


def test_evaluate_results_without_settings_raises(question, run_samples, out):
    run_samples([question("a")], [RIGHT])
    (out / "settings.json").unlink()
    with pytest.raises(SettingsError, match="settings"):
        run_samples([question("a")], [RIGHT])


def test_evaluate_out_is_a_file_raises(question, run_samples, out):
    out.write_text("a file")
    with pytest.raises(SettingsError, match="choose another folder"):
        run_samples([question("a")], [RIGHT])


def test_evaluate_bug_in_tracker_is_raised(question, run_samples, monkeypatch, box_tracker):
    monkeypatch.setattr(box_tracker, "track", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_samples([question("a")], [RIGHT])


def test_evaluate_two_turns_are_batched(question, run_samples, out):
    """One sample is answered in two turns, one with none, and one fails in its second turn, all in one batch."""
    where = '[{"bbox_2d": [0, 0, 8, 8]}]'

    def say(dialogue):
        name = dialogue[0].content[-1].rpartition(" ")[2]
        if len(dialogue) > 1:
            return where if name == "a" else "there"
        return f"<think></think><answer>{'[]' if name == 'b' else CHOICE}</answer>"

    samples = [question("a"), question("b", target=False), question("c")]
    metrics, policy = run_samples(samples, say, chain="revseg", batch_size=3)
    assert [len(dialogue) for dialogue in policy.dialogues] == [1, 1, 1, 3, 3]
    assert [(row["failure"], row["keyframe"], len(row["replies"])) for row in lines(out)] == [
        (None, 2, 2),
        (None, None, 1),
        ("invalid_json", 2, 2),
    ]
    assert (lines(out)[0]["r_k"], lines(out)[0]["r_s"]) == (1, 1)
    # The rewards of GRPO count the keyframe of a first reply whose second reply fails.
    assert (lines(out)[2]["r_k"], lines(out)[2]["r_s"]) == (1, 0)
    assert (metrics["N-acc"], metrics["T-acc"]) == (100, 50)


FENCED = f"```json\n{LEFT}\n```"


def test_evaluate_counts_repairs(run, out):
    scores = run([LEFT, FENCED, NONE, "junk"])
    assert (scores["repaired"], scores["repairs"]) == (1, {"outside_text": 1})
    assert [row["repairs"] for row in lines(out)] == [[], ["outside_text"], [], []]
    assert "read after repair: 1 of 4: outside_text 1" in format_scores(scores)
    assert json.loads((out / "settings.json").read_text())["reading"] == "repair"


def test_evaluate_folder_of_another_reading_raises(question, out, box_tracker):
    def run(reading, replies):
        policy = ScriptedPolicy(replies, view=VIEW)
        return evaluate(benchmark_of([question("a")]), Method("veason", policy, box_tracker, reading=reading), out)

    assert run("strict", [FENCED])["failures"] == {"invalid_tags": 1}
    # Earlier versions read strictly and did not say so.
    settings = json.loads((out / "settings.json").read_text())
    assert settings.pop("reading") == "strict"
    (out / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(SettingsError, match="reading 'strict' -> 'repair'"):
        run("repair", [])
    assert run("strict", [])["failures"] == {"invalid_tags": 1}


class LosingVideo:
    """A worker that answers what another one does, and loses the questions about one video."""

    def __init__(self, worker, video):
        self.settings, self._worker, self._video = worker.settings, worker, video

    def answer(self, items):
        lost = [name for name in items if name.startswith(self._video)]
        yield from ((name, WorkerLostError(f"{self._video}: set aside")) for name in lost)
        yield from self._worker.answer([name for name in items if name not in lost])


@pytest.fixture
def run_losing(root, out, box_tracker):
    """Evaluates with workers that die during the video lvos/clip."""

    def run(keep_going):
        benchmark = open_benchmark("revos", root, None, DatasetIssues(keep_going))
        worker = Evaluator(benchmark, Method("veason", ScriptedPolicy(SCRIPT, view=VIEW), box_tracker))
        return evaluate_with(LosingVideo(worker, "lvos/clip"), benchmark, out)

    return run


def test_evaluate_video_set_aside_raises_after_the_others_have_rows(run_losing, run, out):
    with pytest.raises(VideoError, match=r"^lvos/clip: set aside$"):
        run_losing(keep_going=False)
    assert list(rows(out)) == ["solo/0"]
    assert not (out / "scores.json").exists()
    run()
    assert sorted(rows(out)) == sorted(REVOS)


def test_evaluate_video_set_aside_keep_going_counts_its_questions(run_losing, out):
    assert run_losing(keep_going=True)["skipped"] == 3
    assert list(rows(out)) == ["solo/0"]
