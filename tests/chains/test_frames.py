import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.chains.frames import MAX_QUERY_CHARS, box_limits, checked_query, fit, sample_indices, select_frames, show
from thinkseg.data.readers.video_window import Window
from thinkseg.errors import SettingsError
from thinkseg.types import View

VIEW = View(num_frames=4, frame_wh=(8, 6))


@given(total=st.integers(1, 5_000), count=st.integers(1, 200))
def test_sample_indices_are_evenly_spaced(total, count):
    indices = sample_indices(total, count)
    assert len(indices) == min(count, total)
    steps = np.diff(indices)
    assert (steps >= 1).all()
    if len(indices) > 1:
        assert (indices[0], indices[-1]) == (0, total - 1)
        assert steps.max() - steps.min() <= 1


def test_sample_indices_small_counts():
    assert sample_indices(7, 3) == (0, 3, 6)
    assert sample_indices(10, 1) == (5,)
    assert sample_indices(3, 6) == (0, 1, 2)


@pytest.mark.parametrize(("total", "count"), [(0, 4), (4, 0), (-1, 2)])
def test_sample_indices_zero_raises(total, count):
    with pytest.raises(ValueError, match="cannot sample"):
        sample_indices(total, count)


def test_describe_distinct_times_have_one_decimal(film):
    shown = select_frames(film(num_frames=31, fps=10.0), VIEW)
    assert shown.indices == (0, 10, 20, 30)
    assert shown.labels == ("0.0", "1.0", "2.0", "3.0")
    assert shown.label_unit == "seconds"


def test_describe_close_times_have_more_decimals(film):
    assert select_frames(film(num_frames=4, fps=100.0), VIEW).labels == ("0.00", "0.01", "0.02", "0.03")


def test_describe_part_of_a_video_labels_start_at_0(film):
    part = Window(start=300).of(film(num_frames=304, fps=100.0))
    assert select_frames(part, VIEW).labels == ("0.00", "0.01", "0.02", "0.03")


@pytest.mark.parametrize("fps", [None, 1e9])
def test_describe_without_times_labels_are_indices(film, fps):
    shown = select_frames(film(num_frames=10, fps=fps), VIEW)
    assert shown.labels == ("0", "3", "6", "9")
    assert shown.label_unit == "index"


def test_describe_index_view_labels_are_indices(film):
    shown = select_frames(film(num_frames=10), View(2, (8, 6), label_unit="index"))
    assert (shown.labels, shown.label_unit) == (("0", "9"), "index")


@given(fps=st.floats(0.01, 2_000), total=st.integers(1, 400), count=st.integers(1, 40))
def test_describe_labels_are_distinct(film, fps, total, count):
    labels = select_frames(film(num_frames=total, fps=fps), View(count, (8, 6))).labels
    assert len({float(label) for label in labels}) == min(count, total)


def test_show_reads_frames_shown_only(film):
    video = film(num_frames=30)
    shown, images = show(video, VIEW, indices=(2, 3, 29))
    assert video.reads == [2, 3, 29]
    assert shown.indices == (2, 3, 29)
    assert [int(image[0, 0, 0]) for image in images] == [2, 3, 29]


@pytest.mark.parametrize("indices", [(), (3, 3), (5, 2), (-1, 2), (0, 30)])
def test_describe_invalid_indices_raise(film, indices):
    with pytest.raises(ValueError, match="must be strictly ascending"):
        select_frames(film(num_frames=30), VIEW, indices)


@pytest.mark.parametrize("size_wh", [(4, 3), (16, 12), (5, 20)])
def test_show_images_have_size_of_view(film, size_wh):
    shown, images = show(film(), View(2, size_wh))
    assert {image.shape for image in images} == {(size_wh[1], size_wh[0], 3)}
    assert all(image.dtype == np.uint8 for image in images)
    assert (shown.frame_wh, shown.source_wh) == (size_wh, (8, 6))


def test_fit_equal_size_returns_frame():
    frame = np.zeros((6, 8, 3), np.uint8)
    assert fit(frame, (8, 6)) is frame


def test_fit_shrinking_averages():
    stripes = np.zeros((4, 4, 3), np.uint8)
    stripes[:, ::2] = 200
    assert (fit(stripes, (2, 2)) == 100).all()


def test_checked_query_is_one_line():
    assert checked_query("  the red\n\tstar ") == "the red star"


@pytest.mark.parametrize(
    ("query", "words"),
    [("", "empty"), (" \n", "empty"), ("x" * 100_000, "2,000"), ("caf\udce9", "Unicode")],
)
def test_checked_query_invalid_raises(query, words):
    with pytest.raises(SettingsError, match=words):
        checked_query(query)


def test_checked_query_maximum_length_is_valid():
    assert len(checked_query("x" * MAX_QUERY_CHARS)) == MAX_QUERY_CHARS


def test_box_limits_by_coordinates():
    assert box_limits(VIEW) == (8, 6)
    assert box_limits(View(4, (8, 6), "normalized_1000")) == (1000, 1000)
