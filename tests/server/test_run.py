import json
import signal
import socket
import subprocess
import sys
import urllib.request

import numpy as np
import pytest

from thinkseg import cli
from thinkseg.chains import revseg, veason
from thinkseg.data.shapes import load
from thinkseg.errors import SettingsError
from thinkseg.models import load_policy
from thinkseg.models.policy import QwenPolicy, Sampling
from thinkseg.models.service import KEY
from thinkseg.pipeline import checked_view, drive
from thinkseg.server.run import checked_key, is_loopback, listening, served_name
from tinymodels import asked, picture, save_qwen2_5, tiny_tokenizer

DIALOGUES = [
    (asked("Where is the red star?", [picture(0), picture(1, (112, 28))]),),
    (asked("Where?", [picture(2)]), "Now.", asked("And <|im_end|> there?", [picture(3)])),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_qwen2_5(tmp_path_factory.mktemp("models") / "tiny", tiny_tokenizer())


def local(folder, **settings):
    return QwenPolicy.load(folder, device="cpu", **settings)


def same(one, other):
    def told(reply):
        return str(reply.text), reply.num_tokens, reply.truncated, reply.num_prompt_tokens

    return [told(reply) for reply in one] == [told(reply) for reply in other]


def test_a_served_model_answers_as_it_does_here(tiny, serving):
    here = local(tiny, max_new_tokens=20)
    with serving(local(tiny), "tiny") as base_url:
        there = load_policy(f"openai:tiny@{base_url}", max_new_tokens=20)
        assert (there.view, there.size_multiple, there.coordinates) == (here.view, here.size_multiple, here.coordinates)
        assert same(there.reply(DIALOGUES), here.reply(DIALOGUES))


def test_a_seed_decides_what_a_served_model_draws(tiny, serving):
    here = local(tiny)
    drawn = here.answer(DIALOGUES[:1] * 3, Sampling(1.0, 9, 5))
    with serving(local(tiny), "tiny") as base_url:
        answer = urllib.request.Request(f"{base_url}/chat/completions", headers={"Content-Type": "application/json"})
        policy = load_policy(f"openai:tiny@{base_url}", temperature=1.0, max_new_tokens=9)
        body = {**policy._request(DIALOGUES[0], 5), "n": 3}
        with urllib.request.urlopen(answer, json.dumps(body).encode()) as response:
            choices = json.load(response)["choices"]
        assert [choice["message"]["content"] for choice in choices] == [
            reply.text.encode("utf-8", "replace").decode() for reply in drawn
        ]
        rollouts = policy.reply(DIALOGUES[:1] * 4)
        assert len({reply.text for reply in rollouts}) == 4


@pytest.mark.parametrize("chain", [veason, revseg])
def test_the_policy_that_ships_answers_over_http_as_it_does_here(serving, chain):
    here = load_policy("shapes", device="cpu")
    with serving(load_policy("shapes", device="cpu"), "shapes") as base_url:
        there = load_policy(f"openai:shapes@{base_url}")
        outcomes = [
            drive([chain(load("val", index), checked_view(policy)) for index in (0, 2)], policy)
            for policy in (here, there)
        ]
    for ours, theirs in zip(*outcomes, strict=True):
        assert ours.replies == theirs.replies
        assert (ours.failure, ours.keyframe, ours.num_tokens) == (theirs.failure, theirs.keyframe, theirs.num_tokens)
        assert (ours.answer is None) == (theirs.answer is None)
        if ours.answer:
            assert np.array_equal(ours.answer.boxes, theirs.answer.boxes)


def test_the_command_serves_until_it_is_interrupted(tiny):
    command = [sys.executable, "-m", "thinkseg", "serve", "--policy", str(tiny), "--port", "0", "--device", "cpu"]
    # A shell has what it starts in the background ignore interruptions, and so would the server.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    try:
        serving, ask = process.stdout.readline(), process.stdout.readline()
        base_url = serving.split()[-1]
        assert serving == f"serving tiny at {base_url}\n"
        assert ask == f"ask it with --policy openai:tiny@{base_url}\n"
        assert base_url.startswith("http://127.0.0.1:")
        policy = load_policy(f"openai:tiny@{base_url}", max_new_tokens=3)
        assert policy.reply(DIALOGUES[:1])[0].num_tokens == 3
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.0.4", False), ("localhost.example.org", False)],
)  # fmt: skip
def test_others_are_let_in_with_a_key_alone(host, alone, monkeypatch):
    assert is_loopback(host) == alone
    if alone:
        assert checked_key(host) is None
    else:
        with pytest.raises(SettingsError, match=f"anybody who reaches {host} could ask: set {KEY}"):
            checked_key(host)
    monkeypatch.setenv(KEY, "open-sesame")
    assert checked_key(host) == "open-sesame"
    monkeypatch.setenv(KEY, "open sesame")
    with pytest.raises(SettingsError, match=KEY) as caught:
        checked_key(host)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 70_000), ("no.such.host.invalid", 8000), ("", 8000), ("\0", 1)]
)
def test_where_nobody_can_listen(host, port):
    with pytest.raises(SettingsError, match="cannot listen"):
        listening(host, port)


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SettingsError, match="in use"):
        listening("127.0.0.1", taken.getsockname()[1])


def test_paths_are_nobodys_business(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    assert served_name(str(tmp_path / "mine")) == served_name(f"{tmp_path}/mine/") == "mine"
    assert served_name("Qwen/Qwen2.5-VL-7B-Instruct") == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert served_name("shapes") == "shapes"
    monkeypatch.chdir(tmp_path / "mine")
    assert served_name(".") == "mine"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--host", "0.0.0.0"], KEY),
        (["--policy", "openai:qwen3-vl@http://127.0.0.1:9/v1"], "openai:qwen3-vl@http://127.0.0.1:9/v1 is served"),
        (["--policy", "nobody"], "'nobody'"),
        (["--port", "many"], "--port"),
    ],
)
def test_bad_input_is_one_line(arguments, named, capsys):
    assert cli.main(["serve", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
