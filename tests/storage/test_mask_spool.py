import errno
import pickle
import threading

import numpy as np
import pytest

from thinkseg.errors import SettingsError
from thinkseg.ops.masks import decode, encode, from_stacks
from thinkseg.storage import mask_spool
from thinkseg.storage.mask_spool import MaskSpool

# Two objects over three frames of 4x4: one that moves down, one that is not seen in the middle.
BAND = np.zeros((3, 4, 4), bool)
BAND[0, 0], BAND[1, 1], BAND[2, 2] = True, True, True
DOT = np.zeros((3, 4, 4), bool)
DOT[0, 3, 3], DOT[2, 0, 1] = True, True


def collected(held_bytes: int, order: tuple[int, ...] = (1, 2, 0)) -> MaskSpool:
    found = MaskSpool((4, 4), 3, 2, held_bytes)
    for frame in order:
        found.put(frame, [encode(stack[frame]) if stack[frame].any() else None for stack in (BAND, DOT)])
    return found


@pytest.mark.parametrize("held_bytes", [1, 1000], ids=["on disk", "in memory"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_what_was_put_is_read_back(held_bytes: int, order: tuple[int, ...]) -> None:
    masklets = collected(held_bytes, order).masklets()
    assert (masklets.size_wh, masklets.num_frames) == ((4, 4), 3)
    assert [tuple(track) for track in masklets.rles] == list(from_stacks(np.stack([BAND, DOT])).rles)
    for frame in range(3):
        assert np.array_equal(masklets.masks(frame), np.stack([BAND[frame], DOT[frame]]))


def test_only_what_is_long_is_read_from_the_disk() -> None:
    short, long = collected(1000).masklets(), collected(1).masklets()
    assert [type(track) for track in short.rles] == [tuple, tuple]
    assert [type(track) for track in long.rles] != [tuple, tuple]


def test_a_frame_that_is_put_again_is_replaced() -> None:
    found = collected(1)
    found.put(0, [encode(DOT[0]), None])
    track, other = found.masklets().rles
    assert np.array_equal(decode(track[0]), DOT[0])
    assert other[0] is None


def test_frames_that_were_not_put_are_not_seen() -> None:
    assert list(collected(1, order=(1,)).masklets().rles[0])[::2] == [None, None]


def test_there_is_no_frame_beyond_the_ends() -> None:
    track = collected(1).masklets().rles[0]
    for frame in (-1, 3):
        with pytest.raises(IndexError, match=f"frame {frame} of a track of 3"):
            track[frame]


def test_tracks_outlive_the_spool_and_are_copied_whole() -> None:
    masklets = collected(1).masklets()
    copy = pickle.loads(pickle.dumps(masklets.rles))
    assert copy == tuple(tuple(track) for track in masklets.rles)


def test_threads_read_at_once() -> None:
    masklets = collected(1).masklets()
    wrong: list[int] = []

    def read() -> None:
        wrong.extend(f for f in [0, 1, 2] * 200 if not np.array_equal(masklets.mask(f, 0), BAND[f]))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_full_disk_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    found = MaskSpool((4, 4), 3, 1)

    class Full:
        def seek(self, place: int) -> None: ...

        def write(self, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(found, "_file", Full())
    monkeypatch.setattr(mask_spool, "gettempdir", lambda: "/small")
    with pytest.raises(SettingsError, match=r"^/small does not take .* \(No space left on device\): set TMPDIR to"):
        found.put(0, [encode(BAND[0])])
