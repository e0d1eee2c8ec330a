import numpy as np
import pytest

from scriptedserver import Response, ScriptedServer, busy, completion, failed, said
from thinkseg import models
from thinkseg.chains import revseg, veason
from thinkseg.errors import ModelError, SettingsError, ThinkSegError
from thinkseg.models.policies.client import KEY, OPENAI_KEY
from thinkseg.models.policies.endpoint import parse_name
from thinkseg.pipeline import run_chains, segment_samples
from thinkseg.types import Turn, View

ASKED = (Turn(("Where?", np.zeros((28, 28, 3), np.uint8))),)
ABSENT = '<think>None.</think><answer>{"keyframe_timestamp": null, "bbox_2d_list": []}</answer>'
FOUND = '<think>There.</think><answer>{"keyframe_timestamp": 3.0, "bbox_2d_list": [[0, 0, 500, 500]]}</answer>'


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch):
    for name in (KEY, OPENAI_KEY):
        monkeypatch.delenv(name, raising=False)


def connect(server, model="qwen3-vl", **settings):
    return models.load_policy(f"openai:{model}@{server.base_url}", **{"max_retries": 1, **settings})


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("openai:m@http://localhost:8000/v1", ("m", "http://localhost:8000/v1")),
        ("openai:Qwen/Qwen2.5-VL-7B@https://a.org/v1/", ("Qwen/Qwen2.5-VL-7B", "https://a.org/v1")),
        ("openai:m@2:free@http://[::1]:8000", ("m@2:free", "http://[::1]:8000")),
    ],
)
def test_parse_name_returns_model_and_url(name, parts):
    assert parse_name(name) == parts


@pytest.mark.parametrize(
    "name",
    [
        "openai:",
        "openai:m",
        "openai:m@",
        "openai:@http://a.org",
        "openai:m@ftp://a.org",
        "openai:m@http://",
        "openai:m n@http://a",
        "openai:m@http://a:port",
        "openai:m@http://a:99999",
        "openai:m@http://[::1",
    ],
)
def test_load_policy_invalid_served_name_raises(name):
    with pytest.raises(SettingsError, match="localhost:8000"):
        models.load_policy(name)


@pytest.mark.parametrize("url", ["http://me:hidden@a.org/v1", "http://a.org/v1?key=hidden", "http://a.org/v1#hidden"])
def test_parse_name_with_secret_raises_without_showing_it(url):
    with pytest.raises(SettingsError, match=KEY) as caught:
        parse_name(f"openai:m@{url}")
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "openai:m@http://me:hidden@a:99999/v1",
        "openai:m@http://me:hid/hidden@a.org/v1",
        "openai:m@HTTP://me:hidden@a.org",
        "openai:m@http://me:hidden @a.org",
        "openai:http://me:hidden@a.org/v1",
        "openai:m@ftp://a.org?key=hidden",
        "https://me:hidden@a.org/v1",
    ],
)
def test_load_policy_invalid_name_with_secret_raises_without_showing_it(name):
    with pytest.raises(ThinkSegError) as caught:
        models.load_policy(name)
    assert "hidden" not in str(caught.value)


def test_connect_family_name_sets_coordinates_and_multiple():
    with ScriptedServer() as server:
        new, old = connect(server), connect(server, "Qwen/Qwen2.5-VL-7B-Instruct")
        assert (new.coordinates, new.size_multiple, new.view.coordinates) == ("normalized_1000", 32, "normalized_1000")
        assert (old.coordinates, old.size_multiple, old.view.coordinates) == ("pixels", 28, "pixels")
        assert new.name == f"openai:qwen3-vl@{server.base_url}"


def test_connect_origin_of_a_hostile_server_is_recorded_without_the_key(monkeypatch):
    monkeypatch.setenv(KEY, "sk-secret-0123456789")
    listed = {"id": "qwen3-vl", "root": "sk-secret-0123456789 \ud800", "parent": "x" * 10**6}
    with ScriptedServer(models=[listed]) as server:
        origin = connect(server).fingerprint
    assert origin == {"root": "(key) ?", "parent": "x" * 1000}


def test_connect_given_coordinates_override_family():
    with ScriptedServer() as server:
        given = connect(server, coordinates="pixels")
        assert (given.coordinates, given.view.coordinates, given.size_multiple) == ("pixels", "pixels", 32)


def test_connect_unknown_family_needs_coordinates():
    with ScriptedServer(models=[{"id": "gpt-x"}]) as server:
        with pytest.raises(SettingsError, match=r"gpt-x: .* --coordinates .*check-policy openai:gpt-x@http"):
            connect(server, "gpt-x")
        policy = connect(server, "gpt-x", coordinates="normalized_1000")
        assert (policy.coordinates, policy.size_multiple, policy.coordinates_known) == ("normalized_1000", 1, True)
        fallback = connect(server, "gpt-x", fallback_coordinates="pixels")
        assert (fallback.coordinates, fallback.coordinates_known) == ("pixels", False)


def test_reply_without_dialogues_sends_nothing():
    with ScriptedServer() as server:
        assert connect(server).reply([]) == []
        assert server.asked == []


def test_reply_greedy_sends_required_fields_only():
    with ScriptedServer([said("yes")]) as server:
        connect(server, max_new_tokens=50).reply([ASKED])
        (body,) = server.asked
    assert body.keys() == {"model", "messages", "temperature", "max_tokens"}
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("qwen3-vl", 0.0, 50)


