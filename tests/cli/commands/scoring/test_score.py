"""`thinkseg evaluate NAME`, `score`, `validate`, `submit` and `compare`, from end to end on small trees."""

import json

import pytest

import layouts
from thinkseg.cli import app
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.types import View

LEFT = '<think>there</think><answer>{"keyframe_timestamp": 0, "bbox_2d_list": [[0, 0, 4, 4]]}</answer>'
NONE = '<think>none</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'


@pytest.fixture
def root(tmp_path):
    layouts.revos(tmp_path / "revos")
    return tmp_path / "revos"


@pytest.fixture
def evaluated(root, tmp_path, monkeypatch, box_tracker):
    """Evaluates on ReVOS into a folder with scripted replies: evaluated(name, replies, *options) -> status."""
    monkeypatch.setattr("thinkseg.models.load_tracker", lambda name, **settings: box_tracker)

    def evaluated(name, replies, *options):
        policy = ScriptedPolicy(replies, view=View(num_frames=3, frame_wh=(10, 8)))
        monkeypatch.setattr("thinkseg.models.load_policy", lambda name, **settings: policy)
        return app.main(
            ["evaluate", "revos", "--root", str(root), "--fps", "1", "--out", str(tmp_path / name), *options]
        )

    return evaluated


def one_line(capsys):
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    return line


def of_masks(metrics):
    """The metrics that do not need replies."""
    return {name: value for name, value in metrics.items() if name not in ("R_k", "R_s", "parse rate")}


def test_evaluate_and_score_of_its_masks_agree(evaluated, root, tmp_path, capsys):
    assert evaluated("run", [LEFT, LEFT, NONE, "junk"], "--png") == 0
    table = capsys.readouterr().out
    assert "          1  the reply is not <think>...</think><answer>...</answer>, with each tag once" in table
    assert f"wrote {tmp_path / 'run' / 'scores.json'}" in table
    expected = json.loads((tmp_path / "run" / "scores.json").read_text())
    for place in ("run", "run/pictures"):
        out, table = tmp_path / "scored", tmp_path / "scored.csv"
        command = ["score", "revos", "--root", str(root), "--predictions", str(tmp_path / place), "--workers", "1"]
        assert app.main([*command, "--out", str(out), "--csv", str(table)]) == 0
        found = json.loads((out / "scores.json").read_text())
        assert found["failures"] == {"missing": 1}
        assert found["metrics"] == {group: of_masks(metrics) for group, metrics in expected["metrics"].items()}
        assert (found["protocol"], found["expressions"]) == (expected["protocol"], expected["expressions"])
        assert len(table.read_text().splitlines()) == 5
        assert app.main(["compare", str(tmp_path / "run"), str(out)]) == 0
        assert "J&F differs in 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "reason"), [("none/a.csv", "No such file"), ("out/a.csv", "replace"), (".", "is a folder")]
)
def test_score_unusable_table_is_refused_before_the_work(root, tmp_path, capsys, monkeypatch, table, reason):
    monkeypatch.setattr("thinkseg.evaluation.offline.score", lambda *_: pytest.fail("scored"))
    (tmp_path / "out").mkdir()
    command = ["score", "revos", "--root", str(root), "--predictions", str(root), "--out", str(tmp_path / "out")]
    assert app.main([*command, "--csv", str(tmp_path / table)]) == 2
    assert reason in one_line(capsys)
    assert list((tmp_path / "out").iterdir()) == []


def test_score_without_any_masks_exits_2(root, tmp_path, capsys):
    command = ["score", "revos", "--root", str(root), "--workers", "1", "--predictions"]
    assert app.main([*command, str(root), "--out", str(tmp_path / "out")]) == 2
    assert "check that there is a folder" in one_line(capsys)
    assert app.main([*command, str(tmp_path / "none")]) == 2
    assert "no such folder" in one_line(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["revos"]


def test_validate_prints_100(root, capsys):
    command = ["validate", "revos", "--root", str(root), "--workers", "1"]
    assert app.main(command) == 0
    assert "J and F are 100 for 4 of 4 expressions" in capsys.readouterr().out


def test_validate_invalid_truth_exits_2_or_skips(root, capsys):
    with layouts.editing(root / "mask_dict.json") as masks:
        masks["2"][1]["counts"] = "?"
    command = ["validate", "revos", "--root", str(root), "--workers", "1"]
    assert app.main(command) == 2
    assert "mask_dict.json: 2: 1" in one_line(capsys)
    assert app.main([*command, "--keep-going"]) == 0
    printed = capsys.readouterr()
    assert "J and F are 100 for 3 of 3" in printed.out
    assert "1 with issues" in printed.out
    assert "invalid_rle (1)" in printed.err


def test_validate_imperfect_truth_is_listed(root, capsys, monkeypatch):
    monkeypatch.setattr("thinkseg.evaluation.validation.TruthAsPng.of", lambda self, expression, video, size_wh: None)
    assert app.main(["validate", "revos", "--root", str(root), "--workers", "1"]) == 2
    printed = capsys.readouterr()
    assert "solo/0: J 0.00, F 0.00: the floor" in printed.out
    assert "does not score 100 everywhere" in printed.err


def test_score_vicas_with_and_without_quirks(tmp_path, capsys):
    layouts.vicas(tmp_path / "vicas")
    for prompt in "01":
        for name in ("00000", "00002"):
            layouts.write_mask(tmp_path / "masks" / "000042" / prompt / f"{name}.png", layouts.LEFT)
    command = ["score", "vicas", "--root", str(tmp_path / "vicas"), "--predictions", str(tmp_path / "masks")]
    for options, words in (([], "quirks included"), (["--corrected"], "corrected: best matches")):
        assert app.main([*command, "--workers", "1", "--out", str(tmp_path / "out"), *options]) == 0
        printed = capsys.readouterr().out
        assert "mAP" in printed
        assert words in printed
    assert app.main(["compare", str(tmp_path / "out"), str(tmp_path / "out"), "--corrected"]) == 0
    assert "corrected: best matches" in capsys.readouterr().out
    assert app.main(["score", "revos", "--root", ".", "--predictions", ".", "--corrected"]) == 2


def test_submit(tmp_path, capsys):
    layouts.mevis(tmp_path / "mevis")
    for name in layouts.FRAMES:
        layouts.write_mask(tmp_path / "masks" / "0ab4" / "0" / f"{name}.png", layouts.LEFT)
    command = ["submit", "mevis", "--root", str(tmp_path / "mevis"), "--split", "valid"]
    assert app.main([*command, "--predictions", str(tmp_path / "masks"), "--out", str(tmp_path / "out.zip")]) == 0
    assert f"wrote {tmp_path / 'out.zip'}" in capsys.readouterr().out
    assert app.main([*command, "--predictions", str(tmp_path), "--out", str(tmp_path / "other.zip")]) == 2
    assert "have no masks" in one_line(capsys)


def test_compare_without_results_exits_2(tmp_path, capsys):
    assert app.main(["compare", str(tmp_path), str(tmp_path)]) == 2
    assert "has no results" in one_line(capsys)
