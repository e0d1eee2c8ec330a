from dataclasses import replace
from pathlib import Path

import pytest

from thinkseg import models
from thinkseg.chains import CHAINS
from thinkseg.data.shapes import load
from thinkseg.errors import ModelError
from thinkseg.models.loading import model_type_of
from thinkseg.models.trackers.flow.tracker import FlowTracker
from thinkseg.models.trackers.sam2 import Sam2Tracker
from thinkseg.pipeline import resolve_view, run_chains
from thinkseg.prompts import BUILT_IN
from tinymodels import VIEW
from tinytrackers import save_sam2


def test_load_policy_folder_has_its_view_and_sampling(qwen2_5: Path) -> None:
    policy = models.load_policy(str(qwen2_5), precision="fp32", device="cpu", temperature=0.5, max_new_tokens=7, seed=2)
    assert policy.name == str(qwen2_5)
    assert policy.view == replace(VIEW, prompts=BUILT_IN)
    assert (policy.sampling.temperature, policy.sampling.max_new_tokens, policy.sampling.seed) == (0.5, 7, 2)


def test_load_policy_relative_folder_loads(qwen2_5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(qwen2_5.parent)
    assert models.load_policy(qwen2_5.name).name == qwen2_5.name


def test_load_policy_bundled_keeps_its_name(qwen2_5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.BUNDLED, "tiny", qwen2_5)
    assert models.load_policy("tiny", device="cpu").name == "tiny"


@pytest.mark.parametrize("name", ["", "nobody", "a/b/c", "/no/such/folder", "./nobody", "x" * 300, "a/" + "x" * 300])
def test_load_policy_unknown_name_raises(name: str) -> None:
    with pytest.raises(ModelError, match=r"unknown policy|no such folder") as caught:
        models.load_policy(name)
    assert repr(name) in str(caught.value) or name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_load_policy_unreachable_hub_name_raises(offline: None) -> None:
    with pytest.raises(ModelError, match="nobody/nothing: no such folder, and HF_HUB_OFFLINE is set"):
        models.load_policy("nobody/nothing")


def test_model_type_of_missing_folder_raises() -> None:
    with pytest.raises(ModelError, match="runs/of/nobody: no such folder; a name"):
        model_type_of("runs/of/nobody", {}, "policies")


def test_load_policy_empty_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a model folder"):
        models.load_policy(str(tmp_path))


def test_load_tracker_by_name(tmp_path: Path) -> None:
    assert isinstance(models.load_tracker("flow", device="cpu", feature_cache_bytes=0), FlowTracker)
    folder = save_sam2(tmp_path / "my-sam2")
    tracker = models.load_tracker(str(folder), device="cpu", precision="bf16")
    assert isinstance(tracker, Sam2Tracker)
    assert tracker.name == str(folder)
    assert str(tracker.model.dtype) == "torch.bfloat16"


@pytest.mark.parametrize("name", ["sam", "", "a/b/c", "/no/such/folder", "a/" + "x" * 300])
def test_load_tracker_unknown_name_raises(name: str) -> None:
    for check in (models.check_tracker, models.load_tracker):
        with pytest.raises(ModelError, match=r"unknown tracker .*: must be flow, a folder") as caught:
            check(name)
        assert repr(name) in str(caught.value)


def test_load_tracker_unreachable_hub_name_raises(offline: None) -> None:
    with pytest.raises(ModelError, match="nobody/nothing: no such folder, and HF_HUB_OFFLINE is set"):
        models.load_tracker("nobody/nothing")


def test_load_policy_missing_bundle_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.BUNDLED, "tiny", tmp_path / "gone")
    with pytest.raises(ModelError, match="'tiny' is missing from this installation: reinstall"):
        models.load_policy("tiny")


@pytest.mark.parametrize("chain", CHAINS)
def test_bundled_policy_for_chain_answers_it(chain: str) -> None:
    policy = models.load_policy(models.bundled_policy_for(chain), device="cpu")
    view = resolve_view(policy)
    outcomes = run_chains([CHAINS[chain](load("val", index), view) for index in range(4)], policy)
    assert [outcome.failure for outcome in outcomes] == [None] * 4
    assert any(outcome.answer and len(outcome.answer.boxes) for outcome in outcomes)


def test_is_bundled_knows_names_and_folders():
    assert models.is_bundled("shapes-revseg")
    assert models.is_bundled(str(models.BUNDLED["shapes"]))
    assert not models.is_bundled("owner/model")
