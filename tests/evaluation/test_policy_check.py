import json
from itertools import islice

import pytest

from scriptedserver import ScriptedServer, said
from thinkseg.chains import revseg, veason
from thinkseg.chains.frames import select_frames
from thinkseg.chains.parsing import REASONS, write_answer
from thinkseg.cli import app
from thinkseg.errors import SettingsError
from thinkseg.evaluation.policy_check import PolicyCheck, check, easy_samples
from thinkseg.models.policies.client import KEY
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.types import View

VIEW = View(3, (112, 112))
CLIPS = 2


class Knowing:
    """Answers rightly, in the convention it was taught, or the one it is asked for if it was taught none."""

    def __init__(self, taught=None, scale=1.0):
        self.taught = taught
        self.scale = scale
        self.samples = list(islice(easy_samples(), CLIPS))
        self.calls = 0

    def __call__(self, asked_for):
        sample = self.samples[self.calls % CLIPS]
        self.calls += 1
        shown = select_frames(sample.video, View(3, (112, 112), self.taught or asked_for))
        keyframe = max(shown.indices, key=sample.truth.area)
        return write_answer("Here.", keyframe, self.scale * sample.truth.boxes(keyframe), shown)


def policy(answer, coordinates="pixels"):
    def say(dialogue):
        return answer("normalized_1000" if "thousandths" in dialogue[0].content[0] else "pixels")

    return ScriptedPolicy(say, coordinates=coordinates, view=VIEW)


@pytest.mark.parametrize(
    ("taught", "sound"),
    [("pixels", ["pixels"]), ("normalized_1000", ["normalized_1000"]), (None, ["normalized_1000", "pixels"])],
)
def test_check_finds_matching_convention(taught, sound):
    seen = []
    found = check(policy(Knowing(taught)), veason, CLIPS, progress=lambda *done: seen.append(done))
    assert sorted(found.matching) == sound
    assert found.parse_rate == {"pixels": 1.0, "normalized_1000": 1.0}
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for name in sound:
        assert found.iou[name, name] > 0.9
        assert name in found.verdict()
    if taught:
        # Read the way it was taught, whatever it was asked for.
        assert min(found.iou[asked, taught] for asked in ("pixels", "normalized_1000")) > 0.9


def test_check_misplaced_boxes_match_no_convention():
    found = check(policy(Knowing("pixels", scale=0.4)), veason, CLIPS)
    assert found.matching == []
    assert found.verdict().endswith("nor in normalized_1000")


def test_check_counts_failures():
    found = check(policy(lambda _: "It is over there."), veason, CLIPS)
    assert (found.matching, found.parse_rate, found.failures) == (
        [],
        {"pixels": 0.0, "normalized_1000": 0.0},
        {"invalid_tags": 4},
    )
    assert found.verdict().endswith(f"\n4 times: {REASONS['invalid_tags']}")
    assert found.table().count("0 of 2") == 2


def test_check_parses_both_turns():
    choice = '<think></think><answer>[{"frame_idx": 1, "object description": "it"}]</answer>'
    replies = [choice, '[{"bbox_2d": [0, 0, 224, 224]}]', choice, '[{"bbox_2d": [0, 0, 1000, 1000]}]']
    found = check(ScriptedPolicy(replies, view=VIEW), revseg, 1)
    assert found.parse_rate == {"pixels": 1.0, "normalized_1000": 1.0}
    # All of the frame, larger or smaller than a quarter of it.
    assert found.iou["pixels", "pixels"] == pytest.approx(found.iou["normalized_1000", "normalized_1000"])
    assert found.iou["pixels", "normalized_1000"] != found.iou["pixels", "pixels"]


def test_check_policy_frames_near_1000px_raises():
    with pytest.raises(SettingsError, match="1000x980: pixels and normalized_1000 are nearly the same"):
        check(policy(Knowing()), veason, 1, View(3, (1000, 980)))


def test_matching_is_sorted_by_iou():
    ious = {("pixels", "pixels"): 0.5, ("normalized_1000", "normalized_1000"): 0.7}
    ious |= {("pixels", "normalized_1000"): 0.1, ("normalized_1000", "pixels"): 0.1}
    parse_rate = {"pixels": 1.0, "normalized_1000": 0.5}
    found = PolicyCheck("p", VIEW, 4, ious, parse_rate, {})
    assert found.matching == ["normalized_1000", "pixels"]
    assert "2 of 4" in found.table()


def run(monkeypatch, capsys, answer, coordinates="pixels"):
    monkeypatch.setattr("thinkseg.models.load_policy", lambda *_, **__: policy(answer, coordinates))
    status = app.main(["check-policy", "mine", "--clips", str(CLIPS)])
    return status, capsys.readouterr().out


@pytest.mark.parametrize(
    ("coordinates", "status", "advice"),
    [
        ("pixels", 0, "it is set up for pixels\n"),
        ("normalized_1000", 1, "it is set up for normalized_1000: give --coordinates pixels\n"),
    ],
)
def test_check_policy_compares_with_the_policys_coordinates(monkeypatch, capsys, coordinates, status, advice):
    got, out = run(monkeypatch, capsys, Knowing("pixels"), coordinates)
    assert (got, out.endswith(f"boxes match the targets in pixels\n{advice}")) == (status, True)


def test_check_policy_no_match_exits_1(monkeypatch, capsys):
    status, out = run(monkeypatch, capsys, lambda _: "?")
    assert status == 1
    assert out.endswith(f"\n4 times: {REASONS['invalid_tags']}\n")


def test_check_policy_unknown_served_model(monkeypatch, capsys):
    monkeypatch.delenv(KEY, raising=False)
    knowing = Knowing("normalized_1000")

    def answer(body):
        return said(knowing("normalized_1000"))

    with ScriptedServer(answer) as server:
        name = f"openai:some-model@{server.base_url}"
        options = ["--clips", str(CLIPS), "--frames", "3", "--frame-size", "112x112"]
        assert app.main(["check-policy", name, *options]) == 0
        assert capsys.readouterr().out.endswith(
            "match the targets in normalized_1000\ngive --coordinates normalized_1000\n"
        )
        assert app.main(["check-policy", name, *options, "--coordinates", "pixels"]) == 1
        assert "set up for pixels: give --coordinates normalized_1000" in capsys.readouterr().out
        assert json.dumps(server.asked[0]).count("image_url") == 2 * 3
