import json
from dataclasses import asdict

import pytest

from thinkseg.errors import DatasetError, ModelError, SettingsError
from thinkseg.evaluation.evaluate import evaluate
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.types import VideoSample, View

VIEW = View(num_frames=4, frame_wh=(8, 8))


def found(second, *box):
    return f'<think>there</think><answer>{{"keyframe_timestamp": {second}, "bbox_2d_list": [{[*box]}]}}</answer>'


RIGHT, HALF, WRONG = found("2.0", 0, 0, 4, 4), found("1.0", 0, 0, 4, 2), found("0.0", 4, 4, 8, 8)
"""R_k of 1, 0.5 and 0 on a `question` with a target."""


CHOICE = '[{"frame_idx": 2, "object description": "the target"}]'


@pytest.fixture
def run(tmp_path, box_tracker):
    """Evaluates samples on scripted replies in one folder, so that a second call goes on from the first."""

    def run(samples, replies, **options):
        policy = ScriptedPolicy(replies, view=VIEW)
        return evaluate(samples, "veason", policy, box_tracker, tmp_path / "out", **options), policy

    return run


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def lines(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def test_scores_are_written_as_returned(question, run, out):
    scores, _ = run([question("a"), question("b", category="cause")], [RIGHT, WRONG])
    assert list(scores.categories) == ["cause", "referring"]
    assert json.loads((out / "scores.json").read_text()) == asdict(scores)
    assert sorted(path.name for path in out.iterdir()) == [".lock", "results.jsonl", "scores.json", "settings.json"]


def test_an_evaluation_cut_off_goes_on_where_it_was(question, run, out):
    samples = [question(name) for name in "abc"]
    with pytest.raises(ModelError, match="run out"):
        run(samples, [RIGHT, HALF])
    assert [row["id"] for row in lines(out)] == ["a", "b"]
    assert not (out / "scores.json").exists()
    scores, policy = run(samples, [WRONG])
    assert [row["id"] for row in lines(out)] == ["a", "b", "c"]
    assert len(policy.dialogues) == 1
    assert scores.overall.r_k == pytest.approx((1 + 0.5 + 0) / 3)


def test_a_line_cut_off_is_done_again(question, run, out):
    run([question("a"), question("b")], [RIGHT, HALF])
    results = out / "results.jsonl"
    results.write_bytes(results.read_bytes()[:-9])
    scores, policy = run([question("a"), question("b")], [WRONG])
    assert [row["id"] for row in lines(out)] == ["a", "b"]
    assert len(policy.dialogues) == 1
    assert scores.overall.r_k == 0.5


def test_a_first_line_cut_off_is_done_again(question, run, out):
    run([question("a")], [RIGHT])
    results = out / "results.jsonl"
    results.write_bytes(results.read_bytes()[:9])
    run([question("a")], [HALF])
    assert [row["keyframe"] for row in lines(out)] == [1]


def test_more_samples_can_be_added_and_fewer_asked_for(question, run):
    samples = [question(name) for name in "abc"]
    run(samples[:1], [RIGHT])
    assert run(samples, [WRONG, WRONG])[0].overall.samples == 3
    fewer, policy = run(samples[:1], [])
    assert (fewer.overall.samples, fewer.overall.r_k, policy.dialogues) == (1, 1.0, [])


def test_no_samples(run, out):
    scores, _ = run([], [])
    assert (scores.overall.samples, scores.overall.parsed, scores.overall.j, scores.categories) == (0, None, None, {})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"settings": {"split": "val"}}, "split 'train' -> 'val'"),
        ({"settings": {}}, "split 'train' -> None"),
        ({"settings": {"split": "train"}, "view": View(3, (8, 8))}, "view"),
    ],
)
def test_one_folder_holds_one_setting(question, run, options, words):
    run([question("a")], [RIGHT], settings={"split": "train"})
    with pytest.raises(SettingsError, match=words):
        run([question("a")], [RIGHT], **options)


