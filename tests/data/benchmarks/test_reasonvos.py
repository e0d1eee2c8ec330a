"""ReasonVOS: lists of expressions, masks of some frames, and the published variants."""

import pytest

import layouts
from layouts import LEFT, LOW, RIGHT, editing, write_mask
from thinkseg.data import open_benchmark
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues


def rows(root):
    return editing(root / "meta_expressions.json")


def test_reasonvos_expressions_from_list(root):
    benchmark = open_benchmark("reasonvos", root)
    assert [one.key for one in benchmark.expressions] == ["race/0", "race/1"]
    assert [one.category for one in benchmark.expressions] == ["sentence", "phrase"]
    assert [one.query for one in benchmark.expressions] == ["Which one falls behind?", "winner"]


def test_reasonvos_only_annotated_frames_are_scored(root):
    benchmark = open_benchmark("reasonvos", root)
    assert [one.scored for one in benchmark.expressions] == [(0, 2), (1,)]
    first, second = map(benchmark.sample, benchmark.expressions)
    assert [first.truth.union(frame).tolist() for frame in (0, 2)] == [LEFT.tolist(), RIGHT.tolist()]
    assert first.truth.rles[0][1] is None
    assert second.truth.union(1).tolist() == LOW.tolist()


def test_reasonvos_source_case_is_ignored(root):
    benchmark = open_benchmark("reasonvos", root)
    assert [one.objects for one in benchmark.expressions] == [("burst_race_3",), ("BURST_race_4",)]
    with rows(root) as meta:
        meta["videos"]["race"]["source"] = "Burst"
    assert [one.objects for one in open_benchmark("reasonvos", root).expressions] == [
        ("burst_race_3",),
        ("BURST_race_4",),
    ]


def test_reasonvos_exact_case_comes_first(root):
    write_mask(root / "Annotations" / "BURST_race_3" / "00001.png", LOW)
    assert open_benchmark("reasonvos", root).expressions[0].objects == ("BURST_race_3",)


def test_reasonvos_video_case_matters(root):
    write_mask(root / "Annotations" / "burst_Race_5" / "00001.png", LOW)
    with rows(root) as meta:
        meta["videos"]["race"]["expressions"][0]["obj_id"] = 5
    with pytest.raises(DatasetFileError, match=r"BURST_race_5: no such folder") as caught:
        open_benchmark("reasonvos", root)
    assert caught.value.kind == "missing_mask"


def test_reasonvos_prediction_folders(root):
    first = open_benchmark("reasonvos", root).expressions[0]
    assert first.folders == ("BURST_race_3/0", "race/0", "race/3")


def test_reasonvos_repeated_id_renumbers_earlier_expression(root):
    with rows(root) as meta:
        listed = meta["videos"]["race"]["expressions"]
        listed += [{**listed[1], "exp_id": 0, "exp_text": "third"}, {**listed[1], "exp_id": 2, "exp_text": "fourth"}]
    found = {one.id: one for one in open_benchmark("reasonvos", root).expressions}
    assert {name: one.query for name, one in found.items()} == {
        "1": "winner",
        "0": "third",
        "2": "fourth",
        "3": "Which one falls behind?",
    }
    assert found["3"].folders[:2] == ("BURST_race_3/0", "race/3")


def test_reasonvos_shared_folder_becomes_second(root):
    with rows(root) as meta:
        listed = meta["videos"]["race"]["expressions"]
        listed += [{**listed[0], "exp_text": "second"}, {**listed[0], "exp_text": "third"}]
    issues = DatasetIssues()
    found = {one.query: one for one in open_benchmark("reasonvos", root, issues=issues).expressions}
    assert found["third"].folders[0] == "BURST_race_3/0"
    # Predictions of the official scripts are still found, and never overwritten.
    assert found["second"].folders[:2] == ("BURST_race_3/3", "BURST_race_3/0")
    assert found["Which one falls behind?"].folders[:2] == ("BURST_race_3/2", "BURST_race_3/0")
    assert len({one.folders[0] for one in found.values()}) == len(found) == 4
    assert issues.counts == {"invalid_field": 2}


def test_reasonvos_expressions_from_object(root):
    with rows(root) as meta:
        entry = meta["videos"]["race"]
        entry["expressions"] = {
            str(row.pop("exp_id")): {key: row[key] for key in ("obj_id", "exp_text")} for row in entry["expressions"]
        }
        entry["is_sent"] = True
    benchmark = open_benchmark("reasonvos", root)
    assert [(one.key, one.category) for one in benchmark.expressions] == [
        ("race/0", "sentence"),
        ("race/1", "sentence"),
    ]
    assert benchmark.expressions[0].folders == ("BURST_race_3/0", "race/0", "race/3")


def test_reasonvos_video_has_all_frames_of_folder(root):
    layouts.write_frames(root / "JPEGImages" / "race", ["00003"])
    (root / "JPEGImages" / "race" / "notes.txt").write_text("no frame")
    issues = DatasetIssues()
    benchmark = open_benchmark("reasonvos", root, issues=issues)
    assert benchmark.videos["race"].frames == (*layouts.FRAMES, "00003")
    assert issues.total == 0


def test_reasonvos_missing_listed_frames_are_noted(root):
    with rows(root) as meta:
        meta["videos"]["race"]["frames"] += ["00008", "00009"]
    issues = DatasetIssues()
    assert len(open_benchmark("reasonvos", root, issues=issues).expressions) == 2
    assert issues.examples == {"missing_frame": ["video race: 2 listed frames are missing, first 00008"]}


def test_reasonvos_mask_without_frame_raises(root):
    write_mask(root / "Annotations" / "burst_race_3" / "00009.png", LOW)
    with pytest.raises(DatasetFileError, match=r"burst_race_3/00009\.png: no such frame in video race"):
        open_benchmark("reasonvos", root)
    issues = DatasetIssues(keep_going=True)
    assert [one.id for one in open_benchmark("reasonvos", root, issues=issues).expressions] == ["1"]


def test_reasonvos_empty_or_missing_folder_raises(root):
    (root / "Annotations" / "BURST_race_4" / "00001.png").unlink()
    with pytest.raises(DatasetFileError, match=r"BURST_race_4: no \.png file"):
        open_benchmark("reasonvos", root)
    for name in layouts.FRAMES:
        (root / "JPEGImages" / "race" / f"{name}.jpg").unlink()
    with pytest.raises(DatasetFileError, match=r"race: no \.jpg file"):
        open_benchmark("reasonvos", root)
    (root / "JPEGImages" / "race").rmdir()
    with pytest.raises(DatasetFileError, match=r"race: no such folder of frames"):
        open_benchmark("reasonvos", root)


@pytest.mark.parametrize(("field", "value"), [("obj_id", "../../3"), ("exp_id", "a/b"), ("exp_id", "..")])
def test_reasonvos_unsafe_name_raises(root, field, value):
    with rows(root) as meta:
        meta["videos"]["race"]["expressions"][0][field] = value
    with pytest.raises(DatasetFileError, match="could lead out of the data set's folder"):
        open_benchmark("reasonvos", root)
    issues = DatasetIssues(keep_going=True)
    assert [one.id for one in open_benchmark("reasonvos", root, issues=issues).expressions] == ["1"]
    assert issues.counts == {"unsafe_path": 1}
