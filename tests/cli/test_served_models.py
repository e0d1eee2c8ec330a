"""Commands with a served model, over real HTTP."""

import json
import sys

import numpy as np
import pytest

from scriptedserver import ScriptedServer, busy, failed, said
from thinkseg.cli import app
from thinkseg.models.policies.client import KEY, OPENAI_KEY
from thinkseg.ops.video import write_video

SECRET = "sk-secret-0123456789"
FOUND = '<think>There.</think><answer>{"keyframe_timestamp": 0.0, "bbox_2d_list": [[100, 100, 600, 600]]}</answer>'
ANSWER = FOUND.partition("</think>")[2]
VIEW = ["--frames", "2", "--frame-size", "64x64"]


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    monkeypatch.delenv(OPENAI_KEY, raising=False)


@pytest.fixture
def clip(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (6, 48, 48, 3), np.uint8)
    write_video(tmp_path / "clip.mp4", frames, 6.0)
    return str(tmp_path / "clip.mp4")


@pytest.fixture(autouse=True)
def _tracker(monkeypatch, box_tracker):
    monkeypatch.setattr("thinkseg.models.load_tracker", lambda *_, **__: box_tracker)


def all_text(folder):
    return "".join(path.read_text("utf-8", "replace") for path in folder.rglob("*") if path.is_file())


def test_segment(clip, tmp_path, capsys):
    out = tmp_path / "out"
    with ScriptedServer([busy(0.01), said(FOUND)]) as server:
        name = f"openai:qwen3-vl@{server.base_url}"
        assert app.main(["segment", clip, "it", "--policy", name, *VIEW, "--out", str(out)]) == 0
        assert server.headers[0]["authorization"] == f"Bearer {SECRET}"
    answer = json.loads((out / "answer.json").read_text())
    assert answer["settings"]["policy"] == name
    assert np.allclose(answer["boxes"], [[4.8, 4.8, 28.8, 28.8]])
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 3}
    assert 0 < answer["seconds"]["latency"] <= answer["seconds"]["policy"]
    assert SECRET not in all_text(out) + "".join(capsys.readouterr())


def test_a_refusal_is_an_answer_that_cannot_be_used(clip, tmp_path, capsys):
    with ScriptedServer([said(None, refusal="I would rather not.")]) as server:
        policy = f"openai:qwen3-vl@{server.base_url}"
        assert app.main(["segment", clip, "it", "--policy", policy, *VIEW, "--out", str(tmp_path / "out")]) == 1
    answer = json.loads((tmp_path / "out" / "answer.json").read_text())
    assert (answer["failure"], answer["replies"]) == ("invalid_tags", ["I would rather not."])


@pytest.mark.parametrize(
    "reply",
    [
        said(f"There.\n</think>\n\n{ANSWER}"),
        said(ANSWER, reasoning_content="There."),
        said(ANSWER, reasoning="There.", reasoning_details=[{"type": "reasoning.text", "text": "There."}]),
        said(FOUND, reasoning_content="There."),
    ],
    ids=["without the opening tag", "reasoning_content", "reasoning", "both"],
)
def test_segment_thinking_model_is_read(clip, tmp_path, reply):
    with ScriptedServer([reply]) as server:
        policy = f"openai:Qwen/Qwen3-VL-8B-Thinking@{server.base_url}"
        assert app.main(["segment", clip, "it", "--policy", policy, *VIEW, "--out", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "answer.json").read_text())["thinking"] == "There."


def test_segment_truncated_thinking_is_a_failure_with_the_thinking(clip, tmp_path, capsys):
    with ScriptedServer([said(None, "length", reasoning="There is")]) as server:
        policy = f"openai:Qwen/Qwen3-VL-8B-Thinking@{server.base_url}"
        assert app.main(["segment", clip, "it", "--policy", policy, *VIEW, "--out", str(tmp_path / "out")]) == 1
    answer = json.loads((tmp_path / "out" / "answer.json").read_text())
    assert (answer["failure"], answer["replies"]) == ("truncated", ["<think>There is"])


