"""The reward service over HTTP, asked by the kits: equal to rewards in process, and never a score for a failure."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import thinkseg.export
from thinkseg.chains import CHAINS
from thinkseg.chains.frames import sample_indices, select_frames
from thinkseg.cli import app
from thinkseg.data import open_benchmark
from thinkseg.errors import ModelError, SettingsError
from thinkseg.export.samples import ExportSettings, ground_truth
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.models.trackers.sam2 import Sam2Tracker
from thinkseg.ops.masks import from_stacks
from thinkseg.pipeline import run_chains
from thinkseg.rewards import Prompt
from thinkseg.rewards.groups import RolloutScore, frames_shown, score_group
from thinkseg.server.app import MAX_BODY_BYTES, create_app
from thinkseg.server.questions import LoadedPrompt, Questions, read_specs
from thinkseg.server.requests import BlankFrames, ScoreRequest
from thinkseg.server.scoring import RewardService, _Group
from thinkseg.types import Frames, Masklets, Outcome, Tracker, View
from thinkseg.web import bodies
from thinkseg.web.serve import bind, read_token, url_of
from tinytrackers import save_sam2

TOKEN = "0123456789abcdef"
VIEW = View(4, (112, 112), closeup_wh=(224, 224))
WEIGHTS = {"format": 1.0, "keyframe": 1.0, "boxes": 0.5, "consistency": 1.0, "format_graded": 1.0, "box_hit": 1.0}
ANSWER = '<think>t</think><answer>{{"keyframe_timestamp": {}, "bbox_2d_list": {}}}</answer>'
CHOICE = '<think>t</think><answer>[{{"frame_idx": {}, "object description": "it"}}]</answer>'


@pytest.fixture(scope="module")
def client() -> Any:
    """thinkseg_client.py as a trainer imports it."""
    sys.path.insert(0, str(Path(thinkseg.export.__file__).parent / "kit"))
    import thinkseg_client

    yield thinkseg_client
    sys.path.pop(0)


@pytest.fixture(scope="module")
def rewards(client: Any) -> Any:
    import thinkseg_rewards

    return thinkseg_rewards


@pytest.fixture
def serving(client: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Starts a server about shapes in a thread, and sets the environment of the kits."""
    import uvicorn

    @contextmanager
    def serve(tracker: Tracker, token: str | None = TOKEN) -> Iterator[str]:
        service = RewardService(Questions(read_specs(["shapes:train"])), tracker, workers=2, max_prompts=3)
        config = uvicorn.Config(create_app(service, token), log_level="critical")
        with bind("127.0.0.1", 0, token) as bound:
            bound.listen()
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
            thread.start()
            monkeypatch.setenv("THINKSEG_REWARD_URL", url_of(bound))
            monkeypatch.setenv("THINKSEG_TOKEN", TOKEN)
            try:
                yield url_of(bound)
            finally:
                server.should_exit = True
                thread.join()

    return serve


class ShiftingTracker:
    """Fills each box, one pixel further per frame."""

    name = "shifting"

    def track(self, video: Frames, keyframe: int, boxes: np.ndarray, progress: Any = None) -> Masklets:
        width, height = video.size_wh
        masks = np.zeros((len(boxes), len(video), height, width), bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.astype(int), strict=True):
            for frame in range(len(video)):
                mask[frame, y1:y2, x1 + frame : x2 + frame] = True
        return from_stacks(masks)


class BrokenTracker:
    name = "broken"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def track(self, *_: Any, **__: Any) -> Any:
        raise self.error


def questions(chain: str, count: int) -> list[tuple[Prompt, dict[str, Any], list[list[str]]]]:
    """Prompts of shapes with their ground truth in an export, and replies: true, wrong, equal, abstaining, invalid."""
    benchmark, made = open_benchmark("shapes", split="train", limit=count), []
    settings = ExportSettings(chain, VIEW, None, for_sft=False, for_rl=True)  # type: ignore[arg-type]
    for expression in benchmark.expressions:
        sample = benchmark.sample(expression)
        prompt = Prompt(sample, sample_indices(len(sample.video), VIEW.num_frames))
        shown = select_frames(sample.video, VIEW, prompt.frame_indices)
        truth = json.loads(json.dumps(ground_truth(benchmark.key, prompt, shown, settings)))
        made.append((prompt, truth, replies_of(truth, chain)))
    return made


