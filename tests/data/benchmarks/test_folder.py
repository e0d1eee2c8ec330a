"""Your own videos: one line per query, masks as images or RLEs, or none."""

import json
import pickle

import numpy as np
import pytest

import layouts
from layouts import LEFT, LOW, RIGHT, SIZE_WH, rle, write_mask
from thinkseg.data import open_benchmark
from thinkseg.data.readers.issues import DatasetFileError, DatasetIssues
from thinkseg.errors import VideoError
from thinkseg.ops.video import write_video


def write_rows(root, *rows):
    lines = (row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
    (root / "queries.jsonl").write_bytes(b"\r\n".join(lines))


def test_folder_lines_are_expressions(root):
    benchmark = open_benchmark("folder", root)
    assert [one.key for one in benchmark.expressions] == [f"clips/yard/{name}" for name in ("1", "2", "bird", "4", "5")]
    assert [one.category for one in benchmark.expressions] == ["", "several", "", "no-target", ""]
    assert [one.query for one in benchmark.expressions[:2]] == ["the dog", "both"]
    assert benchmark.expressions[2].folders == ("clips/yard/bird",)
    assert benchmark.videos["clips/yard"].frames == layouts.FRAMES


def test_folder_scored_frames_follow_masks(root):
    scored = [list(one.scored) for one in open_benchmark("folder", root).expressions]
    assert scored == [[1], [1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2]]


def test_folder_masks_are_images_or_rles(root):
    benchmark = open_benchmark("folder", root)
    dog, both, bird, cow, unknown = (benchmark.sample(one).truth for one in benchmark.expressions)
    assert dog.union(1).tolist() == LEFT.tolist()
    assert [both.union(frame).tolist() for frame in (1, 2)] == [LEFT.tolist(), LOW.tolist()]
    assert [bird.union(frame).tolist() for frame in (0, 2)] == [LEFT.tolist(), RIGHT.tolist()]
    assert bird.rles[0][1] is None
    assert cow.num_objects == 0
    assert unknown is None


def test_folder_video_file_masks_by_frame_number(tmp_path):
    frames = [np.full((16, 16, 3), 20 * number, np.uint8) for number in range(5)]
    write_video(tmp_path / "clip.mp4", frames, fps=5)
    picture = np.zeros((16, 16), bool)
    picture[:4] = True
    write_mask(tmp_path / "masks" / "00003.png", picture)
    row = {"video": "clip.mp4", "query": "the top", "masks": ["masks"]}
    write_rows(tmp_path, row, {**row, "masks": [[None] * 4 + [rle(picture)]]})
    benchmark = open_benchmark("folder", tmp_path)
    first, second = map(benchmark.sample, benchmark.expressions)
    assert benchmark.videos["clip.mp4"].frames == ("00000", "00001", "00002", "00003", "00004")
    assert [one.scored for one in benchmark.expressions] == [(3,), (0, 1, 2, 3, 4)]
    assert (first.truth.area(3), second.truth.area(4)) == (64, 64)
    assert first.video is not second.video
    assert abs(int(first.video[4].mean()) - 80) < 5
    assert pickle.loads(pickle.dumps(second)).truth.area(4) == 64
    again = pickle.loads(pickle.dumps(benchmark))
    assert again.sample(again.expressions[1]).truth.area(4) == 64


def test_folder_queries_are_grouped_by_video(root):
    layouts.write_frames(root / "other")
    write_rows(root, *({"video": name, "query": "x"} for name in ("clips/yard", "other", "clips/yard")))
    assert [one.key for one in open_benchmark("folder", root).expressions] == [
        "clips/yard/1",
        "clips/yard/3",
        "other/2",
    ]


YARD = {"video": "clips/yard", "query": "x"}


@pytest.mark.parametrize(
    ("row", "kind", "complaint"),
    [
        (b"{", "invalid_file", "line 2: not JSON"),
        (b"[1]", "invalid_field", "line 2 must be an object"),
        ({"query": "x"}, "invalid_field", "line 2 has no field 'video'"),
        ({"video": "clips/yard"}, "invalid_field", "line 2 has no field 'query'"),
        ({**YARD, "query": 5}, "invalid_field", "line 2 > query must be text"),
        ({**YARD, "category": None}, "invalid_field", "line 2 > category must be text"),
        ({**YARD, "id": "1"}, "invalid_field", "line 2 repeats the id '1' of video clips/yard"),
        ({**YARD, "id": "../1"}, "unsafe_path", "line 2 > id names '../1', which could lead out"),
        ({**YARD, "video": "../x"}, "unsafe_path", "line 2 > video names"),
        ({**YARD, "video": "/etc"}, "unsafe_path", "line 2 > video names"),
        ({**YARD, "masks": ["../masks"]}, "unsafe_path", "line 2 > masks > 0 names"),
        ({**YARD, "masks": "masks/dog"}, "invalid_field", "line 2 > masks must be a list"),
        ({**YARD, "masks": [{"00001": None}]}, "invalid_field", "line 2 > masks > 0 must be an id"),
        ({**YARD, "masks": [[None]]}, "missing_mask", "line 2 > masks > 0 has 1 masks for 3 frames"),
        ({**YARD, "masks": ["masks/pig"]}, "invalid_file", "masks/pig: cannot be read"),
        ({**YARD, "masks": ["masks"]}, "missing_mask", r"masks: no \.png file"),
    ],
)
def test_folder_invalid_line_raises_with_line_and_field(root, row, kind, complaint):
    write_rows(root, YARD, row, YARD)
    with pytest.raises(DatasetFileError, match=complaint) as caught:
        open_benchmark("folder", root)
    assert caught.value.kind == kind
    issues = DatasetIssues(keep_going=True)
    assert [one.id for one in open_benchmark("folder", root, issues=issues).expressions] == ["1", "3"]
    assert issues.counts == {kind: 1}


def test_folder_invalid_video_raises(root):
    (root / "a.mp4").write_text("not a video")
    write_rows(root, {"video": "a.mp4", "query": "x"}, YARD)
    with pytest.raises(VideoError, match=r"a\.mp4 is not a readable video"):
        open_benchmark("folder", root)
    issues = DatasetIssues(keep_going=True)
    assert len(open_benchmark("folder", root, issues=issues).expressions) == 1
    assert issues.counts == {"missing_frame": 1}


def test_folder_two_frames_of_one_name_raise(root):
    write_mask(root / "clips" / "yard" / "00000.png", LEFT)
    with pytest.raises(VideoError, match=r"00000\.jpg and 00000\.png differ only in suffix"):
        open_benchmark("folder", root)


def test_folder_invalid_mask_raises_on_access(root):
    write_rows(root, {**YARD, "masks": [[None, {"size": [4, 5], "counts": "x"}, rle(LEFT)]]})
    benchmark = open_benchmark("folder", root)
    truth = benchmark.sample(benchmark.expressions[0]).truth
    assert truth.area(2) == 4
    with pytest.raises(DatasetFileError, match=r"queries\.jsonl, line 1: masks > 0 > 1 is not a valid RLE"):
        truth.area(1)


def test_folder_changed_file_raises(root):
    benchmark = open_benchmark("folder", root)
    write_rows(root, YARD, YARD, {**YARD, "masks": []})
    with pytest.raises(DatasetFileError, match="line 3: has changed since the data set was opened"):
        benchmark.sample(benchmark.expressions[2]).truth.area(0)
    (root / "queries.jsonl").unlink()
    with pytest.raises(DatasetFileError, match=r"queries\.jsonl: cannot be read"):
        benchmark.sample(benchmark.expressions[2]).truth.area(0)
    with pytest.raises(DatasetFileError, match=r"queries\.jsonl: cannot be read"):
        open_benchmark("folder", root)


def test_folder_size_is_that_of_video(root):
    assert open_benchmark("folder", root).videos["clips/yard"].size_wh == SIZE_WH


def test_folder_line_changed_since_it_was_read_raises(root):
    opened = open_benchmark("folder", root)
    bird = next(one for one in opened.expressions if one.id == "bird")
    assert opened.truth(bird, (5, 4)).rles[0][1] is None
    path = root / "queries.jsonl"
    path.write_bytes(path.read_bytes().replace(b"null", json.dumps(rle(LOW)).encode()))
    with pytest.raises(DatasetFileError, match=r"line 3: has changed since the data set was opened"):
        opened.truth(bird, (5, 4)).rles[0][1]
