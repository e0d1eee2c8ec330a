"""Packed masks against arrays; run lengths that are junk; compiled functions on disks that cannot be written to."""

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
def test_arrays_are_packed_row_by_row_over_whatever_was_there(mask, other):
    packed = bitmasks.pack(mask, bitmasks.blank(mask.size))
    assert np.array_equal(unpacked(packed, mask.shape), mask)
    again = np.resize(other, mask.shape).astype(np.uint8) * 7
    assert np.array_equal(unpacked(bitmasks.pack(again, packed), mask.shape), again > 0)


@given(MASKS)
def test_arrays_are_packed_column_by_column_like_run_lengths(mask):
    packed = bitmasks.pack_columns(mask)
    assert np.array_equal(packed, bitmasks.pack_runs([rle.encode(mask)], mask.shape[::-1]))
    assert np.array_equal(packed, bitmasks.pack_columns(mask.astype(np.uint8) * 255))


@given(st.lists(arrays.arrays(bool, (13, 11)), max_size=3))
def test_run_lengths_are_merged_column_by_column(masks):
    packed = bitmasks.pack_runs([rle.encode(mask) for mask in masks], (11, 13))
    assert np.array_equal(unpacked(packed, (11, 13)).T, np.any([np.zeros((13, 11), bool), *masks], axis=0))


@pytest.mark.parametrize("start", [0, 1, 63, 64, 65])
@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 130])
def test_runs_within_and_across_words(start, length):
    mask = np.zeros((200, 1), bool)
    mask[start : start + length] = True
    assert np.array_equal(unpacked(bitmasks.pack_runs([rle.encode(mask)], (1, 200)), (1, 200)).T, mask)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12), st.integers(1, 9), st.integers(1, 9))
def test_counts_are_a_mask_where_they_are_for_the_decoder(counts, height, width):
    """Junk included, which must not write anywhere either."""
    runs = {"size": [height, width], "counts": counts}
    try:
        mask = rle.decode(runs)
    except ValueError:
        with pytest.raises(ValueError, match="do not make a mask"):
            bitmasks.pack_runs([runs], (width, height))
    else:
        assert np.array_equal(unpacked(bitmasks.pack_runs([runs], (width, height)), (width, height)).T, mask)


def test_counts_may_be_bytes_and_must_be_of_the_size():
    runs = rle.encode(np.eye(4, dtype=bool))
    in_bytes = {**runs, "counts": runs["counts"].encode()}
    assert np.array_equal(bitmasks.pack_runs([in_bytes], (4, 4)), bitmasks.pack_runs([runs], (4, 4)))
    with pytest.raises(ValueError, match=r"\[4, 4\] do not make a mask of \[2, 8\]"):
        bitmasks.pack_runs([runs], (8, 2))


SCRIPT = """
import numba
from thinkseg.ops.bitmasks import compiled

class Nowhere:
    @classmethod
    def from_function(cls, function, path):
        return None

numba.core.caching.CacheImpl._locator_classes = [Nowhere]

def double(x):
    return 2 * x

print(compiled(double)(21))
"""


def test_without_a_place_to_keep_them_functions_are_compiled_all_the_same(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=True)
    assert done.stdout == "42\n"


def test_compiled_functions_are_kept_for_the_next_process(tmp_path):
    """In another folder when asked for, without a trace beside the source."""
    path = tmp_path / "twice.py"
    path.write_text(
        "from thinkseg.ops.bitmasks import compiled\n\n@compiled\ndef f(x):\n    return x + x\n\n"
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
