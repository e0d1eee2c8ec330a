import json
import re
from pathlib import Path

import numpy as np
import pytest

from thinkseg import cli
from thinkseg.errors import SettingsError
from thinkseg.train.curves import read_curves, smooth, write_curves


def run(folder: Path, *records: dict, tail: str = "") -> Path:
    folder.mkdir()
    (folder / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + tail)
    return folder


def test_stages_follow_each_other(tmp_path: Path) -> None:
    records = [{"stage": "see", "step": step, "seconds": 1.0, "loss": 1.0 / step} for step in (10, 20)]
    records += [
        {"stage": "name", "step": 5, "loss": 3.0, "kl": 0.1},
        {"stage": "name", "step": 5, "train_loss": 2.0, "epoch": 1.0},
    ]
    curves = read_curves(run(tmp_path / "a", *records, tail='{"stage": "name", "st'))
    assert curves.starts == {"see": 0, "name": 20}
    assert curves.figures.keys() == {"loss", "kl"}
    np.testing.assert_allclose(curves.figures["loss"], [[10, 0.1], [20, 0.05], [25, 3.0]])


def test_what_is_not_a_number_is_left_out(tmp_path: Path) -> None:
    records = [{"stage": "grpo", "step": 1, "loss": float("nan"), "seconds/rollout": 2.0, "note": "x"}]
    assert read_curves(run(tmp_path / "a", *records)).figures.keys() == {"seconds/rollout"}


def test_smoothing_by_hand() -> None:
    """Short logs are left as they are; of 20 points the mean halves what is past at each."""
    np.testing.assert_array_equal(smooth(np.array([3.0, 1.0, 2.0])), [3, 1, 2])
    values = np.zeros(20)
    values[:2] = 3, 6
    np.testing.assert_allclose(smooth(values)[:3], [3, (1.5 + 6) / 1.5, (0.75 + 3) / 1.75])


def test_a_page_has_a_panel_for_each_figure_and_a_line_for_each_run(tmp_path: Path) -> None:
    first = run(tmp_path / "first", *({"stage": "grpo", "step": s, "reward": s, "kl": 0.5} for s in range(1, 4)))
    second = run(tmp_path / "second", *({"stage": "grpo", "step": s, "reward": 2 * s} for s in range(1, 4)))
    page = write_curves([first, second], tmp_path / "pages" / "curves.html").read_text()
    assert re.findall("<h3>(.*?)</h3>", page) == ["reward", "kl"]
    assert page.count("<polyline") == 2 * 2 + 2
    assert "first" in page
    assert "second" in page
    # The first run's mean goes from the lower left corner to half the height of the panel.
    raw, mean = re.findall('points="(.*?)"', page)[:2]
    assert raw == mean == "6.0,144.0 160.0,116.4 314.0,88.8"
    # A figure that never changes is a line across the middle.
    assert re.findall('points="(.*?)"', page)[-1] == "6.0,75.0 160.0,75.0 314.0,75.0"
    assert "nan" not in page


def test_the_mean_begins_anew_with_each_stage(tmp_path: Path) -> None:
    records = [{"stage": "see", "step": step, "loss": 9.0} for step in range(1, 41)]
    records += [{"stage": "name", "step": step, "loss": 1.0} for step in range(1, 41)]
    page = write_curves([run(tmp_path / "a", *records)], tmp_path / "curves.html").read_text()
    raw, mean = re.findall('points="(.*?)"', page)
    assert raw == mean
    assert page.count("<line") == 1


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b'{"stage": "see", "step": 1}\n'])
def test_a_run_without_figures_is_told(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "a").mkdir()
    if content is not None:
        (tmp_path / "a" / "log.jsonl").write_bytes(content)
    with pytest.raises(SettingsError, match=r"log\.jsonl"):
        write_curves([tmp_path / "a"], tmp_path / "curves.html")
    assert not (tmp_path / "curves.html").exists()


def test_the_command_writes_beside_the_first_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = run(tmp_path / "a", {"stage": "grpo", "step": 1, "reward": 1.0})
    assert cli.main(["train", "curves", str(folder)]) == 0
    assert capsys.readouterr().out == f"open {folder / 'curves.html'}\n"
    assert cli.main(["train", "curves", str(tmp_path / "nowhere")]) == 2
