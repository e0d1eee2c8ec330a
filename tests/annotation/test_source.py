"""Questions of the shapes world and of benchmarks."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from thinkseg.annotation.source import AnnotationSource
from thinkseg.data import open_benchmark
from thinkseg.data.shapes import load
from thinkseg.data.shapes.writer import write_dataset
from thinkseg.errors import SettingsError


def test_source_of_shapes_lists_first_questions():
    source = AnnotationSource(open_benchmark("shapes", split="val", start=5, limit=3))
    assert [one.id for one in source.candidates] == ["val-000005/0", "val-000006/0", "val-000007/0"]
    for index, candidate in enumerate(source.candidates, start=5):
        sample, annotated = source.sample(candidate.id)
        expected = load("val", index)
        assert (sample.query, candidate.video) == (expected.query, expected.id)
        assert (candidate.targets == "none") == (expected.truth.num_objects == 0)
        assert (candidate.type == "referring") == (expected.category in ("referring", "none"))
        assert list(annotated) == list(range(len(expected.video)))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Three clips in the layout of ReVOS, with three questions each."""
    root = tmp_path_factory.mktemp("tree")
    write_dataset(root, "val", range(3), (32, 24), num_questions=3)
    return root


def test_source_lists_expressions(tree):
    opened = open_benchmark("revos", tree)
    source = AnnotationSource(opened)
    assert [one.id for one in source.candidates] == [one.key for one in opened.expressions]
    for candidate, expression in zip(source.candidates, opened.expressions, strict=True):
        sample, annotated = source.sample(candidate.id)
        assert (sample.query, candidate.video) == (expression.query, expression.video)
        assert sample.truth.num_objects == len(expression.objects)
        assert candidate.targets == {0: "none", 1: "single"}.get(len(expression.objects), "multiple")
        assert (candidate.type == "reasoning") == (expression.category == "reasoning")
        assert list(annotated) == list(range(len(sample.video)))
        assert sample.video.time_of(1) == 1 / 12  # written beside the frames
        assert next(sample.video.read([0])).shape == (24, 32, 3)
    assert len({one.stratum for one in source.candidates}) > 2
    assert source.settings == {"data": "revos", "split": "valid", "fps": None}


def test_source_fps_gives_times(tree):
    source = AnnotationSource(open_benchmark("revos", tree, fps=4.0))
    assert source.sample(source.candidates[0].id)[0].video.time_of(1) == 0.25
    assert source.settings["fps"] == 4.0


def test_source_unknown_targets_are_left_out(tmp_path):
    for folder, names in (("clip", "012"), ("dog", "02")):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("RGB", (6, 4), (255,) * 3).save(tmp_path / folder / f"{name}.png")
    rows = [{"video": "clip", "query": "the dog", "masks": ["dog"]}, {"video": "clip", "query": "who knows"}]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    opened = open_benchmark("folder", tmp_path)
    (candidate,) = AnnotationSource(opened).candidates
    assert list(AnnotationSource(opened).sample(candidate.id)[1]) == [0, 2]
    untold = tuple(replace(one, objects=None) for one in opened.expressions)
    with pytest.raises(SettingsError, match="targets are not public"):
        AnnotationSource(replace(opened, expressions=untold))
    with pytest.raises(SettingsError, match="no expression can be read"):
        AnnotationSource(replace(opened, expressions=()))