def replies_of(truth: dict[str, Any], chain: str) -> list[list[str]]:
    best = int(np.argmax(truth["areas"]))
    scale = [shown / source for shown, source in zip(truth["frame_wh"] * 2, truth["source_wh"] * 2, strict=True)]
    found = [[side * by for side, by in zip(box, scale, strict=True)] for box in truth["boxes"][best]]
    wrong = [[1, 1, 90.5, 60.25]]
    if chain == "veason":
        label = truth["labels"][best]
        return [[ANSWER.format(label, boxes)] for boxes in (found, wrong, wrong)] + [["null"], ["<think>"]]
    second = [json.dumps([{"bbox_2d": box} for box in boxes]) for boxes in (found, wrong, [])]
    return [[CHOICE.format(best), text] for text in second] + [["<think></think><answer>[]</answer>"], ["{", "unread"]]


@pytest.mark.parametrize("chain", ["veason", "revseg"])
def test_scores_of_concurrent_requests_equal_those_in_process(client: Any, serving: Any, chain: str) -> None:
    made = questions(chain, 4)
    asked = [(replies, truth, WEIGHTS) for _, truth, all_replies in made for replies in all_replies]
    with serving(ShiftingTracker()):
        scores = client.score_all(asked)
    tracker = ShiftingTracker()
    assert scores == [score for prompt, _, replies in made for score in in_process(chain, prompt, replies, tracker)]
    assert len({total for total, _ in scores}) > 4


def in_process(
    chain: str, prompt: Prompt, all_replies: list[list[str]], tracker: Tracker
) -> list[tuple[float, Mapping[str, float | None]]]:
    outcomes = outcomes_of(chain, prompt, all_replies)
    return [(one.total, one.terms) for one in score_group(prompt, outcomes, WEIGHTS, tracker)]


def outcomes_of(chain: str, prompt: Prompt, all_replies: list[list[str]]) -> list[Outcome]:
    return [
        run_chains([CHAINS[chain](prompt.sample, VIEW, prompt.frame_indices)], ScriptedPolicy(replies))[0]  # type: ignore[call-arg]
        for replies in all_replies
    ]


