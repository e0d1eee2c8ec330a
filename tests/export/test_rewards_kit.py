"""thinkseg_rewards.py gives the rewards of `thinkseg.rewards` for any reply, with the standard library only."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from thinkseg.chains import CHAINS
from thinkseg.chains.frames import select_frames
from thinkseg.export.samples import ExportSettings, ground_truth
from thinkseg.models.policies.scripted import ScriptedPolicy
from thinkseg.ops.chat_text import escape_control_tokens
from thinkseg.ops.masks import from_stacks
from thinkseg.pipeline import run_chains
from thinkseg.rewards import REWARDS, Prompt, Rollout
from thinkseg.types import VideoSample, View

SHOWN = (0, 2, 5)
ANSWER = '<think>t</think><answer>{{"keyframe_timestamp": {}, "bbox_2d_list": {}}}</answer>'
CHOICE = '<think>t</think><answer>[{{"frame_idx": {}, "object description": "{}"}}]</answer>'


@pytest.fixture(scope="module")
def rewards(kit):
    return kit("thinkseg_rewards")


def prompt(film, rng, targets):
    """Makes a prompt with 0 to 4 rectangles in six frames of 40x30, each hidden in some frames."""
    masks = np.zeros((targets, 6, 30, 40), bool)
    for mask in masks.reshape(-1, 30, 40):
        (x1, x2), (y1, y2) = np.sort(rng.integers(0, 41, 2)), np.sort(rng.integers(0, 31, 2))
        mask[y1:y2, x1:x2] = rng.random() < 0.8
    return Prompt(VideoSample("made", film(6, (40, 30)), "them", truth=from_stacks(masks)), SHOWN)


def boxes(rng, made, frame):
    """Returns random boxes, and true ones with small offsets, in a frame of twice the source size."""
    near = [(2 * box + rng.integers(-6, 7, 4)).tolist() for box in made.boxes[frame] if rng.random() < 0.8]
    far = [[*rng.integers(0, 40, 2).tolist(), *rng.integers(30, 90, 2).tolist()] for _ in range(rng.integers(0, 3))]
    return near + far


def mutated(rng, text):
    """Returns the text, possibly with a few characters removed, doubled or replaced."""
    chars = list(text)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 6])):
        position = rng.integers(len(chars))
        chars[position] = rng.choice(["", chars[position] * 2, *'0-.9[]{}",<e ', "NaN", "1e999", "true", "</think>"])
    return "".join(chars)


def random_replies(rng, made, chain):
    """Returns correct, wrong and invalid replies to a prompt."""
    position = int(rng.integers(3))
    if chain == "veason":
        label = rng.choice(
            [select_frames(made.sample.video, View(3, (80, 60)), SHOWN).labels[position], "null", "7", "true"]
        )
        listed = [] if rng.random() < 0.3 else boxes(rng, made, SHOWN[position])
        return [mutated(rng, ANSWER.format(label, json.dumps(listed)))]
    first = CHOICE.format(rng.choice([str(position), "9", "1.0"]), rng.choice(["it", "a b", ""]))
    first = rng.choice([first, "<think></think><answer>[]</answer>"], p=[0.9, 0.1])
    second = json.dumps([{"bbox_2d": box} for box in boxes(rng, made, SHOWN[position])])
    fenced = f"```json\n{second}\n```"
    thought = f" <think>It is\nthere.</think>\n\n{fenced}"
    return [mutated(rng, str(first)), mutated(rng, str(rng.choice([second, fenced, thought])))]


@pytest.mark.parametrize("chain", ["veason", "revseg"])
@pytest.mark.parametrize("coordinates", ["pixels", "normalized_1000"])
def test_rewards_equal_thinkseg_rewards(rewards, film, chain, coordinates):
    rng = np.random.default_rng(1)
    view = View(3, (80, 60), coordinates, closeup_wh=(80, 60))
    settings = ExportSettings(chain, view, None, for_sft=False, for_rl=True)
    failures = set()
    for number in range(600):
        made = prompt(film, rng, targets=number % 5)
        truth = json.loads(
            json.dumps(ground_truth("made:all", made, select_frames(made.sample.video, view, SHOWN), settings))
        )
        replies = random_replies(rng, made, chain)
        (outcome,) = run_chains([CHAINS[chain](made.sample, view, SHOWN)], ScriptedPolicy(replies))
        rollout = rewards.parse_rollout(replies[: len(outcome.replies)], truth)
        failures.add(outcome.failure)
        assert rollout.failure == outcome.failure
        true_rollout = Rollout(made, outcome)
        for name, reward in rewards.REWARDS.items():
            assert reward(rollout, truth) == pytest.approx(REWARDS[name].function(true_rollout), abs=1e-12), (
                name,
                replies,
            )
    assert len(failures) >= 6


@given(
    st.lists(st.sampled_from(["<", ">", "|", "im_end", "image", "/", "[", "IMG", "]", " ", "\u200b", "é"])).map("".join)
)
def test_escape_control_tokens_equals_that_of_prompts(rewards, text):
    assert rewards.escape_control_tokens(text) == escape_control_tokens(text)


def test_rewards_all_but_consistency_exist(rewards):
    assert set(rewards.REWARDS) == set(REWARDS) - {"consistency"}


def test_rewards_have_function_names_of_thinkseg_rewards(rewards):
    for name, reward in rewards.REWARDS.items():
        assert reward.__name__ == REWARDS[name].function.__name__


def test_read_truth_of_version_0_1_has_current_names(rewards):
    old = {**TRUTH, "coordinates": "thousandths"}
    old["target"] = old.pop("has_target")
    assert rewards.read_truth(json.dumps(old)) == {**TRUTH, "coordinates": "normalized_1000"}


@pytest.mark.parametrize("rows", range(1, 7))
def test_assign_has_largest_total(rewards, rows):
    rng = np.random.default_rng(rows)
    for columns in (rows, rows + 3):
        for _ in range(50):
            # Few integer values: many matchings have the same total.
            gains = rng.choice([rng.random((rows, columns)), rng.integers(0, 3, (rows, columns))])
            found = rewards._assign(gains.tolist())
            best = gains[linear_sum_assignment(gains, maximize=True)].sum()
            assert len(set(found)) == rows
            assert gains[range(rows), found].sum() == pytest.approx(best)


TRUTH = {
    "chain": "veason",
    "labels": ["0.0", "1.0"],
    "frame_wh": [80, 60],
    "source_wh": [40, 30],
    "coordinates": "pixels",
    "has_target": True,
    "areas": [100, 50],
    "boxes": [[[0, 0, 10, 10]], [[0, 0, 5, 10]]],
}


def test_compute_score_is_weighted_sum(rewards):
    reply = ANSWER.format("1.0", "[[0, 0, 10, 20]]")
    truth = json.dumps(TRUTH)
    assert rewards.compute_score("shapes", reply, truth) == {"score": 2.5, "format": 1, "keyframe": 0.5, "boxes": 1}
    halved = rewards.compute_score("shapes", reply, truth, {}, weights={"keyframe": 0.5}, reward_router_address=None)
    assert halved == {"score": 0.25, "keyframe": 0.5}
    assert rewards.compute_score("shapes", "no", truth)["score"] == 0
    with pytest.raises(ValueError, match="unknown reward 'luck': must be one of format"):
        rewards.compute_score("shapes", reply, truth, weights={"luck": 1})


def test_compute_score_two_turns_uses_replies_of_agent_loop(rewards):
    truth = json.dumps({**TRUTH, "chain": "revseg"})
    replies = [CHOICE.format(0, "it"), '[{"bbox_2d": [0, 0, 20, 20]}]']
    score = rewards.compute_score("shapes", "\n".join(replies), truth, {"replies": replies})
    assert score == {"score": 3, "format_graded": 1, "keyframe_soft": 1, "box_hit": 1}
    with pytest.raises(ValueError, match="two turns"):
        rewards.compute_score("shapes", "\n".join(replies), truth, {})


def test_compute_scores_scores_batch(rewards):
    truth = json.dumps(TRUTH)
    given = [
        {"response": text, "response_length": 9, "ground_truth": truth} for text in ("no", ANSWER.format("0", "[]"))
    ]
    first, second = rewards.compute_scores(given)
    assert first == {"overall": 0, "format": 0, "keyframe": 0, "boxes": 0}
    # An answer without boxes is invalid, but its format is complete and its keyframe counts.
    assert second == {"overall": 2, "format": 1, "keyframe": 1, "boxes": 0}
    assert rewards.REWARD_TYPE == "batch"


def test_compute_score_no_visible_target_counts_format_only(rewards):
    hidden = json.dumps({**TRUTH, "areas": [0, 0], "boxes": [[], []]})
    assert rewards.compute_score("shapes", ANSWER.format("null", "[]"), hidden)["score"] == 1


def test_kit_imports_standard_library_only(rewards):
    code = (
        "import importlib.util, sys; before = set(sys.modules);"
        f"spec = importlib.util.spec_from_file_location('custom', {rewards.__file__!r});"
        "spec.loader.exec_module(importlib.util.module_from_spec(spec));"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= sys.stdlib_module_names


def test_parse_rollout_huge_replies_are_fast(rewards):
    for text in ("[" * 10**6, "<think>" * 10**5, ANSWER.format("1" * 10**6, "[]"), ANSWER.format(0, "[" * 10**6)):
        assert rewards.parse_rollout([text], TRUTH).failure in {"invalid_tags", "answer_too_long"}
