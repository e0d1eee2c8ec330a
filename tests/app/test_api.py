"""The REST API with real processes and a scripted model: from an upload to downloads, cancelling, and a crash."""

import io
import json
import struct
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from appclient import AppClient, new_service
from thinkseg.app.serve import create_app
from thinkseg.rle import decode


@pytest.fixture(scope="module")
def answered(client: AppClient, video: str) -> str:
    """A question that is done."""
    question = client.ask(video=video, query="it")
    assert client.state(question) == ("done", None)
    return question


def test_upload_returns_facts_and_times(client, video):
    found = client.get(f"/api/videos/{video}").json()
    assert (found["name"], found["frames"], found["size"]) == ("clip.mp4", 40, [64, 48])
    assert found["times"][:2] == [0, pytest.approx(0.1)]
    assert video in [one["id"] for one in client.get("/api/videos").json()]


def test_upload_name_of_client_is_no_path(client, clip):
    found = client.post("/api/videos", params={"name": "../../etc/<b>"}, content=clip).json()
    assert found["name"] == "../../etc/<b>"
    stored = client.service.store.find("videos", found["id"]).folder
    assert sorted(path.name for path in stored.iterdir()) == ["entry.json", "video"]
    assert client.delete(f"/api/videos/{found['id']}").status_code == 204
    assert not stored.exists()


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 400, "the body is empty"),
        (b"hello" * 50, 422, "the file is not a readable video"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 422, "the file"),
        (b"0" * (2 << 20), 413, "1,048,576 bytes"),
    ],
)
def test_upload_of_no_video_is_refused_and_leaves_nothing(client, content, status, message):
    before = set(client.service.store._folder.glob("videos/*"))
    answer = client.post("/api/videos", content=content)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert message in answer.json()["error"]
    assert set(client.service.store._folder.glob("videos/*")) == before


def test_upload_of_long_video_is_refused(client, tmp_path):
    from thinkseg.ops.video import write_video

    write_video(tmp_path / "long.mp4", (np.zeros((16, 16, 3), np.uint8) for _ in range(70)), 10)
    answer = client.post("/api/videos", content=(tmp_path / "long.mp4").read_bytes())
    assert answer.status_code == 422
    assert "70 frames; give one of at most 60" in answer.json()["error"]


