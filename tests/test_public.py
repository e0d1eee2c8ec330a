import subprocess
import sys

import pytest

import thinkseg
from thinkseg import errors, segmenter, types
from thinkseg.data.readers import video_window
from thinkseg.report import result

NAMES = {
    *("segment", "Segmenter", "Result"),
    *("Answer", "Dialogue", "Frames", "Masklets", "ObjectPrompt", "Policy", "Reply", "Segmentation", "Tracker", "Turn"),
    *("VideoSample", "View", "Window"),
    *("ThinkSegError", "AnswerError", "DatasetError", "ModelError", "SettingsError", "VideoError"),
}


def test_the_public_names_are_these():
    assert set(thinkseg.__all__) == NAMES
    assert set(thinkseg.__dir__()) >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_is_the_one_it_seems_to_be(name):
    homes = {"segment": segmenter, "Segmenter": segmenter, "Result": result, "Window": video_window}
    home = homes.get(name, errors if name.endswith("Error") else types)
    assert getattr(thinkseg, name) is getattr(home, name)


def test_every_error_is_public():
    raised = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert raised <= NAMES


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'thinkseg' has no attribute 'segmentate'"):
        thinkseg.segmentate  # noqa: B018


def test_python_dash_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "thinkseg", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"thinkseg {thinkseg.__version__}\n"
