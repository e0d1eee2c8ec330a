import errno
import pickle
import threading

import numpy as np
import pytest

from thinkseg.errors import SettingsError
from thinkseg.ops.masks import decode, encode, from_stacks
from thinkseg.storage import mask_spool
from thinkseg.storage.mask_spool import MaskSpool

# Two objects in three 4x4 frames: one moves down, one is not visible in the second frame.
BAND = np.zeros((3, 4, 4), bool)
BAND[0, 0], BAND[1, 1], BAND[2, 2] = True, True, True
DOT = np.zeros((3, 4, 4), bool)
DOT[0, 3, 3], DOT[2, 0, 1] = True, True


def collected(memory_bytes: int, order: tuple[int, ...] = (1, 2, 0)) -> MaskSpool:
    found = MaskSpool((4, 4), 3, 2, memory_bytes)
    for frame in order:
        rles = [encode(stack[frame]) if stack[frame].any() else None for stack in (BAND, DOT)]
        found.put(frame, rles, [1, frame / 2])
    return found


@pytest.mark.parametrize("memory_bytes", [1, 1000], ids=["on disk", "in memory"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_mask_spool_returns_masks_that_were_put(memory_bytes: int, order: tuple[int, ...]) -> None:
    masklets = collected(memory_bytes, order).masklets()
    assert (masklets.size_wh, masklets.num_frames) == ((4, 4), 3)
    assert [tuple(track) for track in masklets.rles] == list(from_stacks(np.stack([BAND, DOT])).rles)
    for frame in range(3):
        assert np.array_equal(masklets.masks(frame), np.stack([BAND[frame], DOT[frame]]))


def test_mask_spool_stores_confidence_per_object_and_frame() -> None:
    assert np.array_equal(collected(1).masklets().confidence, np.array([[1, 1, 1], [0, 0.5, 1]], np.float32))


def test_mask_spool_small_masks_stay_in_memory() -> None:
    short, long = collected(1000).masklets(), collected(1).masklets()
    assert [type(track) for track in short.rles] == [tuple, tuple]
    assert [type(track) for track in long.rles] != [tuple, tuple]


def test_mask_spool_second_put_replaces_frame() -> None:
    found = collected(1)
    found.put(0, [encode(DOT[0]), None], 1)
    track, other = found.masklets().rles
    assert np.array_equal(decode(track[0]), DOT[0])
    assert other[0] is None


def test_mask_spool_frames_not_put_are_none() -> None:
    assert list(collected(1, order=(1,)).masklets().rles[0])[::2] == [None, None]


def test_mask_spool_frame_outside_raises() -> None:
    track = collected(1).masklets().rles[0]
    for frame in (-1, 3):
        with pytest.raises(IndexError, match=f"frame {frame} is not in a track of 3 frames"):
            track[frame]


def test_mask_spool_tracks_pickle_as_tuples() -> None:
    masklets = collected(1).masklets()
    copy = pickle.loads(pickle.dumps(masklets.rles))
    assert copy == tuple(tuple(track) for track in masklets.rles)


def test_mask_spool_threads_read_concurrently() -> None:
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


def test_mask_spool_full_disk_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    found = MaskSpool((4, 4), 3, 1)

    class Full:
        def seek(self, offset: int) -> None: ...

        def write(self, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(found, "_file", Full())
    monkeypatch.setattr(mask_spool, "gettempdir", lambda: "/small")
    with pytest.raises(SettingsError, match=r"^/small cannot store .* \(No space left on device\): set TMPDIR to"):
        found.put(0, [encode(BAND[0])], 1)
