"""Packed masks against arrays, invalid RLEs, and the cache of compiled functions."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from thinkseg import rle
from thinkseg.ops import bitmasks


def unpacked(packed, shape):
    assert packed.dtype == np.uint64
    flat = np.unpackbits(packed.view(np.uint8), bitorder="little").astype(bool)
    height, width = shape
    assert not flat[height * width :].any()
    assert len(flat) >= height * width + 64
    return flat[: height * width].reshape(shape)


MASKS = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(lambda shape: arrays.arrays(bool, shape))


@given(MASKS, MASKS)
def test_pack_overwrites_bits_row_by_row(mask, other):
    packed = bitmasks.pack(mask, bitmasks.blank(mask.size))
    assert np.array_equal(unpacked(packed, mask.shape), mask)
    again = np.resize(other, mask.shape).astype(np.uint8) * 7
    assert np.array_equal(unpacked(bitmasks.pack(again, packed), mask.shape), again > 0)


@given(MASKS)
def test_pack_columns_equals_pack_runs(mask):
    packed = bitmasks.pack_columns(mask)
    assert np.array_equal(packed, bitmasks.pack_runs([rle.encode(mask)], mask.shape[::-1]))
    assert np.array_equal(packed, bitmasks.pack_columns(mask.astype(np.uint8) * 255))


@given(st.lists(arrays.arrays(bool, (13, 11)), max_size=3))
def test_pack_runs_merges_masks_by_columns(masks):
    packed = bitmasks.pack_runs([rle.encode(mask) for mask in masks], (11, 13))
    assert np.array_equal(unpacked(packed, (11, 13)).T, np.any([np.zeros((13, 11), bool), *masks], axis=0))


@pytest.mark.parametrize("start", [0, 1, 63, 64, 65])
@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 130])
def test_pack_runs_run_within_and_across_words(start, length):
    mask = np.zeros((200, 1), bool)
    mask[start : start + length] = True
    assert np.array_equal(unpacked(bitmasks.pack_runs([rle.encode(mask)], (1, 200)), (1, 200)).T, mask)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12), st.integers(1, 9), st.integers(1, 9))
def test_pack_runs_accepts_what_decode_accepts(counts, height, width):
    """Invalid counts must not cause writes outside the mask either."""
    runs = {"size": [height, width], "counts": counts}
    try:
        mask = rle.decode(runs)
    except ValueError:
        with pytest.raises(ValueError, match="is not a mask"):
            bitmasks.pack_runs([runs], (width, height))
    else:
        assert np.array_equal(unpacked(bitmasks.pack_runs([runs], (width, height)), (width, height)).T, mask)


def test_pack_runs_bytes_are_read_and_other_size_raises():
    runs = rle.encode(np.eye(4, dtype=bool))
    in_bytes = {**runs, "counts": runs["counts"].encode()}
    assert np.array_equal(bitmasks.pack_runs([in_bytes], (4, 4)), bitmasks.pack_runs([runs], (4, 4)))
    with pytest.raises(ValueError, match=r"\[4, 4\] is not a mask of size \[2, 8\]"):
        bitmasks.pack_runs([runs], (8, 2))


SCRIPT = """
import numba
from thinkseg.ops.bitmasks import numba_cached

class Nowhere:
    @classmethod
    def from_function(cls, function, path):
        return None

numba.core.caching.CacheImpl._locator_classes = [Nowhere]

def double(x):
    return 2 * x

print(numba_cached(double)(21))
"""


def test_numba_cached_without_writable_folder_compiles(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    assert done.stdout == "42\n"


def test_numba_cached_second_process_reads_cache(tmp_path):
    """With NUMBA_CACHE_DIR, nothing is written next to the source."""
    path = tmp_path / "twice.py"
    path.write_text(
        "from thinkseg.ops.bitmasks import numba_cached\n\n@numba_cached\ndef f(x):\n    return x + x\n\n"
        "f(1)\nprint(sum(f.stats.cache_hits.values()))\n"
    )
    kept = tmp_path / "kept"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(kept)}
    hits = [
        subprocess.run([sys.executable, path], capture_output=True, text=True, check=True, env=environment).stdout
        for _ in range(2)
    ]
    assert hits == ["0\n", "1\n"]
    assert list(Path(kept).rglob("*.nbc"))
