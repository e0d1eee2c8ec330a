"""ViCaS: a track per object of a prompt, scored on annotated frames."""

import pickle

import pytest

import layouts
from layouts import LEFT, LOW, RIGHT, editing
from thinkseg.data import open_benchmark
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues


def annotation(root):
    return editing(root / "annotations" / "v1.0" / "000042.json")


def test_vicas_prompts_are_expressions(root):
    both, sofa = open_benchmark("vicas", root).expressions
    assert (both.key, sofa.key) == ("000042/0", "000042/1")
    assert (both.query, both.objects) == ("both boys", ("1", "2"))
    assert (sofa.query, sofa.objects) == ("the sofa", ("1",))
    assert both.folders == ("000042/0",)


def test_vicas_only_annotated_frames_are_scored(root):
    assert [one.scored for one in open_benchmark("vicas", root).expressions] == [(0, 2), (0, 2)]


def test_vicas_objects_are_tracks_in_prompt_order(root):
    benchmark = open_benchmark("vicas", root)
    truth = benchmark.sample(benchmark.expressions[0]).truth
    assert [truth.mask(2, obj).tolist() for obj in (0, 1)] == [RIGHT.tolist(), LOW.tolist()]
    assert truth.mask(0, 0).tolist() == LEFT.tolist()
    assert truth.rles[1][0] is None


def test_vicas_propagated_masks_are_read(root):
    benchmark = open_benchmark("vicas", root)
    assert benchmark.sample(benchmark.expressions[1]).truth.mask(1, 0).tolist() == RIGHT.tolist()


def test_vicas_prompt_without_tracks_is_no_target(root):
    with annotation(root) as video:
        video["object_referrals"][1]["track_ids"] = []
    benchmark = open_benchmark("vicas", root)
    assert benchmark.expressions[1].category == "no-target"
    assert benchmark.sample(benchmark.expressions[1]).truth.num_objects == 0


def test_vicas_first_version_opens(tmp_path):
    layouts.vicas(tmp_path, "v0.1")
    assert len(open_benchmark("vicas", tmp_path, "v0.1-val").expressions) == 2
    with pytest.raises(DatasetFileError, match=r"v1\.0/val\.json: cannot be read"):
        open_benchmark("vicas", tmp_path)


def test_vicas_annotation_file_with_title_opens(root):
    path = root / "annotations" / "v1.0" / "000042.json"
    path.rename(path.with_name("000042_boys.json"))
    assert len(open_benchmark("vicas", root).expressions) == 2


def test_vicas_pickle_drops_cached_annotation(root):
    benchmark = open_benchmark("vicas", root)
    again = pickle.loads(pickle.dumps(benchmark))
    assert again.files._latest is None
    sample = pickle.loads(pickle.dumps(again.sample(again.expressions[0])))
    assert sample.truth.area(2) == 9


@pytest.mark.parametrize(
    ("change", "kind", "complaint"),
    [
        (lambda video: video["all_track_ids"].remove(2), "unknown_id", "track_ids names track 2, which all_track_ids"),
        (
            lambda video: video["segmentations"][0].update(filename="9.jpg"),
            "missing_frame",
            "names '9.jpg', which is not a frame",
        ),
        (
            lambda video: video["segmentations"][0].update(filename=".."),
            "missing_frame",
            "names '..', which is not a frame",
        ),
        (lambda video: video.update(image_size=[4]), "invalid_field", r"must be \[height, width\]"),
        (
            lambda video: video["object_referrals"][0].update(prompt=""),
            "invalid_field",
            "object_referrals > 0 > prompt must be",
        ),
    ],
)
def test_vicas_invalid_annotation_raises_with_file_and_field(root, change, kind, complaint):
    with annotation(root) as video:
        change(video)
    with pytest.raises(DatasetFileError, match=complaint) as caught:
        open_benchmark("vicas", root)
    assert caught.value.kind == kind
    assert "000042.json: " in str(caught.value)
    issues = DatasetIssues(keep_going=True)
    open_benchmark("vicas", root, issues=issues)
    assert issues.counts == {kind: 1}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda frame: frame["mask_rles"].pop(), "segmentations > 0 has 1 masks for 2 tracks"),
        (lambda frame: frame["mask_rles"][0].update(counts="o"), "mask_rles > 0 is not a valid RLE"),
        (lambda frame: frame["mask_rles"][0].update(size=[5, 4]), "mask_rles > 0 is a mask of 4x5, its video 5x4"),
    ],
)
def test_vicas_invalid_mask_raises_on_access(root, change, complaint):
    with annotation(root) as video:
        change(video["segmentations"][0])
    benchmark = open_benchmark("vicas", root)
    with pytest.raises(DatasetFileError, match=complaint):
        benchmark.sample(benchmark.expressions[0]).truth.union(2)


def test_vicas_unknown_track_raises(root):
    benchmark = open_benchmark("vicas", root)
    with pytest.raises(DatasetFileError, match=r"000042\.json has no track 3"):
        benchmark.files.track(benchmark.videos["000042"], "3", layouts.SIZE_WH)


def test_vicas_missing_frames_raise(root):
    (root / "video_frames" / "000042").rename(root / "elsewhere")
    with pytest.raises(DatasetFileError, match=r"000042: no such folder of frames"):
        open_benchmark("vicas", root)


def test_vicas_size_mismatch_raises(root):
    with annotation(root) as video:
        video["image_size"] = [5, 4]
    benchmark = open_benchmark("vicas", root)
    with pytest.raises(DatasetFileError, match="video 000042: frames are 5x4, its entry states 4x5"):
        benchmark.sample(benchmark.expressions[0])
