"""The Python client of the guide, run against a served app."""

import threading

import uvicorn

from appclient import new_service
from guides import blocks, text_of
from thinkseg.app.serve import create_app
from thinkseg.web.serve import bind, url_of


def test_client_of_guide_runs_and_is_short(clip, tmp_path, monkeypatch, capsys):
    (example,) = blocks(text_of("app.md"), "python")
    assert len(example.splitlines()) <= 12
    (tmp_path / "clip.mp4").write_bytes(clip)
    monkeypatch.chdir(tmp_path)
    server = uvicorn.Server(uvicorn.Config(create_app(new_service(tmp_path / "data")), log_level="critical"))
    with bind("127.0.0.1", 0, None) as bound:
        bound.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            names: dict = {}
            exec(example.replace("http://127.0.0.1:8787", url_of(bound)), names)
        finally:
            server.should_exit = True
            thread.join()
    assert names["answer"]["summary"]["thinking"] == "It moves."
    assert len(names["masks"]["annotations"]) == 40
    assert "'state': 'done'" in capsys.readouterr().out
