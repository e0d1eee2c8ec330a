"""The shapes world as a benchmark."""

import pickle

import numpy as np
import pytest

from thinkseg.data import open_benchmark
from thinkseg.data.shapes import CATEGORIES, load
from thinkseg.errors import DatasetError


def test_samples_equal_those_of_load():
    benchmark = open_benchmark("shapes", split="zeroshot", start=3, limit=12)
    assert [expression.key for expression in benchmark.expressions] == [f"zeroshot-{n:06d}/0" for n in range(3, 15)]
    for index, sample in enumerate(benchmark.samples(), start=3):
        expected = load("zeroshot", index)
        assert (sample.query, sample.category) == (expected.query, expected.category)
        assert [list(track) for track in sample.truth.rles] == [list(track) for track in expected.truth.rles]
        np.testing.assert_array_equal(sample.video[7], expected.video[7])
        assert (sample.video.fps, sample.video.time_of(5)) == (expected.video.fps, expected.video.time_of(5))


def test_expressions_cover_all_frames():
    benchmark = open_benchmark("shapes", limit=14)
    assert (benchmark.root, benchmark.split) == (None, "val")
    for expression in benchmark.expressions:
        assert len(expression.scored) == len(benchmark.videos[expression.video].frames)
        assert (expression.category == "none") == (expression.objects == ())


def test_category_weights_change_samples_and_settings():
    only_cause = dict.fromkeys(CATEGORIES, 0) | {"cause": 1}
    benchmark = open_benchmark("shapes", limit=3, category_weights=only_cause)
    assert {expression.category for expression in benchmark.expressions} == {"cause"}
    assert benchmark.settings == {"category_weights": only_cause}
    assert open_benchmark("shapes", limit=1).settings == {"category_weights": {}}


def test_benchmark_pickled_gives_equal_masks():
    benchmark = open_benchmark("shapes", limit=1)
    copy = pickle.loads(pickle.dumps(benchmark))
    masks = [list(one.sample(one.expressions[0]).truth.rles[0]) for one in (benchmark, copy)]
    assert masks[0] == masks[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "unknown split 'test'; must be one of val, train, zeroshot"),
        ({"start": -1}, "invalid index -1"),
        ({"category_weights": {"color": 1}}, "unknown category 'color'; must be one of referring"),
    ],
)
def test_load_invalid_options_raises(options, message):
    with pytest.raises(DatasetError, match=message):
        open_benchmark("shapes", **options)


def test_open_benchmark_files_without_root_raises():
    with pytest.raises(DatasetError, match="ReVOS: needs the folder of its files; pass root"):
        open_benchmark("revos")
