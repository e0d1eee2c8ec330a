"""Tracks that read masks on access."""

import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from layouts import LABELS, LEFT, NOTHING, RIGHT, SIZE_WH, rle, write_labels, write_mask
from thinkseg.data.readers.issues import DatasetFileError
from thinkseg.data.readers.json_tree import JsonNode
from thinkseg.data.readers.mask_tracks import PngTrack, RleTrack, checked_rle
from thinkseg.rle import MAX_PIXELS, decode
from thinkseg.types import Masklets


def nodes(entries):
    """Entries of a list in a file."""
    return JsonNode(entries, "masks.json").items()


def track(*entries):
    return RleTrack(partial(nodes, list(entries)), len(entries), SIZE_WH)


def test_rle_track_loads_once_on_first_access():
    calls = []

    def load():
        calls.append(1)
        return nodes([rle(LEFT), None])

    seen = RleTrack(load, 2, SIZE_WH)
    assert len(seen) == 2
    assert calls == []
    assert list(seen) == [rle(LEFT), None]
    assert seen[0] == rle(LEFT)
    assert calls == [1]


def test_masklets_mixed_tracks_merge(tmp_path):
    write_mask(tmp_path / "0.png", LEFT)
    pictures = PngTrack([tmp_path / "0.png", None], SIZE_WH)
    masklets = Masklets(SIZE_WH, 2, (pictures, track(rle(RIGHT), None), (None, rle(LEFT))))
    assert masklets.union(0).tolist() == (LEFT | RIGHT).tolist()
    assert masklets.union(1).tolist() == LEFT.tolist()
    assert masklets.mask(1, 0).tolist() == NOTHING.tolist()
    assert masklets.boxes(0).tolist() == [[0, 0, 2, 2], [3, 0, 5, 2]]


@pytest.mark.parametrize("frame", [-1, 2, 99])
def test_track_index_out_of_range_raises(tmp_path, frame):
    for some in (track(None, None), PngTrack([None, None], SIZE_WH)):
        with pytest.raises(IndexError, match=f"frame {frame}: the track has frames 0..1"):
            some[frame]


def test_png_track_reads_on_access(tmp_path):
    write_labels(tmp_path / "0.png", LABELS)
    seen = PngTrack([tmp_path / "0.png", tmp_path / "lost.png", None], SIZE_WH, label=2)
    assert decode(seen[0]).tolist() == RIGHT.tolist()
    assert seen[2] is None
    assert PngTrack([tmp_path / "0.png"], SIZE_WH, label=3)[0] is None
    with pytest.raises(DatasetFileError, match=r"lost\.png"):
        seen[1]
    assert [issue.kind for issue in seen.issues()] == ["missing_mask"]


def test_tracks_pickle_round_trip(tmp_path):
    write_mask(tmp_path / "0.png", LEFT)
    for some in (track(rle(LEFT)), PngTrack([tmp_path / "0.png"], SIZE_WH)):
        expected = some[0]
        assert pickle.loads(pickle.dumps(some))[0] == expected


def test_rle_track_issues_lists_all():
    flaws = list(track(rle(LEFT), {"size": [4, 5]}, None, rle(LEFT[:3])).issues())
    assert [flaw.kind for flaw in flaws] == ["invalid_rle", "size_mismatch"]
    assert "masks.json: 1 is not a valid RLE" in str(flaws[0])
    assert "masks.json: 3 is a mask of 5x3, its video 5x4" in str(flaws[1])


def test_rle_track_issues_load_error_is_one_issue():
    def load():
        raise DatasetFileError("unknown_id", "no such annotation")

    assert [str(flaw) for flaw in RleTrack(load, 50, SIZE_WH).issues()] == ["no such annotation"]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["size", "counts"]), inner),
    max_leaves=6,
)
SIZES = st.lists(st.integers(-1, 9) | st.just(MAX_PIXELS * 2), max_size=3)


@given(JUNK | st.fixed_dictionaries({"size": SIZES, "counts": st.text(max_size=9) | st.text(alphabet="0123no")}))
def test_checked_rle_any_value_is_mask_or_issue(value):
    (flaw, *more) = [*RleTrack(lambda: [JsonNode(value, "masks.json")], 1, (3, 2)).issues(), None]
    if flaw is not None:
        assert more == [None]
        assert flaw.kind in ("invalid_rle", "size_mismatch")
        assert str(flaw).startswith("masks.json is")
    else:
        mask = checked_rle(JsonNode(value, "masks.json"), (3, 2))
        assert value is None if mask is None else decode(mask).shape == (2, 3)


def issues_of(track):
    return [(issue.kind, str(issue).partition(": ")[2]) for issue in track.issues()]


def images(tmp_path, *levels):
    """A track of gray images, arrays (H, W)."""
    paths = [tmp_path / f"{number}.png" for number in range(len(levels))]
    for path, level in zip(paths, levels, strict=True):
        Image.fromarray(level.astype(np.uint8)).save(path)
    return paths


def test_png_track_values_besides_one_are_an_issue(tmp_path):
    noise = LEFT * 17 + RIGHT * 34
    paths = images(tmp_path, LEFT, noise)
    (issue,) = issues_of(PngTrack(paths, SIZE_WH))
    assert issue == (
        "unclear_mask",
        "has the values [17, 34] besides 0, must have one; threshold it, or split its objects",
    )
    assert decode(PngTrack(paths, SIZE_WH)[1]).tolist() == (LEFT | RIGHT).tolist()
    with pytest.raises(DatasetFileError, match=r"1\.png: has the values"):
        PngTrack(paths, SIZE_WH, one_value=True)[1]


@pytest.mark.parametrize("masks", [(NOTHING == 0, NOTHING == 0), (LEFT == 0, NOTHING == 0, NOTHING == 0)])
def test_png_track_inverted_masks_are_an_issue(tmp_path, masks):
    (issue,) = issues_of(PngTrack(images(tmp_path, *masks), SIZE_WH))
    assert issue == ("unclear_mask", "the object fills the border of most frames; are the masks inverted?")


def test_png_track_object_in_no_mask_is_an_issue(tmp_path):
    paths = images(tmp_path, NOTHING, NOTHING)
    assert issues_of(PngTrack(paths, SIZE_WH)) == [
        ("unclear_mask", "no mask shows the object; check the values of the masks")
    ]
    assert issues_of(PngTrack(images(tmp_path, NOTHING, LEFT * 255), SIZE_WH, label=1)) == [
        ("unclear_mask", "no mask shows object 1; check the values of the masks")
    ]
    assert issues_of(PngTrack(images(tmp_path, NOTHING, LEFT), SIZE_WH, label=1)) == []