def test_reply_sampled_sends_seeds_that_depend_on_the_reply_only():
    with ScriptedServer(lambda _: said("yes")) as server:
        for seed, parts in ((3, [range(4)]), (3, [range(2), range(2, 4)]), (4, [range(4)])):
            policy = connect(server, temperature=0.7, seed=seed, concurrency=1)
            for part in parts:
                policy.reply([ASKED] * len(part), part)
        seeds = [body["seed"] for body in server.asked]
        assert all(body["temperature"] == 0.7 and body["top_p"] == 1.0 for body in server.asked)
    assert seeds[:4] == seeds[4:8]
    assert len(set(seeds)) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_segment_samples_sends_the_seed_of_the_sample(question, box_tracker):
    """The same for any batch size and any subset of the samples, as in a run that resumes."""

    def seeds(names, batch_size):
        with ScriptedServer(lambda _: said("yes")) as server:
            policy = connect(server, temperature=0.7)
            samples = [question(name) for name in names]
            assert len(list(segment_samples(samples, veason, policy, box_tracker, View(2, (70, 30)), batch_size))) > 0
            return {body["messages"][0]["content"][-1]["text"]: body["seed"] for body in server.asked}

    together = seeds(["red", "blue", "shy"], 3)
    assert len(set(together.values())) == 3
    assert seeds(["shy", "red"], 1).items() < together.items()


def test_reply_sends_png_or_jpeg_of_given_quality():
    with ScriptedServer(lambda _: said("yes")) as server:
        connect(server).reply([ASKED])
        connect(server, jpeg_quality=90).reply([ASKED])
        urls = [body["messages"][0]["content"][1]["image_url"]["url"] for body in server.asked]
    assert urls[0].startswith("data:image/png;")
    assert urls[1].startswith("data:image/jpeg;")


def test_load_policy_served_ignores_device_and_precision():
    with ScriptedServer([said("yes")]) as server:
        assert connect(server, device="cuda:7", precision="fp16").reply([ASKED])[0].text == "yes"


def test_connect_invalid_settings_raises_without_request():
    with ScriptedServer() as server:
        for wrong in ({"jpeg_quality": 101}, {"temperature": -1.0}, {"concurrency": 0}, {"max_retries": -1}):
            with pytest.raises(SettingsError):
                connect(server, **wrong)
    with pytest.raises(SettingsError, match="not a served model"):
        models.load_policy("shapes", jpeg_quality=90)


def test_connect_without_server_raises():
    with ScriptedServer() as server:
        pass
    with pytest.raises(ModelError, match="no connection"):
        connect(server)


def test_segment_samples_served_model_counts_usage_and_latency(question, box_tracker):
    """Sizes and coordinates as of Qwen3-VL; bad replies are data; usage and latency are noted."""
    answers = {"the red": FOUND, "the blue": ABSENT, "the shy": None, "the long": FOUND[:50]}

    def answer(body):
        text = next(text for name, text in answers.items() if name in body["messages"][0]["content"][-1]["text"])
        return said(text, "length" if text == FOUND[:50] else "stop", refusal=None if text else "I may not say.")

    samples = [question(name.removeprefix("the ")) for name in answers]
    with ScriptedServer(answer) as server:
        policy = connect(server)
        results = list(segment_samples(samples, veason, policy, box_tracker, View(2, (70, 30)), batch_size=4))
        content = server.asked[0]["messages"][0]["content"]
    assert [result.failure for result in results] == [None, None, "invalid_tags", "truncated"]
    found, absent, refused, _ = results
    assert found.answer.boxes.tolist() == [[0, 0, 4, 4]]
    assert absent.answer.keyframe is None
    assert refused.dialogue[-1] == "I may not say."
    assert "thousandths" in content[0]["text"]
    for result in results:
        assert (result.outcome.num_prompt_tokens, result.outcome.num_tokens) == (7, 3)
        assert result.seconds["latency"] > 0


def test_run_chains_two_turns_served_model_retries_and_answers(question):
    choice = '<think></think><answer>[{"frame_idx": 1, "object description": "it"}]</answer>'
    script = [
        busy(0.01),
        said(choice),
        failed(500, **{"Retry-After-Ms": "1"}),
        Response(completion('[{"bbox_2d": [0, 0, 500, 1000]}]')),
    ]
    with ScriptedServer(script) as server:
        policy = connect(server)
        (outcome,) = run_chains([revseg(question("thing"), policy.view)], policy)
        first, second = server.asked[1], server.asked[-1]
    assert outcome.answer.keyframe == 1
    assert outcome.answer.boxes.tolist() == [[0, 0, 4, 8]]
    assert (outcome.num_prompt_tokens, outcome.num_tokens) == (14, 6)
    assert second["messages"][:2] == [*first["messages"], {"role": "assistant", "content": choice}]
    assert [part["type"] for part in second["messages"][2]["content"]] == ["image_url", "text"]


def test_connect_fingerprint_is_where_the_model_comes_from():
    lists = [
        {"id": "qwen3-vl", "root": "/models/a", "parent": None, "created": 7},
        {"id": "other", "root": "/models/b"},
    ]
    with ScriptedServer(models=lists) as server:
        assert connect(server).fingerprint == {"root": "/models/a"}
    with ScriptedServer(models=[{**lists[0], "created": 8, "parent": "base"}]) as server:
        assert connect(server).fingerprint == {"root": "/models/a", "parent": "base"}


@pytest.mark.parametrize("models", [None, [], [{"id": "other"}], [3], [{"id": "qwen3-vl"}], [{}]])
def test_connect_server_that_does_not_list_the_model_has_no_fingerprint(models):
    with ScriptedServer(models=models) as server:
        assert connect(server).fingerprint == {}