def test_segment_two_turns_with_thinking_in_both(clip, tmp_path):
    choice = '<answer>[{"frame_idx": 0, "object description": "an <|im_end|> or <image>"}]</answer>'
    boxes = '[{"bbox_2d": [100, 100, 600, 600]}]'
    with ScriptedServer([said(choice, reasoning="There."), said(boxes, reasoning="Here.")]) as server:
        run = ["segment", clip, "it", "--chain", "revseg", "--policy", f"openai:qwen3-vl@{server.base_url}", *VIEW]
        assert app.main([*run, "--out", str(tmp_path / "out")]) == 0
        sent = json.dumps(server.asked[1])
    answer = json.loads((tmp_path / "out" / "answer.json").read_text())
    assert answer["replies"] == [f"<think>There.</think>{choice}", f"<think>Here.</think>{boxes}"]
    assert "<|im_end|>" not in sent
    assert "<image>" not in sent
    assert sent.count("an < |im_end|> or < image>") == 2


def test_key_in_a_reply_is_in_no_file(clip, tmp_path, capsys):
    with ScriptedServer([said(FOUND.replace("There.", f"I got {SECRET}."))]) as server:
        policy = f"openai:qwen3-vl@{server.base_url}"
        assert app.main(["segment", clip, "it", "--policy", policy, *VIEW, "--out", str(tmp_path / "out")]) == 0
    text = all_text(tmp_path / "out") + "".join(capsys.readouterr())
    assert "I got (key)." in text
    assert SECRET not in text


def test_settings_reach_the_server(clip, tmp_path):
    options = ["--coordinates", "pixels", "--jpeg-quality", "80", "--max-tokens", "77", "--temperature", "0.5"]
    with ScriptedServer([said(FOUND)]) as server:
        policy = f"openai:some-model@{server.base_url}"
        app.main(["segment", clip, "it", "--policy", policy, *VIEW, *options, "--out", str(tmp_path / "out")])
        (body,) = server.asked
    answer = json.loads((tmp_path / "out" / "answer.json").read_text())
    assert (body["max_tokens"], body["temperature"]) == (77, 0.5)
    assert "pixels" in body["messages"][0]["content"][0]["text"]
    assert body["messages"][0]["content"][2]["image_url"]["url"].startswith("data:image/jpeg")
    assert (answer["settings"]["jpeg_quality"], answer["settings"]["coordinates"]) == (80, "pixels")


def test_evaluate_server_lost_resumes(tmp_path, capsys):
    run = ["evaluate", "shapes", "--limit", "4", "--batch-size", "2", *VIEW, "--out", str(tmp_path / "scores")]
    script = [said(FOUND), said(FOUND), failed(401, f"your key {SECRET} has run out"), said(FOUND)]
    script += [said(FOUND), said(FOUND)]
    with ScriptedServer(script) as server:
        policy = ["--policy", f"openai:qwen3-vl@{server.base_url}"]
        assert app.main([*run, *policy]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "status 401: your key (key) has run out" in line
        rows = (tmp_path / "scores" / "results.jsonl").read_text().splitlines()
        assert len(rows) == 2
        assert app.main([*run, *policy]) == 0
        # The fourth question may have been on its way when the third one failed.
        assert len(server.asked) in (5, 6)
    rows = [json.loads(row) for row in (tmp_path / "scores" / "results.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    assert all(row["seconds"]["latency"] > 0 for row in rows)
    assert [row["usage"] for row in rows] == [{"prompt_tokens": 7, "completion_tokens": 3}] * 4
    assert SECRET not in all_text(tmp_path / "scores")


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ("openai:gpt-x", "openai:MODEL@BASE_URL"),
        ("openai:gpt-x@http://me:hidden@localhost/v1", KEY),
        ("openai:gpt-x@http://localhost:99999/v1", "localhost:99999"),
    ],
)
def test_names_that_are_none_are_one_line(clip, tmp_path, capsys, policy, named):
    assert app.main(["segment", clip, "it", "--policy", policy, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert "hidden" not in line


def test_the_package_that_asks_is_named_where_it_is_missing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "openai", None)
    assert app.main(["check-policy", "openai:qwen3-vl@http://127.0.0.1:9/v1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'thinkseg[endpoint]'" in line
