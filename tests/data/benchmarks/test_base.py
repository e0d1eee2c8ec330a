"""The common records of benchmarks, and their samples."""

import pytest

import layouts
from thinkseg.data import open_benchmark
from thinkseg.data.benchmarks.base import Expression, Video
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues


def test_expression_key_has_video_and_id():
    assert Expression("a/b", "3", "x", "", None, (), ()).key == "a/b/3"


def test_sample_has_ground_truth_and_foreground(tmp_path):
    layouts.revos(tmp_path)
    benchmark = open_benchmark("revos", tmp_path)
    expression = benchmark.expressions[1]
    sample = benchmark.sample(expression)
    assert (sample.id, sample.query, sample.category) == ("lvos/clip/1", "those that leave", "reasoning")
    assert (sample.video.size_wh, len(sample.video), sample.video.fps) == (layouts.SIZE_WH, 3, None)
    assert (sample.truth.size_wh, sample.truth.num_frames, sample.truth.num_objects) == (layouts.SIZE_WH, 3, 2)
    assert (sample.foreground.num_frames, sample.foreground.num_objects) == (3, 1)


def test_benchmark_frames_truth_and_foreground(tmp_path):
    layouts.revos(tmp_path)
    benchmark = open_benchmark("revos", tmp_path)
    assert len(benchmark.frames("solo")) == 2
    truth = benchmark.truth(benchmark.expressions[3], layouts.SIZE_WH)
    assert truth.area(0) == 5
    assert benchmark.foreground("solo", layouts.SIZE_WH).area(1) == 5
    with pytest.raises(KeyError):
        benchmark.frames("elsewhere")


def test_samples_error_goes_to_issues(tmp_path):
    layouts.revos(tmp_path)
    with layouts.editing(tmp_path / "mask_dict.json") as masks:
        del masks["1"]
    issues = DatasetIssues(keep_going=True)
    benchmark = open_benchmark("revos", tmp_path, issues=issues)
    assert [sample.id for sample in benchmark.samples()] == ["lvos/clip/0", "lvos/clip/2", "solo/0"]
    assert issues.counts == {"unknown_id": 1}
    with pytest.raises(DatasetFileError, match="no annotation 1"):
        list(open_benchmark("revos", tmp_path).samples())


def test_samples_error_of_caller_propagates(tmp_path):
    layouts.revos(tmp_path)
    issues = DatasetIssues(keep_going=True)
    samples = open_benchmark("revos", tmp_path, issues=issues).samples()

    def score(sample):
        raise DatasetFileError("missing_mask", f"elsewhere with {sample.id}")

    with pytest.raises(DatasetFileError, match="elsewhere with lvos/clip/0"):
        list(map(score, samples))
    assert issues.total == 0


def test_frames_without_stated_size_use_image_size(tmp_path):
    layouts.mevis(tmp_path)
    benchmark = open_benchmark("mevis", tmp_path)
    assert benchmark.videos == {"0ab4": Video("0ab4", layouts.FRAMES)}
    assert benchmark.frames("0ab4").size_wh == layouts.SIZE_WH
