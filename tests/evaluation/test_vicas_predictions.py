"""ViCaS' own files of predictions, scored, whole and broken."""

import pickle

import pytest

import layouts
from layouts import LEFT, LOW, RIGHT, editing, rle, write_json
from thinkseg.data import open_benchmark
from thinkseg.evaluation.offline import score
from thinkseg.evaluation.predictions import PredictionError, VicasPredictions, open_predictions
from thinkseg.evaluation.scores import aggregate


def frame(name, *masks):
    return {"filename": f"{name}.jpg", "mask_rles": [rle(picture) for picture in masks]}


@pytest.fixture
def benchmark(tmp_path):
    layouts.vicas(tmp_path / "tree")
    return open_benchmark("vicas", tmp_path / "tree")


@pytest.fixture
def path(tmp_path):
    """Both tracks of the first prompt right, the other way round; of the second, which has one, that and another."""
    both = [frame("00000", layouts.NOTHING, LEFT), frame("00002", LOW, RIGHT), frame("99999", LOW)]
    one = [frame("00002", RIGHT, LOW), frame("00000", LEFT, LEFT), frame("00001", LOW, LOW)]
    value = {"video_id": 42, "pred_caption": "", "pred_lgvis_masks": [both, one]}
    write_json(tmp_path / "predictions" / "000042.json", value)
    return tmp_path / "predictions" / "000042.json"


def predicted(benchmark, path, prompt=0):
    expression = benchmark.expressions[prompt]
    return VicasPredictions(path.parent).of(expression, benchmark.videos[expression.video], layouts.SIZE_WH)


def test_vicas_predictions_are_found_by_position(benchmark, path):
    first, second = (predicted(benchmark, path, prompt) for prompt in (0, 1))
    assert (first.num_objects, second.num_objects) == (2, 2)
    assert first.mask(2, 0).tolist() == LOW.tolist()
    assert first.mask(0, 1).tolist() == LEFT.tolist()
    assert first.rles[0][1] is None
    assert second.mask(1, 0).tolist() == LOW.tolist()


def test_vicas_predictions_score_by_official_protocol(benchmark, path):
    predictions = open_predictions(path.parent, "vicas")
    rows = score(benchmark, pickle.loads(pickle.dumps(predictions)))
    assert rows[0]["ious"] == [[0, 1], [1, 0]]
    assert rows[1]["ious"] == [[1], [pytest.approx(4 / 13)]]
    scores = aggregate(benchmark, rows, corrected=True)
    # Three right tracks, then a wrong one.
    assert scores["metrics"]["LG-VIS"]["mAP"]["value"] == 100
    assert rows[0]["j"] == 1


def test_vicas_predictions_missing_prompt_returns_none(benchmark, path):
    with editing(path) as value:
        value["pred_lgvis_masks"].pop()
    assert predicted(benchmark, path, 1) is None
    path.rename(path.with_name("000043.json"))
    assert predicted(benchmark, path) is None


@pytest.mark.parametrize(
    ("change", "reason", "complaint"),
    [
        (lambda prompt: prompt.pop(0), "incomplete", r"has no frame 00000\.jpg, which is scored"),
        (lambda prompt: prompt[0]["mask_rles"].pop(), "unreadable", "has 1 masks in one frame and 2 in another"),
        (
            lambda prompt: prompt[0]["mask_rles"][0].update(size=[2, 10]),
            "size_mismatch",
            "is a mask of 10x2, its video 5x4",
        ),
        (lambda prompt: prompt[0]["mask_rles"][0].update(counts="?"), "unreadable", "is not a valid RLE"),
        (lambda prompt: prompt[0].pop("filename"), "unreadable", "has no field 'filename'"),
    ],
)
def test_vicas_predictions_invalid_prompt_raises(benchmark, path, change, reason, complaint):
    with editing(path) as value:
        change(value["pred_lgvis_masks"][0])
    with pytest.raises(PredictionError, match=complaint) as caught:
        predicted(benchmark, path)
    assert caught.value.reason == reason
    assert "000042.json" in str(caught.value)


def test_vicas_predictions_invalid_json_raises(benchmark, path):
    path.write_text("{")
    with pytest.raises(PredictionError, match=": not JSON"):
        predicted(benchmark, path)
