import pytest

from thinkseg.data.readers.frame_rates import GIVEN, FrameTimes, Rate, Rates, with_rate, write_rate
from thinkseg.errors import DatasetError, SettingsError
from thinkseg.types import View

UNTIMED, FIVE = FrameTimes(unknown="clip"), FrameTimes(frozenset({Rate(5.0, GIVEN)}))


def view(label_unit):
    return View(4, (8, 8), label_unit=label_unit)


def test_with_rate_spaces_frames_evenly(film):
    video = with_rate(film(5, fps=None), 4.0)
    assert (len(video), video.fps, video.time_of(2), video[3][0, 0, 0]) == (5, 4.0, 0.5, 3)
    assert [frame[0, 0, 0] for frame in video.read([1, 4])] == [1, 4]


def test_rates_at_takes_the_first_that_is_stated(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    assert Rates().at(folder) is None
    write_rate(tmp_path, 12.0)
    assert Rates().at(folder) == Rate(12.0, str(tmp_path / "fps.json"))
    write_rate(folder, 3.0)
    assert Rates().at(folder) == Rate(3.0, str(folder / "fps.json"))
    assert Rates(None, 6.0).at(folder) == Rate(6.0, "the data set")
    assert Rates(5.0, 6.0).at(folder) == Rate(5.0, GIVEN)


@pytest.mark.parametrize("content", ["{}", '{"fps": 0}', '{"fps": true}', '{"fps": "12"}', '{"fps": 1e99}', "12"])
def test_rates_at_invalid_file_raises(tmp_path, content):
    (tmp_path / "fps.json").write_text(content)
    with pytest.raises(DatasetError, match=r"fps\.json"):
        Rates().at(tmp_path / "clip")


@pytest.mark.parametrize("fps", [0, -1.0, float("nan"), True, "12"])
def test_rates_invalid_fps_raises(fps):
    with pytest.raises(SettingsError, match=r"fps: .* is not a frame rate"):
        Rates(fps)


def test_rates_timed_given_for_a_video_with_times_raises(film):
    assert Rates().timed(film(5, fps=10.0)).time_of(2) == 0.2
    with pytest.raises(SettingsError, match="fps: film has times of its own; drop it"):
        Rates(5.0).timed(film(5, fps=10.0))


def test_rates_timed_single_frame_is_at_zero(film):
    still = film(1, fps=None)
    assert Rates().times_of(still) == FrameTimes()
    assert Rates().timed(still).time_of(0) == 0


@pytest.mark.parametrize(
    ("times", "wanted", "decided", "line"),
    [
        (FrameTimes(), "auto", "seconds", ""),
        (FIVE, "auto", "seconds", "thinkseg: frames have no times: 5 frames per second, from --fps or fps=\n"),
        (FIVE, "seconds", "seconds", "thinkseg: frames have no times: 5 frames per second, from --fps or fps=\n"),
        (FIVE, "index", "index", ""),
        (UNTIMED, "index", "index", ""),
        (UNTIMED, "auto", "index", "thinkseg: clip: frames have no times: they are numbered; give --fps"),
    ],
)
def test_frame_times_decide_says_it_once(times, wanted, decided, line, capsys):
    assert times.decide(view(wanted)).label_unit == decided
    told = capsys.readouterr().err
    assert told.startswith(line)
    assert told.count("\n") == bool(line)


def test_frame_times_decide_unknown_seconds_raises():
    with pytest.raises(SettingsError, match=r"clip: its frames have no times, .* give --fps"):
        UNTIMED.decide(view("seconds"))


def test_frame_times_decide_several_rates_names_the_range(capsys):
    FrameTimes(frozenset({Rate(6.0, "a"), Rate(24.0, "b")})).decide(view("seconds"))
    assert "6 to 24 frames per second, from 2 files fps.json" in capsys.readouterr().err