def test_frame_by_time_and_index_are_equal(client, video):
    by_time, by_index = (client.get(f"/api/videos/{video}/frame?{one}") for one in ("t=1.04", "index=10"))
    assert by_time.content == by_index.content
    picture = cv2.imdecode(np.frombuffer(by_time.content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (48, 64, 3)
    assert abs(picture.mean() - 50) < 5
    assert client.get(f"/api/videos/{video}/frame?index=40").status_code == 404


def test_frames_block_has_jpegs_with_their_lengths(client, video):
    data = client.get(f"/api/videos/{video}/frames?frame=39").content
    lengths = []
    while data:
        (length,) = struct.unpack("<I", data[:4])
        lengths.append(length)
        assert data[4:6] == b"\xff\xd8"
        data = data[4 + length :]
    assert len(lengths) == 8  # frames 32 to 39


def test_question_events_tell_what_happens_in_order(client, answered):
    events = client.events(answered)
    types = [event["type"] for event in events]
    assert [one for one in types if one in ("turn", "text", "answer", "state")] == ["turn", "text", "answer", "state"]
    text = next(event for event in events if event["type"] == "text")
    assert text["text"].startswith("<think>It moves.")
    answer = next(event for event in events if event["type"] == "answer")
    assert (answer["keyframe"], answer["no_target"], answer["failure"]) == (0, False, None)


def test_question_has_summary_and_masks(client, answered):
    found = client.get(f"/api/questions/{answered}").json()
    assert (found["state"], found["query"], found["chain"]) == ("done", "it", "veason")
    assert found["summary"]["thinking"] == "It moves."
    assert found["summary"]["objects"] == [{"seen": [1] * 40}]
    (box,) = found["summary"]["boxes"]
    block = client.get(f"/api/questions/{answered}/masks?frame=33").json()
    assert (block["start"], len(block["objects"][0])) == (32, 8)
    mask = decode({"size": block["size"], "counts": block["objects"][0][1]})
    x1, y1, x2, y2 = (int(side) for side in box)
    assert mask[y1:y2, x1:x2].all()
    assert mask.sum() == (y2 - y1) * (x2 - x1)


@pytest.mark.parametrize("name", ["coco", "csv", "labels", "overlay", "result"])
def test_files_are_in_formats_of_convert(client, answered, name):
    answer = client.get(f"/api/questions/{answered}/files/{name}")
    assert answer.status_code == 200
    assert 'filename="clip-' in answer.headers["content-disposition"]
    if name == "coco":
        assert len(answer.json()["annotations"]) == 40
        assert answer.json()["info"]["description"] == "clip"
    if name == "labels":
        assert len(zipfile.ZipFile(io.BytesIO(answer.content)).namelist()) >= 40
    if name == "result":
        assert "result/answer.json" in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()


def test_ask_device_that_is_missing_fails_in_one_line(client, video):
    assert client.get("/api/models").json()["devices"][-1] == "cpu"
    assert client.state(client.ask(video=video, query="it", device="cpu")) == ("done", None)
    state, error = client.state(client.ask(video=video, query="it", device="cuda:77"))
    assert state == "failed"
    assert error.startswith("device 'cuda:77': PyTorch cannot use it here")


def test_ask_prompts_by_hand_then_correction(client, video):
    question = client.ask(video=video, prompts=[{"time": 0.5, "box": [1, 2, 11, 12]}])
    assert client.state(question) == ("done", None)
    new = {"frame": 3, "object": 2, "points": [[5, 5]], "labels": [1]}
    corrected = client.ask(result=question, prompts=[new])
    assert client.state(corrected) == ("done", None)
    found = client.get(f"/api/questions/{corrected}").json()
    assert [(one["frame"], one["object"], one["box"]) for one in found["summary"]["prompts"]] == [
        (5, 1, [1, 2, 11, 12]),
        (3, 2, None),
    ]
    assert (found["result"], len(found["summary"]["objects"])) == (question, 2)


def test_box_outside_is_error_of_question_and_clipped_box_a_note(client, video):
    outside = client.ask(video=video, prompts=[{"frame": 0, "box": [100, 100, 120, 120]}])
    state, error = client.state(outside)
    assert state == "failed"
    assert "outside the frame of 64x48" in error
    clipped = client.ask(video=video, prompts=[{"frame": 0, "box": [40, 40, 120, 120]}])
    notes = [event["text"] for event in client.events(clipped) if event["type"] == "note"]
    assert len(notes) == 1
    assert "is clipped" in notes[0]


def test_reply_that_cannot_be_used_is_done_with_failure(client, video):
    question = client.ask(video=video, query="nonsense")
    assert client.state(question) == ("done", None)
    summary = client.get(f"/api/questions/{question}").json()["summary"]
    assert "check-policy" in summary["failure"]
    assert summary["replies"] == ["nonsense"]
    assert client.get(f"/api/questions/{question}/files/coco").status_code == 409


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 422),
        ({"video": 32 * "0", "query": "it"}, 404),
        ({"video": "../x", "query": "it"}, 422),
        ({"result": 32 * "0", "drop": [1]}, 404),
        ({"query": "it"}, 422),
        ({"video": 32 * "0", "query": " "}, 422),
        ({"video": 32 * "0", "query": "it", "preset": "../etc"}, 404),
        ({"video": 32 * "0", "prompts": [{"box": [1, 2, 3, 4]}]}, 422),
        ({"video": 32 * "0", "prompts": [{"frame": 1, "points": [[1, 2]], "labels": [1, 0]}]}, 422),
    ],
)
def test_ask_invalid_is_refused_in_one_line(client, asked, status):
    answer = client.post("/api/questions", json=asked)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_cancel_queued_and_running_questions_keeps_process(client, video):
    running, waiting = (client.ask(video=video, query="it takes long") for _ in range(2))
    assert client.get(f"/api/questions/{waiting}").json()["position"] == 1
    assert client.delete(f"/api/questions/{waiting}").status_code == 204
    assert client.state(waiting) == ("cancelled", None)
    assert client.delete(f"/api/videos/{video}").status_code == 409
    wait_until(lambda: client.get(f"/api/questions/{running}").json()["state"] == "running")
    process = client.service._worker.pid
    assert client.delete(f"/api/questions/{running}").status_code == 204
    assert client.state(running) == ("cancelled", None)
    assert client.state(client.ask(video=video, query="it")) == ("done", None)
    assert client.service._worker.pid == process


