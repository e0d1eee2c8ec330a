"""`thinkseg segment` of many questions: folders of results, their table, what is shared, and what resumes."""

import csv
import json
import re
from dataclasses import dataclass, field

import numpy as np
import pytest

from thinkseg.chains.parsing import explained
from thinkseg.cli import app
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.video import write_video
from thinkseg.types import View

FRAMES, WIDTH, HEIGHT, FPS = 6, 48, 32, 10.0
VIEW = View(num_frames=FRAMES, frame_wh=(WIDTH // 2, HEIGHT // 2))
FOUND = '<think>Grey.</think><answer>{"keyframe_timestamp": 0.4, "bbox_2d_list": [[6, 4, 18, 16]]}</answer>'
ABSENT = '<think>None.</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'


@dataclass
class Calls:
    """What the models were asked. stop_at: the query at which Ctrl-C is pressed."""

    loads: list = field(default_factory=list)
    queries: list = field(default_factory=list)
    stop_at: str = ""

    def reply(self, dialogue):
        text = " ".join(part for part in dialogue[-1].content if isinstance(part, str))
        query = next(word for word in ("grey", "dog", "odd", "red") if word in text)
        if query == self.stop_at:
            raise KeyboardInterrupt
        self.queries.append(query)
        return {"dog": ABSENT, "odd": "what?"}.get(query, FOUND)


@pytest.fixture
def calls(monkeypatch, box_tracker):
    calls = Calls()

    def load_tracker(name, **settings):
        calls.loads.append(settings.get("feature_cache_bytes", "default"))
        return box_tracker

    monkeypatch.setattr("thinkseg.models.load_policy", lambda name, **_: ScriptedPolicy(calls.reply, view=VIEW))
    monkeypatch.setattr("thinkseg.models.clock_of", lambda name: "auto")
    monkeypatch.setattr("thinkseg.models.load_tracker", load_tracker)
    return calls


@pytest.fixture
def clips(tmp_path):
    """A folder of two videos."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a", "b"):
        frames = [np.full((HEIGHT, WIDTH, 3), 20 * index, np.uint8) for index in range(FRAMES)]
        write_video(folder / f"{name}.mp4", frames, FPS)
    return folder


@pytest.fixture
def segment(tmp_path):
    """Runs the command, with the folder tmp_path/out."""
    return lambda *words: app.main(["segment", *map(str, words), "--save", "csv", "--out", str(tmp_path / "out")])


@pytest.fixture
def index(tmp_path):
    """Reads index.csv: rows by id."""

    def index():
        with (tmp_path / "out" / "index.csv").open(encoding="utf-8", newline="") as file:
            return {row["id"]: row for row in csv.DictReader(file)}

    return index


def test_queries_about_a_folder_make_a_folder_each_and_a_table(calls, clips, segment, index, tmp_path, capsys):
    assert segment(clips, "--query", "the grey one", "--query", "the dog") == 0
    rows = index()
    assert list(rows) == ["a-1", "a-2", "b-1", "b-2"]
    found = {"status": "answered", "keyframe": "4", "time": "0.4", "objects": "1", "frames": "6", "seen": "6"}
    assert rows["a-1"].items() >= (found | {"query": "the grey one", "folder": "a-1", "error": ""}).items()
    assert rows["b-2"].items() >= {"status": "no target", "keyframe": "", "objects": "0", "seen": "0"}.items()
    assert sorted(path.name for path in (tmp_path / "out" / "b-2").iterdir()) == [
        *(".thinkseg", "answer.json", "masks.json", "objects.csv")
    ]
    assert json.loads((tmp_path / "out/b-2/answer.json").read_text())["video"]["name"] == "b.mp4"
    assert (calls.queries, calls.loads) == (["grey", "dog"] * 2, ["default"])
    assert "a-1  answered" in capsys.readouterr().out


def test_one_query_about_a_folder_caches_no_features(calls, clips, segment, index):
    assert segment(clips, "the grey one") == 0
    assert (list(index()), calls.loads) == (["a-1", "b-1"], [0])


def test_an_unreadable_video_and_an_unusable_reply_are_rows_and_status_1(calls, clips, segment, index, capsys):
    (clips / "ab.mp4").write_bytes(b"no video")
    assert segment(clips, "--query", "the odd one", "--query", "the grey one") == 1
    rows = index()
    statuses = [rows[name]["status"] for name in ("a-1", "a-2", "ab-1", "ab-2", "b-1", "b-2")]
    assert statuses == ["unusable", "answered", "error", "error", "unusable", "answered"]
    assert "ab.mp4" in rows["ab-1"]["error"]
    assert (rows["ab-1"]["folder"], rows["a-1"]["error"]) == ("", explained("invalid_tags"))
    assert "thinkseg: 4 of 6 questions have no answer\n" in capsys.readouterr().err


def test_a_rerun_answers_what_is_new_or_changed_or_failed(calls, clips, segment, index, tmp_path):
    (clips / "c.mp4").write_bytes(b"no video")
    assert segment(clips, "--query", "the grey one", "--query", "the dog") == 1
    calls.queries.clear()
    (clips / "c.mp4").write_bytes((clips / "a.mp4").read_bytes())
    assert segment(clips, "--query", "the red one", "--query", "the dog") == 0
    assert calls.queries == ["red", "red", "red", "dog"]
    assert index()["a-1"]["query"] == "the red one"
    calls.queries.clear()
    (tmp_path / "out/b-2/answer.json").unlink()
    (clips / "a.mp4").write_bytes((clips / "b.mp4").read_bytes() + b"\0")
    assert segment(clips, "--query", "the red one", "--query", "the dog") == 0
    assert calls.queries == ["red", "dog", "dog"]


def test_a_video_that_becomes_unreadable_loses_its_result(calls, clips, segment, index, tmp_path):
    assert segment(clips, "the grey one") == 0
    (clips / "a.mp4").write_bytes(b"no video")
    assert segment(clips, "the grey one") == 1
    assert (index()["a-1"]["status"], (tmp_path / "out/a-1").exists()) == ("error", False)


def test_ctrl_c_leaves_complete_results_and_the_next_run_resumes(calls, clips, segment, index):
    calls.stop_at = "red"
    words = (clips, "--query", "the grey one", "--query", "the red one")
    (clips / "b.mp4").unlink()
    assert segment(clips / "a.mp4", "--query", "the grey one") == 0
    assert segment(*words) == 130
    assert list(index()) == ["a-1"]
    calls.stop_at = ""
    assert segment(*words) == 0
    assert (list(index()), calls.queries) == (["a-1", "a-2"], ["grey", "red"])


def test_other_settings_need_another_folder(calls, clips, segment, tmp_path, capsys):
    assert segment(clips, "the grey one") == 0
    assert segment(clips, "the grey one", "--stride", "2") == 2
    assert "has results of other settings (window " in capsys.readouterr().err


def test_json_is_a_line_per_question_also_of_those_done_before(calls, clips, segment, capsys):
    (clips / "c.mp4").write_bytes(b"no video")
    for _ in range(2):
        assert segment(clips, "the grey one", "--json") == 1
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(line["id"], line["status"]) for line in lines] == [
            *(("a-1", "answered"), ("b-1", "answered"), ("c-1", "error"))
        ]
        assert lines[0]["keyframe"] == {"index": 4, "seconds": 0.4}
        assert "c.mp4" in lines[2]["error"]


def test_quiet_prints_errors_alone(calls, clips, segment, capsys):
    assert segment(clips, "the grey one", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert segment(clips / "a.mp4", "--query", "it", "--quiet", "--stride", "2") == 2
    assert "other settings" in capsys.readouterr().err


def test_verbose_prints_thinking_and_time(calls, clips, segment, capsys):
    assert segment(clips, "the grey one", "--verbose") == 0
    out = capsys.readouterr().out
    assert re.search(r"a-1: Grey\.\n  time: frames [0-9.]+ s, policy [0-9.]+ s", out)
    assert re.search(r"^time: .*answering [0-9.]+ s$", out, re.MULTILINE)


def test_dry_run_loads_nothing_and_leaves_nothing(calls, clips, segment, tmp_path, capsys):
    assert segment(clips, "the grey one", "--dry-run") == 0
    assert "2 of 2 questions to do" in capsys.readouterr().out
    assert (calls.loads, (tmp_path / "out").exists()) == ([], False)
    assert segment(clips / "a.mp4", "--query", "the grey one") == 0
    capsys.readouterr()
    assert segment(clips, "the grey one", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["done", "to", "1"]


def test_a_result_is_that_of_the_single_command(calls, clips, segment, tmp_path):
    assert segment(clips, "--query", "the grey one", "--query", "the dog") == 0
    alone = tmp_path / "alone"
    assert app.main(["segment", str(clips / "a.mp4"), "the grey one", "--save", "csv", "--out", str(alone)]) == 0
    for name in ("masks.json", "objects.csv"):
        assert (alone / name).read_bytes() == (tmp_path / "out/a-1" / name).read_bytes()
    one, other = (json.loads((folder / "answer.json").read_text()) for folder in (alone, tmp_path / "out/a-1"))
    one.pop("seconds"), other.pop("seconds")
    assert one == other


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--query", "it"], "VIDEO: is missing"),
        (["nowhere.mp4", "--query", "it"], "nowhere.mp4 does not exist"),
        (["CLIPS"], "QUERY: is missing; say what to segment in the videos of"),
        (
            ["CLIPS", "it", "--box", "1,2,3,4", "--keyframe", "0"],
            "are about one video; give one, without --query and --queries",
        ),
        (["CLIPS", "it", "there"], "unexpected 'there'"),
        (["CLIPS", "it", "--no-overlay"], "--no-overlay: --save names the formats"),
        (["CLIPS", "it", "--json", "--verbose"], "--verbose: not together with --json"),
        (["CLIPS", "it", "--stride", "0"], "--stride: '0' is not an integer >= 1"),
        (["CLIPS", "it", "--chain", "none"], "none"),
    ],
)
def test_bad_input_is_status_2_before_a_model_is_loaded(calls, clips, segment, words, complaint, capsys, tmp_path):
    assert segment(*[str(clips) if word == "CLIPS" else word for word in words]) == 2
    assert complaint in capsys.readouterr().err
    assert (calls.loads, (tmp_path / "out").exists()) == ([], False)


def test_a_folder_with_other_files_is_left_alone(calls, clips, segment, tmp_path, capsys):
    (tmp_path / "out" / "a-1").mkdir(parents=True)
    (tmp_path / "out" / "a-1" / "mine.txt").write_text("mine")
    assert segment(clips, "the grey one") == 2
    assert "'mine.txt', which no earlier result wrote" in capsys.readouterr().err
    assert calls.loads == []


def test_a_single_result_is_not_mixed_with_many(calls, clips, segment, capsys):
    assert segment(clips / "a.mp4", "the grey one") == 0
    assert segment(clips, "the grey one") == 2
    assert "has a result of segment: choose another folder" in capsys.readouterr().err
