"""Samples of all sources: turns, replies and ground truth as in training and inference."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from thinkseg import demonstrations
from thinkseg.chains import CHAINS
from thinkseg.chains.frames import select_frames
from thinkseg.chains.parsing import parse_answer
from thinkseg.data import open_benchmark
from thinkseg.data.cot import CotSample, CotSet, frame_names, write_frames
from thinkseg.data.readers.frame_rates import Rates
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.data.shapes import episode, load
from thinkseg.demonstrations import true_reply
from thinkseg.errors import SettingsError, VideoError
from thinkseg.export.common import messages_of
from thinkseg.export.job import export
from thinkseg.export.samples import SkipSampleError
from thinkseg.export.sources import BenchmarkSource, CotSource, ShapesSource
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.pipeline import run_chains
from thinkseg.types import View


def texts(turn):
    return [part for part in turn.content if isinstance(part, str)]


def pixels(path):
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("chain", ["veason", "revseg"])
def test_benchmark_source_dialogue_equals_chain_and_parses_back(source, job, chain):
    made = job(chain, for_sft=True)
    view = made.settings.view
    for number in (0, 1):
        exported = source.sample(number, made.settings)
        sample = source._benchmark.sample(source._expressions[number])
        replies = [part for part in exported.dialogue if isinstance(part, str)]
        (outcome,) = run_chains([CHAINS[chain](sample, view)], ScriptedPolicy(replies))
        turns = [part for part in outcome.dialogue if not isinstance(part, str)]
        assert [texts(turn) for turn in exported.turns] == [texts(turn) for turn in turns]
        for turn, expected, files in zip(exported.turns, turns, exported.images, strict=True):
            for image, expected_image, name in zip(turn.images, expected.images, files, strict=True):
                assert np.array_equal(image, expected_image)
                assert np.array_equal(pixels(made.folder / name), expected_image)
        assert outcome.failure is None
        # The last frame shows both targets, the first only one.
        assert outcome.keyframe == (2 if number == 0 else None)
    assert np.array_equal(source.sample(0, made.settings).turns[0].images[0], turns[0].images[0])


def test_benchmark_source_true_reply_has_true_boxes(source, job):
    made = job(for_sft=True)
    exported = source.sample(0, made.settings)
    shown = select_frames(source._benchmark.frames("clip"), made.settings.view)
    answer = parse_answer(exported.dialogue[1], shown)
    assert answer.boxes.tolist() == [[0, 0, 2, 2], [1, 3, 5, 4]]


@pytest.mark.parametrize(("number", "why"), [(2, "target not visible"), (3, "no ground truth")])
def test_benchmark_source_unusable_question_is_skipped(source, job, number, why):
    for kind in ({"for_sft": True}, {"for_rl": True}):
        with pytest.raises(SkipSampleError, match=why):
            source.sample(number, job(**kind).settings)


def test_benchmark_source_no_ground_truth_exports_first_turn(source, job):
    exported = source.sample(3, job().settings)
    assert exported.truth is None
    assert len(exported.dialogue) == 1


def test_ground_truth_has_areas_and_boxes_per_frame(source, job):
    truth = source.sample(0, job(for_rl=True).settings).truth
    assert truth == {
        "dataset": "folder:all",
        "id": "clip/1",
        "chain": "veason",
        "labels": ["0", "1", "2"],
        "indices": [0, 1, 2],
        "frame_wh": [10, 8],
        "source_wh": [5, 4],
        "coordinates": "pixels",
        "has_target": True,
        "areas": [4, 0, 8],
        "boxes": [[[0, 0, 2, 2]], [], [[0, 0, 2, 2], [1, 3, 5, 4]]],
    }
    absent = source.sample(1, job(for_rl=True).settings).truth
    assert (absent["has_target"], absent["areas"]) == (False, [0, 0, 0])


def test_benchmark_source_shows_annotated_frames_only(benchmark, job):
    scored = replace(benchmark.expressions[0], scored=(2, 0))
    exported = BenchmarkSource(replace(benchmark, expressions=(scored,))).sample(0, job().settings)
    assert exported.truth["indices"] == [0, 2]
    unscored = replace(scored, scored=())
    with pytest.raises(SkipSampleError, match="no ground truth"):
        BenchmarkSource(replace(benchmark, expressions=(unscored,))).sample(0, job().settings)


def test_benchmark_source_fps_gives_times(benchmark, job):
    exported = BenchmarkSource(replace(benchmark, rates=Rates(2.0))).sample(0, job().settings)
    assert exported.truth["labels"] == ["0.0", "0.5", "1.0"]


def test_second_turn_equals_chain_for_every_frame(source, job):
    made = job("revseg", for_rl=True)
    exported = source.sample(0, made.settings)
    sample = source._benchmark.sample(source._expressions[0])
    for place in range(3):
        first = f'<think></think><answer>[{{"frame_idx": {place}, "object description": "a {{box}}"}}]</answer>'
        chain = CHAINS["revseg"](sample, made.settings.view)
        next(chain)
        turn = chain.send(first)
        assert exported.closeup_text.replace("{description}", "a {box}") == f"<image>{turn.content[1]}"
        assert np.array_equal(pixels(made.folder / exported.closeups[place]), turn.content[0])
    assert exported.truth["frame_wh"] == [20, 16]
    assert len(exported.dialogue) == 1


def test_shapes_source_replies_as_in_training(job):
    made = job(for_sft=True)
    exported = ShapesSource(open_benchmark("shapes", split="train", start=3, limit=1)).sample(0, made.settings)
    one = episode("train", 3)
    shown = select_frames(load("train", 3).video, made.settings.view)
    assert exported.dialogue[1] in {true_reply(one, 0, shown, template) for template in range(3)}
    assert exported.query == one.texts[0]


@pytest.mark.parametrize("index", range(3))
def test_shapes_source_two_turns_parse_back(job, index):
    made = job("revseg", for_sft=True)
    exported = ShapesSource(open_benchmark("shapes", split="train", start=index, limit=1)).sample(0, made.settings)
    replies = [part for part in exported.dialogue if isinstance(part, str)]
    (outcome,) = run_chains([CHAINS["revseg"](load("train", index), made.settings.view)], ScriptedPolicy(replies))
    assert outcome.failure is None
    assert [texts(turn) for turn in exported.turns] == [texts(part) for part in outcome.dialogue[::2]]


@pytest.fixture
def cot(tmp_path):
    """A set of one sample: frames 1 and 3 of a video of 24x16."""
    frames = np.random.default_rng(0).integers(0, 255, (2, 8, 12, 3), np.uint8)
    sample = CotSample(
        "clip/0", "clip", "the  cat", "", "referring", "single", (1, 3), ("0.5", "1.5"), "seconds", (24, 16),
        frame_names("clip/0", 2), 3, np.array([[2, 4, 12, 16]], np.float32), "A cat.",
    )  # fmt: skip
    write_frames(tmp_path / "cot", sample.frames, frames)
    return CotSet(tmp_path / "cot", {}, View(2, (12, 8)), False, (sample,))


def test_cot_source_dialogue_as_in_training(cot, job):
    made = job(for_sft=True)
    settings = replace(made.settings, view=cot.view)
    exported = CotSource(cot, settings).sample(0, settings)
    turn, reply = demonstrations.dialogue(cot, cot.samples[0], cot.view)
    assert texts(exported.turns[0]) == texts(turn)
    assert exported.dialogue[1] == reply
    assert exported.images == (("images/clip/0/00001-12x8.png", "images/clip/0/00003-12x8.png"),)
    assert np.array_equal(pixels(made.folder / exported.images[0][1]), turn.images[1])


def test_cot_source_other_chain_or_rl_raises(cot, job):
    for chain, kind, why in (("revseg", "for_sft", "the chain veason"), ("veason", "for_rl", "except at keyframes")):
        settings = replace(job(chain, **{kind: True}).settings, view=cot.view)
        with pytest.raises(SettingsError, match=why):
            CotSource(cot, settings)


def test_messages_of_have_placeholder_per_image(source, job):
    exported = source.sample(0, job("revseg", for_sft=True).settings)
    messages = messages_of(exported.dialogue)
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]
    places = [message["content"].count("<image>") for message in messages]
    assert places == [3, 0, 1, 0]
    assert "frame 0:<image>frame 1:<image>frame 2:<image>Question: both of them" in messages[0]["content"]


def test_export_counts_skipped_questions(source, job):
    done = export(source, "llamafactory", job(for_sft=True), DatasetIssues())
    assert done.written == 2
    assert sum(done.skipped.values()) == 2
    assert done.skipped["no ground truth"] == 1


def test_export_no_usable_question_raises(benchmark, job):
    unknown = replace(benchmark, expressions=benchmark.expressions[3:4])
    with pytest.raises(SettingsError, match=r"none of 1 questions can be exported \(no ground truth: 1\)"):
        export(BenchmarkSource(unknown), "jsonl", job(for_rl=True), DatasetIssues())


def test_export_unreadable_frame_raises_or_is_counted(benchmark, job):
    (benchmark.root / "clip" / "1.png").write_bytes(b"no image")
    with pytest.raises(VideoError):
        export(BenchmarkSource(benchmark), "jsonl", job(), DatasetIssues())
    issues = DatasetIssues(keep_going=True)
    with pytest.raises(SettingsError, match="none of 4 questions"):
        export(BenchmarkSource(benchmark), "jsonl", job(), issues)
    # One of four questions is skipped before its frames are read.
    assert issues.counts == {"missing_frame": 3}


def test_benchmark_source_questions_share_image_files(source, job):
    made = job()
    names = [source.sample(number, made.settings).images for number in (0, 1)]
    assert names[0] == names[1]
    assert len(list(made.folder.rglob("*.png"))) == 3


def test_export_twice_writes_same_bytes(source, job):
    made = job()
    export(source, "jsonl", made, DatasetIssues())
    first = (made.folder / "samples.jsonl").read_bytes()
    export(source, "jsonl", made, DatasetIssues())
    assert (made.folder / "samples.jsonl").read_bytes() == first
    assert [json.loads(line)["id"] for line in first.splitlines()] == ["clip/1", "clip/2", "clip/4"]