def wait_until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_cancel_while_prompt_is_read_replaces_process(client, video, monkeypatch):
    monkeypatch.setattr("thinkseg.app.processes.CANCEL_SECONDS", 0.2)
    hanging = client.ask(video=video, query="it hangs")
    wait_until(lambda: client.get(f"/api/questions/{hanging}").json()["state"] == "running")
    process = client.service._worker.pid
    client.delete(f"/api/questions/{hanging}")
    assert client.state(hanging) == ("cancelled", None)
    assert client.state(client.ask(video=video, query="it")) == ("done", None)
    assert client.service._worker.pid != process


def test_process_that_dies_fails_its_question_alone(client, video):
    dying, next_one = client.ask(video=video, query="it dies"), client.ask(video=video, query="it")
    state, error = client.state(dying)
    assert state == "failed"
    assert "signal 9, as when memory is exhausted" in error
    assert client.state(next_one) == ("done", None)


def test_full_queue_is_refused(client, video):
    asked = [client.ask(video=video, query="it takes long")]
    wait_until(lambda: client.get(f"/api/questions/{asked[0]}").json()["state"] == "running")
    asked += [client.ask(video=video, query="it takes long") for _ in range(3)]
    answer = client.post("/api/questions", json={"video": video, "query": "it"})
    assert (answer.status_code, answer.json()) == (503, {"error": "3 questions are waiting; ask later"})
    for question in reversed(asked):
        client.delete(f"/api/questions/{question}")
    assert {client.state(question)[0] for question in asked} == {"cancelled"}


def test_models_are_those_in_use(client, answered):
    found = client.get("/api/models").json()
    assert found["models"] == ["scripted", "filler"]
    assert found["device"] == "cpu"
    assert found["memory"]["process"] > 1 << 20
    assert found["limits"]["max_frames"] == 60


def test_restart_keeps_history_and_fails_what_was_interrupted(client, answered, tmp_path):
    import shutil

    store = client.service.store
    shutil.copytree(store._folder, tmp_path / "data")
    entry = store.find("questions", answered)
    (tmp_path / "data" / "questions" / ("a" * 32)).mkdir()
    interrupted = tmp_path / "data" / "questions" / ("b" * 32)
    interrupted.mkdir()
    facts = {**entry.facts, "id": interrupted.name, "state": "running"}
    (interrupted / "entry.json").write_text(json.dumps(facts), "utf-8")
    with TestClient(create_app(new_service(tmp_path / "data")), base_url="http://localhost") as again:
        assert again.get(f"/api/questions/{answered}").json() == client.get(f"/api/questions/{answered}").json()
        events = again.get(f"/api/questions/{answered}/events").text
        assert '"type": "answer"' in events
        found = again.get(f"/api/questions/{interrupted.name}").json()
        assert (found["state"], found["error"]) == ("failed", "the app was stopped; ask again")
    assert not (tmp_path / "data" / "questions" / ("a" * 32)).exists()


def test_page_and_its_files_come_from_here_alone(client):
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    for name in ("app.js", "app.css", "report.css", "icon.svg"):
        assert client.get(f"/static/{name}").status_code == 200
    static = Path(create_app.__code__.co_filename).parent / "static"
    assert not [path for path in static.iterdir() if "https://" in path.read_text("utf-8")]