def test_sam2_scores_of_single_requests_share_features_and_equal_those_in_process(
    client: Any, serving: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Sam2Tracker.load(save_sam2(tmp_path / "sam2"), device="cpu", feature_cache_videos=2)
    encode, encoded = type(tracker.model).get_image_features, []
    monkeypatch.setattr(
        type(tracker.model), "get_image_features", lambda *given, **more: encoded.append(1) or encode(*given, **more)
    )
    made = questions("veason", 2)
    with serving(tracker):
        turns = [
            [client.score(replies[n], truth, WEIGHTS) for _, truth, replies in made] for n in range(len(made[0][2]))
        ]
    assert len(encoded) == 2 * VIEW.num_frames
    without_cache = Sam2Tracker(tracker.model, feature_cache_bytes=0)
    expected = [in_process("veason", prompt, replies, without_cache) for prompt, _, replies in made]
    assert [list(scores) for scores in zip(*turns, strict=True)] == expected


def test_replies_that_arrive_while_all_threads_work_are_tracked_together() -> None:
    made, tracker = questions("veason", 2), GatedTracker()
    pool, free = ThreadPoolExecutor(1), asyncio.Semaphore(1)

    def group(prompt: Prompt) -> _Group:
        return _Group(lambda: LoadedPrompt(prompt, frames_shown(prompt)), WEIGHTS, tracker, pool, free)

    async def scores() -> list[RolloutScore]:
        (busy, other), tasks = [group(prompt) for prompt, _, _ in made], []
        for one, number, reply in ((busy, 0, 0), (other, 1, 0), (other, 1, 1)):
            tasks.append(asyncio.create_task(one.score(outcomes_of("veason", *made[number][::2])[reply])))
            await asyncio.sleep(0.01)
        tracker.gate.set()
        return await asyncio.gather(*tasks)

    assert all(score.total for score in asyncio.run(scores()))
    assert tracker.num_calls == 2


class GatedTracker(ShiftingTracker):
    """Waits in each call for its gate."""

    independent = True

    def __init__(self) -> None:
        self.gate, self.num_calls = threading.Event(), 0

    def track(self, video: Frames, keyframe: int, boxes: np.ndarray, progress: Any = None) -> Masklets:
        self.num_calls += 1
        self.gate.wait(20)
        return super().track(video, keyframe, boxes)


def test_kits_of_trainers_get_consistency_from_the_server(rewards: Any, serving: Any) -> None:
    ((_, truth, replies),) = questions("veason", 1)
    text = json.dumps(truth)
    with serving(ShiftingTracker()):
        import thinkseg_trl

        (row,) = rewards.compute_scores([{"response": replies[1][0], "ground_truth": text}])
        score = rewards.compute_score("shapes", replies[1][0], text)
        terms = thinkseg_trl.consistency_reward([replies[1][0]], [text])
        verl = rewards.compute_score("shapes", replies[1][0], text, weights={"boxes": 2.0})
    assert row.pop("overall") == score.pop("score")
    assert row == score
    assert set(score) == {"format", "keyframe", "boxes", "consistency"}
    assert terms == [score["consistency"]]
    assert verl == {"score": 2 * score["boxes"], "boxes": score["boxes"]}
    assert 0 < score["boxes"] < 1


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"id": "train-000000/9"}, "status 404: id: no question 'train-000000/9' with ground truth in shapes:train"),
        ({"id": "x"}, "status 404: id: no question 'x'"),
        (
            {"dataset": "revos:train"},
            "status 404: dataset: 'revos:train' is not served; it must be one of shapes:train",
        ),
        ({"indices": [0, 10, 20, 4000]}, "status 422: indices: frame 4000 of 'train-000000/0' has no ground truth"),
        ({"indices": [0, 10, 20, 10**30]}, "status 422: indices.3: Input should be less than or equal to 10000000"),
        ({"indices": [5, 4, 3, 2]}, "status 422: body: Value error, indices must be strictly ascending"),
        ({"labels": ["a", "b", "c", "d"]}, "status 422: body: Value error, could not convert"),
        ({"labels": ["0.0"]}, "status 422: body: Value error, zip"),
        ({"labels": ["00.0", "0.1", "0.2", "0.3"]}, "labels: must be the times"),
        ({"labels": ["0.1", "0.1", "0.2", "0.3"]}, "status 422: body: Value error, "),
        ({"source_wh": [9, 9]}, "status 422: source_wh: the video of 'train-000000/0' is 224x224"),
        ({"frame_wh": [0, 9]}, "status 422: frame_wh.0: Input should be greater than or equal to 1"),
        ({"chain": "mine"}, "status 422: chain: Input should be 'veason' or 'revseg'"),
        ({"id": 7}, "status 422: id: Input should be a valid string"),
    ],
)
def test_request_unanswerable_is_one_line(server: str, client: Any, change: dict[str, Any], line: str) -> None:
    ((_, truth, replies),) = questions("veason", 1)
    with pytest.raises(client.RewardServerError) as raised:
        client.score(replies[1], {**truth, **change}, WEIGHTS)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)
    assert client.score(replies[1], truth, WEIGHTS)[0] > 0


def test_blank_frames_without_the_first_have_labels_of_the_video() -> None:
    frames, view = BlankFrames((9, 9), (9, 9), {5: 0.4, 10: 0.8}), View(2, (9, 9), label_unit="seconds")
    assert select_frames(frames, view, [5, 10]).labels == ("0.4", "0.8")


@pytest.fixture
def server(serving: Any) -> Iterator[str]:
    with serving(ShiftingTracker()) as url:
        yield url


def test_check_data_set_that_is_not_scored_is_one_line(server: str, client: Any) -> None:
    assert client.check("shapes:train")["tracker"] == "shifting"
    with pytest.raises(client.RewardServerError, match="scores shapes:train, not revos:train; start thinkseg rew"):
        client.check("shapes:train", "revos:train")


