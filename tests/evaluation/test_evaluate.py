"""A benchmark evaluated: rows, masks and pictures beside, cut off and gone on with, whole and broken."""

import json

import numpy as np
import pytest

import layouts
from thinkseg.data import open_benchmark
from thinkseg.data.readers.issues import DatasetIssues
from thinkseg.data.shapes import load
from thinkseg.data.shapes.simulation import FPS
from thinkseg.data.shapes.writer import write_dataset
from thinkseg.errors import DatasetError, ModelError, SettingsError, VideoError
from thinkseg.evaluation.evaluate import Method, evaluate, evaluate_benchmark
from thinkseg.evaluation.predictions import open_predictions
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.types import View

VIEW = View(num_frames=3, frame_wh=(10, 8))
NONE = '<think>none</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'
LEFT = '<think>there</think><answer>{"keyframe_timestamp": 0, "bbox_2d_list": [[0, 0, 4, 4]]}</answer>'
"""The box of layouts.LEFT: the view is twice the size of the frames."""

REVOS = {"lvos/clip/0": LEFT, "lvos/clip/1": LEFT, "lvos/clip/2": NONE, "solo/0": "junk"}
SCRIPT = tuple(REVOS.values())


@pytest.fixture
def root(tmp_path):
    layouts.revos(tmp_path / "revos")
    return tmp_path / "revos"


@pytest.fixture
def run(root, tmp_path, box_tracker):
    """Evaluates a benchmark on scripted replies in one folder, so that a second call goes on from the first."""

    def run(replies=SCRIPT, name="revos", keep_going=False, **options):
        benchmark = open_benchmark(name, root, None, DatasetIssues(keep_going))
        policy = ScriptedPolicy(replies, view=VIEW)
        return evaluate_benchmark(benchmark, Method("veason", policy, box_tracker), tmp_path / "out", **options)

    return run


def rows(tmp_path):
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def test_a_row_for_each_expression(run, tmp_path):
    scores = run()
    found = rows(tmp_path)
    assert list(found) == list(REVOS)
    # LEFT is there in frames 0 and 1; what was tracked is there in frame 2 too.
    assert found["lvos/clip/0"]["j"] == pytest.approx(2 / 3)
    assert found["lvos/clip/0"]["empty"] is False
    # The union of both objects in frame 0; the left one in frame 1; the floor in frame 2.
    assert found["lvos/clip/1"]["j"] == pytest.approx((4 / 8 + 1 + 0) / 3)
    assert found["lvos/clip/2"]["target"] is False
    assert found["lvos/clip/2"]["empty"] is True
    assert found["solo/0"]["failure"] == "invalid_tags"
    assert (found["solo/0"]["j"], found["solo/0"]["f"], found["solo/0"]["empty"]) == (0, 0, False)
    assert found["lvos/clip/0"]["r_k"] == 1.0
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == json.loads(json.dumps(scores))
    assert scores["failures"] == {"invalid_tags": 1}
    assert scores["figures"]["referring"]["J"]["value"] == pytest.approx(round(200 / 3, 2) / 2)
    assert scores["figures"]["no-target"]["N-acc"]["value"] == 100


def test_masks_lie_beside_and_score_the_same(run, root, tmp_path):
    run(pictures=True)
    out = tmp_path / "out"
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


def test_cut_off_and_gone_on_with(run, tmp_path):
    with pytest.raises(ModelError, match="run out"):
        run([LEFT])
    assert list(rows(tmp_path)) == ["lvos/clip/0"]
    told = []
    scores = run([LEFT, NONE, "junk"], on_row=lambda row, done: told.append((row["id"], done)))
    assert told == [(key, done) for done, key in enumerate(REVOS, start=1)]
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    assert run([]) == scores
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before


def test_objects_scored_together_have_rows_of_their_own(root, run, tmp_path):
    layouts.refdavis(root)
    # Run 0 finds both objects, in turn; the others say that there is none, or nothing that can be used.
    right = LEFT.replace("[0, 0, 4, 4]", "[6, 0, 10, 4]")
    script = [right, NONE, NONE, NONE, LEFT, "junk", "junk", NONE]
    scores = run(script, name="refdavis")
    found = rows(tmp_path)
    objects = [name for name in found if "object" in found[name]]
    assert objects == [f"dogs/anno_{run}/object {number}" for run in range(4) for number in (1, 2)]
    assert [found[name]["j"] for name in objects] == [1, 1, 0, 0, 0, 0, 0, 0]
    assert (scores["expressions"], scores["failures"]) == (8, {"invalid_tags": 2})
    assert (scores["figures"]["A"]["J"]["value"], scores["figures"]["A, anno_0"]["J"]["value"]) == (25, 100)
    before = (tmp_path / "out" / "results.jsonl").read_bytes()
    assert run([], name="refdavis") == scores
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == before


def test_every_frame_is_decoded_once(run, monkeypatch):
    from thinkseg.ops import video

    reads = []
    original = video._read_picture
    monkeypatch.setattr(video, "_read_picture", lambda path: reads.append(path) or original(path))
    run()
    assert len(reads) == len(set(reads)) == 5


def test_a_broken_video_stops_it_unless_told_otherwise(run, root, tmp_path):
    (root / "JPEGImages" / "lvos" / "clip" / "00002.jpg").write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"00002\.jpg"):
        run()
    scores = run(["junk"], keep_going=True)
    assert list(rows(tmp_path)) == ["solo/0"]
    assert scores["broken"] == 3


def test_a_broken_truth_stops_it_unless_told_otherwise(run, root, tmp_path):
    with layouts.editing(root / "mask_dict.json") as masks:
        masks["0"][1]["counts"] = "?"
    with pytest.raises(DatasetError, match=r"mask_dict\.json"):
        run()
    scores = run([LEFT, LEFT, NONE, LEFT], keep_going=True)
    assert list(rows(tmp_path)) == ["lvos/clip/2", "solo/0"]
    assert scores["broken"] == 2


def test_frames_a_second_make_seconds(run, tmp_path):
    run(fps=2.0)
    assert rows(tmp_path)["lvos/clip/0"]["keyframe"] == 0
    with pytest.raises(SettingsError, match=r"fps 2\.0 -> None"):
        run()


def test_the_shapes_world_scores_the_same_as_a_benchmark(root, tmp_path, box_tracker):
    tree, size_wh = tmp_path / "shapes", (40, 32)
    tree.mkdir()
    write_dataset(tree, "val", range(3), size_wh)
    said = '<think>.</think><answer>{"keyframe_timestamp": 0.0, "bbox_2d_list": [[0, 0, 38, 30]]}</answer>'
    method = Method("veason", ScriptedPolicy([said] * 6, view=View(4, size_wh)), box_tracker)
    evaluate((load("val", n, size_wh) for n in range(3)), "veason", method.policy, box_tracker, tmp_path / "world")
    evaluate_benchmark(open_benchmark("revos", tree), method, tmp_path / "out", fps=FPS)
    expected = map(json.loads, (tmp_path / "world" / "results.jsonl").read_text().splitlines())
    kept = ("keyframe", "boxes", "j", "f", "r_k", "r_s", "target")
    found = list(rows(tmp_path).values())
    assert [[row[key] for key in kept] for row in found] == [[row[key] for key in kept] for row in expected]
    assert any(0 < row["j"] < 1 for row in found)
