"""Counts of a benchmark, and its issues."""

import pytest

import layouts
from layouts import editing
from thinkseg.data import open_benchmark
from thinkseg.data.check import DatasetStats, check, count_dataset
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues

COMPLETE = {
    "revos": (layouts.revos, "valid"),
    "mevis": (layouts.mevis, "valid_u"),
    "reasonvos": (layouts.reasonvos, "test"),
    "vicas": (layouts.vicas, "val"),
    "refytvos": (layouts.refytvos, "train"),
    "refdavis": (layouts.refdavis, "valid"),
    "lvvis": (layouts.lvvis, "val"),
    "folder": (layouts.folder, "all"),
}


def found(name, root, split=None):
    """Issues of a tree."""
    issues = DatasetIssues(keep_going=True)
    check(open_benchmark(name, root, split, issues))
    return issues


@pytest.mark.parametrize("name", COMPLETE)
def test_check_complete_tree_has_no_issues(tmp_path, name):
    write, split = COMPLETE[name]
    write(tmp_path)
    assert found(name, tmp_path, split).examples == {}


def test_check_published_refdavis_has_no_issues(tmp_path):
    layouts.refdavis_published(tmp_path)
    assert found("refdavis", tmp_path).examples == {}


@pytest.mark.parametrize("name", COMPLETE)
def test_check_missing_frame_is_found(tmp_path, name):
    write, split = COMPLETE[name]
    write(tmp_path)
    benchmark = open_benchmark(name, tmp_path, split)
    video = next(iter(benchmark.videos.values()))
    benchmark.files.frame_paths(video)[1].unlink()
    issues = found(name, tmp_path, split)
    assert issues.counts["missing_frame"] + issues.counts["missing_mask"] >= 1


def test_count_dataset_manual_tree(tmp_path):
    layouts.revos(tmp_path)
    assert count_dataset(open_benchmark("revos", tmp_path)) == DatasetStats(
        videos=2,
        frames=5,
        scored=5,
        expressions={"no-target": 1, "reasoning": 1, "referring": 2},
        targets={"single": 2, "multiple": 1, "none": 1},
    )
    layouts.mevis(tmp_path)
    assert count_dataset(open_benchmark("mevis", tmp_path, "valid")).targets == {"unknown": 1}


def test_count_dataset_counts_scored_frames_per_video(tmp_path):
    layouts.reasonvos(tmp_path)
    counts = count_dataset(open_benchmark("reasonvos", tmp_path))
    assert (counts.frames, counts.scored) == (3, 3)
    layouts.vicas(tmp_path)
    counts = count_dataset(open_benchmark("vicas", tmp_path))
    assert (counts.frames, counts.scored) == (3, 2)


def test_check_all_issues_are_found(tmp_path):
    layouts.revos(tmp_path)
    pictures = tmp_path / "JPEGImages" / "lvos" / "clip"
    (pictures / "00001.jpg").unlink()
    layouts.write_frames(tmp_path / "other", ["00002"], (7, 7))
    (tmp_path / "other" / "00002.jpg").rename(pictures / "00002.jpg")
    (tmp_path / "JPEGImages" / "solo" / "00001.jpg").write_text("not a picture")
    with editing(tmp_path / "mask_dict.json") as masks:
        masks["0"][1]["counts"] = "o"
        masks["1"][0]["size"] = [5, 4]
        del masks["2"]
    with editing(tmp_path / "mask_dict_foreground.json") as foreground:
        foreground["solo"]["masks_rle"].pop()
    issues = found("revos", tmp_path)
    assert issues.counts == {
        "missing_frame": 2,
        "size_mismatch": 2,
        "invalid_rle": 1,
        "unknown_id": 1,
        "missing_mask": 1,
    }
    assert any("00001.jpg: no such frame" in example for example in issues.examples["missing_frame"])
    assert any("00002.jpg: frame is 7x7, its video 5x4" in example for example in issues.examples["size_mismatch"])


def test_check_shared_mask_is_one_issue(tmp_path):
    layouts.revos(tmp_path)
    with editing(tmp_path / "mask_dict.json") as masks:
        masks["0"][0]["counts"] = ""
    assert found("revos", tmp_path).counts == {"invalid_rle": 1}


def test_check_missing_video_folder_is_one_issue(tmp_path):
    layouts.revos(tmp_path)
    (tmp_path / "JPEGImages" / "lvos" / "clip").rename(tmp_path / "elsewhere")
    assert found("revos", tmp_path).counts == {"missing_frame": 1}


def test_check_label_maps_are_checked(tmp_path):
    layouts.refdavis(tmp_path)
    annotations = tmp_path / "valid" / "Annotations" / "dogs"
    (annotations / "00000.png").unlink()
    layouts.write_labels(annotations / "00001.png", layouts.LABELS[:3])
    assert found("refdavis", tmp_path).counts == {"missing_mask": 2, "size_mismatch": 2}


def test_check_default_raises_first_issue(tmp_path):
    layouts.revos(tmp_path)
    with editing(tmp_path / "mask_dict.json") as masks:
        del masks["2"]
    with pytest.raises(DatasetFileError, match="no annotation 2"):
        check(open_benchmark("revos", tmp_path))


def test_check_reports_progress_per_video(tmp_path):
    layouts.revos(tmp_path)
    steps = []
    check(open_benchmark("revos", tmp_path), lambda done, total: steps.append((done, total)))
    assert steps == [(1, 2), (2, 2)]
