"""`thinkseg frame`: the picture it writes, and what it says to bad input."""

import numpy as np
import pytest
from PIL import Image

from thinkseg.cli import app
from thinkseg.ops.video import write_video


@pytest.fixture
def clip(tmp_path):
    write_video(tmp_path / "clip.mp4", [np.full((32, 48, 3), 20 * index, np.uint8) for index in range(10)], 10.0)
    return tmp_path / "clip.mp4"


def test_frame_is_written_with_its_index_time_and_size(clip, tmp_path, capsys):
    assert app.main(["frame", str(clip), "0.4s", "--out", str(tmp_path / "a.png")]) == 0
    assert capsys.readouterr().out == f"frame 4 (0.400 s) of 10, 48x32 pixels\nwrote {tmp_path / 'a.png'}\n"
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape == (32, 48, 3)
    assert abs(picture.astype(int) - 80).max() <= 2


def test_frame_grid_has_rulers_around_the_enlarged_picture(clip, tmp_path):
    assert app.main(["frame", str(clip), "4", "--grid", "--out", str(tmp_path / "a.png")]) == 0
    width, height = Image.open(tmp_path / "a.png").size
    assert width > 20 * 48
    assert height > 20 * 32


def test_frame_result_draws_its_objects(clip, tmp_path):
    run = ["segment", str(clip), "--box", "9,9,30,30@4", "--tracker", "flow", "--save", "masks"]
    assert app.main([*run, "--out", str(tmp_path / "out")]) == 0
    assert app.main(["frame", str(clip), "4", "--result", str(tmp_path / "out"), "--out", str(tmp_path / "a.png")]) == 0
    picture = np.asarray(Image.open(tmp_path / "a.png")).astype(int)
    assert np.ptp(picture[20, 20]) > 20
    assert np.ptp(picture[2, 45]) < 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{clip}", "99"], "keyframe: 99 is beyond the end"),
        (["{clip}", "soon"], "T: 'soon' is not a moment; give a time like 2.4s"),
        (["{clip}", "4", "--out", "a.mp4"], "'a.mp4' is no name of an image; give one that ends in .png or .jpg"),
        (["none.mp4", "4"], "none.mp4"),
        (["{clip}", "4", "--result", "none"], "no answer.json there"),
    ],
)
def test_frame_bad_input_is_one_clear_line(clip, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert app.main(["frame", *(word.format(clip=clip) for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "frame.png").exists()