def test_settings_say_what_was_run(question, run, out):
    run([question("a")], [RIGHT], settings={"split": "train", "seed": 1})
    stored = json.loads((out / "settings.json").read_text())
    assert (stored["chain"], stored["policy"], stored["tracker"]) == ("veason", "scripted", "boxes")
    assert (stored["view"]["num_frames"], stored["split"], stored["seed"]) == (4, "train", 1)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("settings.json", "{", "no settings"),
        ("settings.json", "[1]", "no settings"),
        ("results.jsonl", '{"id": "a"\n', "results.jsonl, line 2"),
        ("results.jsonl", "[]\n", "results.jsonl, line 2"),
    ],
)
def test_files_that_are_not_ours(question, run, out, name, text, words):
    run([question("a")], [RIGHT])
    path = out / name
    path.write_text(text if name == "settings.json" else path.read_text() + text)
    with pytest.raises(SettingsError, match=words):
        run([question("a"), question("b")], [RIGHT])


def test_results_of_unknown_settings(question, run, out):
    run([question("a")], [RIGHT])
    (out / "settings.json").unlink()
    with pytest.raises(SettingsError, match="not the settings"):
        run([question("a")], [RIGHT])


def test_a_folder_that_cannot_be(question, run, out):
    out.write_text("a file")
    with pytest.raises(SettingsError, match="choose another folder"):
        run([question("a")], [RIGHT])


def test_samples_must_be_told_apart(question, run):
    with pytest.raises(DatasetError, match="two samples have the id 'a'"):
        run([question("a"), question("a")], [RIGHT, RIGHT])


def test_samples_must_have_truth(film, run):
    with pytest.raises(DatasetError, match="sample 'a' has no truth"):
        run([VideoSample("a", film(), "it")], [RIGHT])


def test_a_bug_is_no_score(question, run, monkeypatch, box_tracker):
    monkeypatch.setattr(box_tracker, "track", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run([question("a")], [RIGHT])


def test_progress_counts_samples_whenever_they_were_done(question, run):
    samples, ticks = [question(name) for name in "abcd"], []
    run(samples[:2], [RIGHT] * 2)
    run(samples, [RIGHT] * 2, batch_size=2, progress=lambda *tick: ticks.append(tick))
    assert ticks == [(3, 4), (4, 4)]


def test_progress_of_samples_without_a_length(question, run):
    ticks = []
    run((question(name) for name in "ab"), [RIGHT] * 2, progress=lambda *tick: ticks.append(tick))
    assert ticks == [(1, 0), (2, 0)]


def test_two_turns_are_asked_in_batches(question, box_tracker, out):
    """One answers in two turns, one says none, and one fails in its second turn, all asked together."""
    where = '[{"bbox_2d": [0, 0, 8, 8]}]'

    def say(dialogue):
        name = dialogue[0].content[-1].rpartition(" ")[2]
        if len(dialogue) > 1:
            return where if name == "a" else "there"
        return f"<think></think><answer>{'[]' if name == 'b' else CHOICE}</answer>"

    policy = ScriptedPolicy(say, view=VIEW)
    samples = [question("a"), question("b", target=False), question("c")]
    scores = evaluate(samples, "revseg", policy, box_tracker, out, batch_size=3)
    assert [len(dialogue) for dialogue in policy.dialogues] == [1, 1, 1, 3, 3]
    assert [(row["failure"], row["keyframe"], len(row["replies"])) for row in lines(out)] == [
        (None, 2, 2),
        (None, None, 1),
        ("invalid_json", 2, 2),
    ]
    assert (lines(out)[0]["r_k"], lines(out)[0]["r_s"]) == (1, 1)
    # The rewards of GRPO count the keyframe of a first reply whose second reply fails.
    assert (lines(out)[2]["r_k"], lines(out)[2]["r_s"]) == (1, 0)
    assert scores.overall.no_target_right == 1
