"""The promises of docs/security.md: each names tests that exist. Those that concern the package as a whole are here."""

import ast
import logging
import re
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import thinkseg
from guides import ROOT, text_of
from scriptedserver import ScriptedServer, failed, said
from thinkseg.cli import app
from thinkseg.models import load_policy
from thinkseg.models.policies.client import KEY
from thinkseg.ops.video import write_video
from thinkseg.web.serve import TOKEN

PACKAGE = ROOT / "src" / "thinkseg"
PROMISES = re.findall(r"^\| (.+?) \| (\[`test_.+) \|$", text_of("security.md"), re.MULTILINE)
CANARY, KEY_CANARY = "canary-token-0123456789", "canary-key-0123456789"
FOUND = f'<think>{KEY_CANARY}</think><answer>{{"keyframe_timestamp": 0, "bbox_2d_list": [[9, 9, 600, 600]]}}</answer>'


@cache
def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("promise", "links"), PROMISES, ids=[promise[:40] for promise, _ in PROMISES])
def test_promise_names_tests_that_exist(promise: str, links: str) -> None:
    found = re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)", links)
    assert len(found) == links.count("`test_")
    assert [(name, path) for name, path in found if name not in functions_of(ROOT / path)] == []


def test_every_row_of_the_page_is_a_promise_with_tests() -> None:
    rows = [line for line in text_of("security.md").splitlines() if line.startswith("| ")]
    assert len(PROMISES) == len([row for row in rows if not row.startswith("| promise")]) > 20


RUNS_CODE = re.compile(
    r"(?<![\w.])(?:eval|exec|compile|__import__)\("
    r"|^\s*(?:import|from) (?:pickle|marshal|shelve|dill|joblib)\b"
    r"|trust_remote_code=True|allow_pickle=True|weights_only=False|shell=True|os\.system\(|unsafe_load|full_load",
    re.MULTILINE,
)
"""Calls that run text, and readers of formats that can name code."""

RESTRICTED = {"training/loop/checkpoint_reading.py": ["import pickle"]}
"""Unpickles an index of a checkpoint, which may name nothing but its own classes."""


def test_package_has_no_call_that_runs_code_of_files() -> None:
    found = {
        str(path.relative_to(PACKAGE)): RUNS_CODE.findall(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")
    }
    assert {path: calls for path, calls in found.items() if calls} == RESTRICTED


def test_model_loading_states_safetensors_and_no_code() -> None:
    loading = (PACKAGE / "models" / "loading.py").read_text("utf-8")
    assert "use_safetensors=True" in loading
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text("utf-8")
        assert len(re.findall(r"(?<!Pil)\.from_pretrained\(", text)) <= text.count("trust_remote_code=False"), path


BLOCKED = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(refuse)
import thinkseg
from thinkseg.cli import app
sys.exit(app.main(["--version"]))
"""


def test_import_uses_no_network() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Attempts to reach a network, which all fail. Libraries are not told to do without."""
    found: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        found.append(arguments)
        raise OSError("no network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return found


@pytest.fixture
def clip(tmp_path: Path) -> str:
    frames = np.random.default_rng(0).integers(0, 255, (4, 48, 48, 3), np.uint8)
    write_video(tmp_path / "clip.mp4", frames, 4.0)
    return str(tmp_path / "clip.mp4")


def test_segment_with_bundled_models_uses_no_network(clip: str, attempts: list[Any]) -> None:
    result = thinkseg.segment(clip, "the red square", policy=load_policy("shapes", max_new_tokens=8), tracker="flow")
    assert result.failure == "truncated"
    assert len(thinkseg.segment(clip, keyframe=0, boxes=[[8, 8, 40, 40]], tracker="flow")) == 4
    assert attempts == []


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, caplog: Any, box_tracker: Any) -> Any:
    """A key and a token in the environment, and a function that returns all that was written and printed since."""
    monkeypatch.setenv(KEY, KEY_CANARY)
    monkeypatch.setenv(TOKEN, CANARY)
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("thinkseg.models.load_tracker", lambda *_, **__: box_tracker)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.ERROR, "httpx2")  # the client of a test, which knows the token

    def read() -> bytes:
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        return b"\n".join([*files, "".join(capfd.readouterr()).encode(), caplog.text.encode()])

    return read


def test_served_policy_key_and_token_are_in_no_file_and_no_output(clip: str, tmp_path: Path, outputs: Any) -> None:
    script = [*[said(FOUND)] * 3, failed(401, f"no such key: {KEY_CANARY}")]
    with ScriptedServer(script) as server:
        view = ["--policy", f"openai:qwen3-vl@{server.base_url}", "--frames", "2", "--frame-size", "64x64"]
        assert app.main(["segment", clip, "it", *view, "--out", str(tmp_path / "one")]) == 0
        assert app.main(["evaluate", "shapes", "--limit", "2", *view, "--out", str(tmp_path / "run")]) == 0
        assert app.main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "page")]) == 0
        assert app.main(["segment", clip, "it", *view, "--out", str(tmp_path / "refused")]) == 2
    assert server.headers[-1]["authorization"] == f"Bearer {KEY_CANARY}"
    written = outputs()
    assert b"(key)" in written
    assert KEY_CANARY.encode() not in written
    assert CANARY.encode() not in written


@pytest.mark.parametrize(
    "command", [["app", "--data", "data"], ["reward-server", "shapes:train"]], ids=lambda one: one[0]
)
def test_server_key_and_token_are_in_no_file_and_no_output(
    command: list[str], tmp_path: Path, outputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = []

    def serve(application: Any, *_: Any) -> None:
        client = TestClient(application, base_url="http://localhost", raise_server_exceptions=False)
        for token in (CANARY, CANARY[1:]):
            for path in ("/status", "/api/models", "/score", f"/api/questions/{CANARY}", f"/?token={token}"):
                for ask in (client.get, client.post):
                    statuses.append(ask(path, headers={"Authorization": f"Bearer {token}"}).status_code)
                    client.cookies.clear()

    monkeypatch.setattr("thinkseg.web.serve.serve", serve)
    monkeypatch.chdir(tmp_path)
    assert app.main([*command, "--port", "0"]) == 0
    assert {200, 401} <= set(statuses)
    written = outputs()
    assert b" at http://127.0.0.1:" in written
    assert CANARY.encode() not in written
    assert KEY_CANARY.encode() not in written