def test_weights_and_replies_invalid_are_refused(server: str, client: Any) -> None:
    ((_, truth, _),) = questions("revseg", 1)
    for replies, weights, line in (
        ([CHOICE.format(0)], WEIGHTS, "replies: the dialogue goes on after 1"),
        ([], WEIGHTS, "replies: List should have at least 1 item"),
        (["x"], {"luck": 1.0}, "unknown reward 'luck'"),
        (["x"], {"format": float("nan")}, "weight of reward 'format' is nan"),
        (["x"], {}, "no reward has a weight > 0"),
    ):
        with pytest.raises(client.RewardServerError, match=line):
            client.score(replies, truth, weights)
    assert client.score(["x \ud800"], truth, {"format": 1.0}) == (0.0, {"format": 0.0})


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{}", 401),
        ({"Authorization": "Bearer 0123456789abcdee"}, b"{}", 401),
        ({"Authorization": f"Bearer {TOKEN}", "Content-Type": "text/plain"}, b"{}", 415),
        ({"Authorization": f"Bearer {TOKEN}", "Origin": "http://127.0.0.1"}, b"{}", 403),
        ({"Authorization": f"Bearer {TOKEN}", "Content-Length": str(MAX_BODY_BYTES + 1)}, b"", 413),
        ({"Authorization": f"Bearer {TOKEN}", "Transfer-Encoding": "chunked"}, b"0\r\n\r\n", 411),
        ({"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}, b"[" * 100_000, 422),
        ({"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}, b"\xff", 422),
    ],
)
def test_request_refused_by_its_form(server: str, headers: dict[str, str], body: bytes, status: int) -> None:
    host, port = server.removeprefix("http://").split(":")
    sent = {"Host": host, "Content-Length": str(len(body)), "Connection": "close", **headers}
    if "Transfer-Encoding" in sent:
        del sent["Content-Length"]
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"POST /score HTTP/1.1\r\n{head}\r\n".encode() + body)
        response = connection.makefile("rb").read()
    assert int(response.split()[1]) in (status, 400 if status == 422 else status)
    assert list(json.loads(response.partition(b"\r\n\r\n")[2])) == ["error"]
    assert TOKEN.encode() not in response


def status_of(url: str, request: str) -> int:
    """The status of the response to a request that is sent as it is."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request.encode())
        return int(connection.makefile("rb").readline().split()[1])


@pytest.mark.parametrize(("host", "status"), [("localhost", 200), ("[::1]:8787", 200), ("rebound.example", 403)])
def test_server_without_token_refuses_host_that_resolves_to_this_machine(serving: Any, host: str, status: int) -> None:
    with serving(ShiftingTracker(), token=None) as url:
        assert status_of(url, f"GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n") == status


def test_server_refuses_body_that_stops(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "IDLE_SECONDS", 0.05)
    head = f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nContent-Length: 9"
    assert status_of(server, f"POST /score HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n{{") in (400, 408)


@pytest.mark.parametrize(
    ("error", "line"),
    [(ModelError("sam2: out of memory"), "sam2: out of memory"), (ValueError("a bug"), "ValueError: a bug")],
)
def test_tracker_that_fails_is_an_error_for_every_reply_and_no_score(
    client: Any, serving: Any, error: Exception, line: str
) -> None:
    ((_, truth, replies),) = questions("veason", 1)
    with serving(BrokenTracker(error)), ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(client.score, replies[number], truth, WEIGHTS) for number in (0, 1, 2)]
        for future in futures:
            with pytest.raises(client.RewardServerError, match=f"status 500: {line}"):
                future.result()
        assert client.score(["invalid"], truth, WEIGHTS)[0] == 0


def test_server_killed_during_a_request_is_an_error(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.3)
    ((_, truth, replies),) = questions("veason", 1)
    with bind("127.0.0.1", 0, None) as bound, ThreadPoolExecutor(1) as pool:
        bound.listen()
        monkeypatch.setenv("THINKSEG_REWARD_URL", url_of(bound))
        future = pool.submit(client.score_all, [(one, truth, WEIGHTS) for one in replies])
        connection, _ = bound.accept()
        connection.recv(100)
        bound.close()
        connection.close()
        with pytest.raises(client.RewardServerError, match="no answer"):
            future.result()


def test_request_cancelled_by_the_end_of_the_server_may_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    async def score(self: RewardService, asked: Any) -> Any:
        raise asyncio.CancelledError

    monkeypatch.setattr(RewardService, "score", score)
    ((_, truth, replies),) = questions("veason", 1)
    asked = {name: truth[name] for name in truth if name in ScoreRequest.model_fields}
    service = RewardService(Questions(read_specs(["shapes:train"])), ShiftingTracker(), workers=1, max_prompts=1)
    with TestClient(create_app(service, None), base_url="http://localhost") as client:
        answer = client.post("/score", json={**asked, "replies": replies[0], "weights": WEIGHTS})
    assert (answer.status_code, list(answer.json())) == (503, ["error"])


def test_server_down_is_one_line(client: Any, rewards: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("THINKSEG_REWARD_URL", url_of(free))
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.3)
    ((_, truth, replies),) = questions("veason", 1)
    with pytest.raises(client.RewardServerError, match=r"http://127.*: no answer .*start thinkseg reward-s"):
        rewards.compute_score("shapes", replies[0][0], json.dumps(truth))
    monkeypatch.setenv("THINKSEG_REWARD_URL", "127.0.0.1:8787")
    with pytest.raises(client.RewardServerError, match=r"^THINKSEG_REWARD_URL: '127.0.0.1:8787' is not an address"):
        client.check()
    monkeypatch.setenv("THINKSEG_REWARD_URL", "http://127.0.0.1:8787")
    monkeypatch.setenv("THINKSEG_TOKEN", "two words")
    with pytest.raises(client.RewardServerError, match=r"^THINKSEG_TOKEN: the token has spaces") as raised:
        client.check()
    assert "words" not in str(raised.value)
    with pytest.raises(client.RewardServerError, match="repeat the export"):
        client.score(["x"], {"chain": "veason"}, WEIGHTS)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (["revos"], "'revos' is not a data set; give NAME:SPLIT=FOLDER"),
        (["other:train=x"], "is not a data set"),
        (["revos:train"], "'revos:train' needs its folder; give revos:train=FOLDER"),
        (["shapes:train=x"], "'shapes:train=x' has no folder; give shapes:train"),
        (["shapes:train", "shapes:train"], "shapes:train is given 2 times"),
    ],
)
def test_data_invalid_is_one_line(data: list[str], line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        read_specs(data)


def test_address_and_token_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("THINKSEG_TOKEN", raising=False)
    assert read_token(None) is None
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0 can be reached by other machines; set a token"):
        bind("0.0.0.0", 0, None)
    with bind("127.0.0.1", 0, None) as taken:
        taken.listen()
        with pytest.raises(SettingsError, match="in use"):
            bind("127.0.0.1", taken.getsockname()[1], None)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert read_token(tmp_path / "token") == TOKEN
    monkeypatch.setenv("THINKSEG_TOKEN", "secret")
    with pytest.raises(SettingsError, match="at least 16") as raised:
        read_token(None)
    assert "secret" not in str(raised.value)
    with pytest.raises(SettingsError, match="No such file"):
        read_token(tmp_path / "none")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--port", "70000"], "--port: '70000' is too large; give at most 65535"),
        (["--host", "0.0.0.0"], "--host: 0.0.0.0 can be reached by other machines"),
        (["--tracker", "none"], "unknown tracker 'none'"),
        (["revos:train=none"], "none/meta_expressions_train_.json: cannot be read"),
    ],
)
def test_command_that_cannot_serve_is_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THINKSEG_TOKEN", raising=False)
    assert app.main(["reward-server", "shapes:train", *arguments]) == 2
    (printed,) = capsys.readouterr().err.splitlines()
    assert printed.startswith(f"thinkseg: {line}")


def test_command_serves_until_sigterm(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "thinkseg", "reward-server", "shapes:train", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout
        line = running.stdout.readline()
        monkeypatch.setenv("THINKSEG_REWARD_URL", line.split()[-1])
        status = client.check()
        running.terminate()
        _, errors = running.communicate(timeout=20)
    assert (status["tracker"], status["datasets"]) == ("flow", {"shapes:train": None})
    assert (running.returncode, len(errors.splitlines())) == (143, 1)
