"""Cached frames and their byte budget."""

import numpy as np
import pytest

from thinkseg.data.readers.frame_cache import ByteBudget, CachedFrames, decoded_ahead
from thinkseg.errors import VideoError

FRAME_BYTES = 8 * 6 * 3


@pytest.fixture
def cached(film):
    """Returns a filled video of five frames: cached(bytes in the budget)."""

    def cached(total):
        inner, budget = film(5), ByteBudget(total)
        frames = CachedFrames(inner, budget)
        frames.fill()
        assert inner.reads == [0, 1, 2, 3, 4]
        inner.reads.clear()
        return frames, inner, budget

    return cached


@pytest.mark.parametrize(("room", "decoded_again"), [(5, []), (2, [3, 2]), (0, [3, 0, 2])])
def test_cached_frames_within_budget_decode_once(cached, room, decoded_again):
    frames, inner, _ = cached(room * FRAME_BYTES)
    assert [frame[0, 0, 0] for frame in frames.read([3, 0, 2])] == [3, 0, 2]
    assert inner.reads == decoded_again
    inner.reads.clear()
    assert [frames[index][0, 0, 0] for index in (3, 0, 2)] == [3, 0, 2]
    assert inner.reads == decoded_again


def test_cached_frames_match_inner_video(cached):
    frames, inner, _ = cached(10**6)
    assert (len(frames), frames.name, frames.size_wh, frames.fps) == (5, inner.name, inner.size_wh, inner.fps)
    assert frames.time_of(3) == inner.time_of(3)
    for index in (-1, 5):
        with pytest.raises(IndexError):
            frames[index]


def test_cached_frames_are_read_only(cached):
    frames, _, _ = cached(10**6)
    with pytest.raises(ValueError, match="read-only"):
        frames[0][:] = 7
    np.testing.assert_array_equal(frames[0], 0)


def test_cached_frames_deleted_returns_budget(cached):
    frames, _, budget = cached(5 * FRAME_BYTES)
    assert not budget.take(1)
    del frames
    assert budget.take(5 * FRAME_BYTES)


def test_decoded_ahead_decodes_the_next_video_alone(film):
    films, opened = [film(3), film(4), film(5)], []

    def opener(number):
        return lambda: opened.append(number) or films[number]

    videos = decoded_ahead([opener(number) for number in range(3)])
    assert len(next(videos).result()) == 3
    assert len(next(videos).result()) == 4
    assert films[1].reads == [0, 1, 2, 3]
    videos.close()
    assert opened[:2] == [0, 1]
    assert [list(frame[0, 0]) for frame in films[0].read([1])] == [[1, 1, 1]]


def test_decoded_ahead_unreadable_video_raises_for_its_own_result(film):
    def broken():
        raise VideoError("broken.mp4 cannot be read")

    first, second, third = decoded_ahead([lambda: film(2), broken, lambda: film(3)])
    assert (len(first.result()), len(third.result())) == (2, 3)
    with pytest.raises(VideoError, match=r"broken.mp4"):
        second.result()


def test_decoded_ahead_left_early_stops_decoding(film):
    long = film(10**9)
    videos = decoded_ahead([lambda: film(2), lambda: long])
    next(videos)
    videos.close()
    assert len(long.reads) < 10**8
