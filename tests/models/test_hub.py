import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from thinkseg.errors import ModelError
from thinkseg.models import hub
from thinkseg.models.hub import is_complete, model_folder

COMMIT = "0123456789" * 4


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Turns the hub on, with an empty cache. Set the variable of its address."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.3)
    return monkeypatch


def use(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    import huggingface_hub

    address = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)


def fails(match: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ModelError, match=match) as caught:
        model_folder("nobody/nothing")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("nobody/nothing: no such folder, and ")
    assert not caplog.records


def test_model_folder_refused_connection_names_offline_mode(endpoint, caplog) -> None:
    use(endpoint, 9)
    fails(r"the hub \(http://127.0.0.1:9\) cannot be reached .*local folder.*HF_HUB_OFFLINE=1", caplog)


def test_model_folder_silent_host_is_asked_once(endpoint, caplog) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        use(endpoint, server.getsockname()[1])
        fails("cannot be reached .*HF_HUB_OFFLINE=1", caplog)
        server.setblocking(False)
        server.accept()
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    ("status", "code", "match"),
    [
        (404, "RepoNotFound", "the hub has no such public model; check the name"),
        (401, "", "the hub has no such public model; .*HF_TOKEN"),
        (403, "GatedRepo", "restricts access to this model; request access"),
        (403, "", "restricts access"),
        (500, "", "cannot be reached"),
        (200, "", "cannot be reached"),
    ],
    ids=["missing", "unauthorized", "gated", "forbidden", "broken", "not a hub"],
)
def test_model_folder_error_of_the_hub_is_explained(endpoint, caplog, status: int, code: str, match: str) -> None:
    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        use(endpoint, server.server_port)
        fails(match, caplog)
        server.shutdown()


def test_model_folder_offline_names_the_variable(offline: None, caplog) -> None:
    fails("HF_HUB_OFFLINE is set and the cache has no complete copy", caplog)


def cache(folder: Path, *files: str) -> Path:
    """A cache of the hub with these files of the model owner/model. Returns their folder."""
    repository = folder / "models--owner--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name in files:
        (snapshot / name).write_text("{}")
    return snapshot


def test_model_folder_in_the_cache_needs_no_connection(endpoint, tmp_path: Path) -> None:
    use(endpoint, 9)
    snapshot = cache(tmp_path / "cache", "config.json", "model.safetensors")
    assert model_folder("owner/model") == snapshot


def test_model_folder_without_weights_in_the_cache_is_for_descriptions_only(endpoint, tmp_path: Path) -> None:
    use(endpoint, 9)
    snapshot = cache(tmp_path / "cache", "config.json")
    assert model_folder("owner/model", weights=False) == snapshot
    with pytest.raises(ModelError, match="cannot be reached"):
        model_folder("owner/model")


@pytest.mark.parametrize(
    ("weights", "complete"),
    [
        (["model.safetensors"], True),
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], True),
        (["model-00001-of-00002.safetensors"], False),
        ([], False),
    ],
)
def test_is_complete_needs_all_weights(endpoint, tmp_path: Path, weights: list[str], complete: bool) -> None:
    use(endpoint, 9)
    cache(tmp_path / "cache", "config.json", *weights)
    assert is_complete("owner/model") == complete


def test_model_folder_file_in_its_place_raises(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("")
    with pytest.raises(ModelError, match="model: is not a folder; give the folder of a model"):
        model_folder(tmp_path / "model")


def test_model_folder_loop_of_links_raises(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(tmp_path / "model")
    with pytest.raises(ModelError, match="model: is not a folder"):
        model_folder(tmp_path / "model")


@pytest.mark.parametrize("name", ["a b/c", "owner/..", "./nobody", "a/-"])
def test_model_folder_impossible_name_raises(name: str) -> None:
    with pytest.raises(ModelError, match="no such folder, and not a name on the hub"):
        model_folder(name)


def test_segment_unreachable_hub_is_one_line_and_status_2(tmp_path: Path) -> None:
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "thinkseg", "check-policy", "nobody/nothing"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("thinkseg: nobody/nothing: no such folder, and the hub (http://127.0.0.1:9)")
    assert done.stderr.count("\n") == 1
