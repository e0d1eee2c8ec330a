"""What the project says of itself to other programs: package metadata, package data, citation, changelog."""

import re
import tomllib

import pytest
import yaml

import thinkseg
from guides import ROOT
from qwensizes import write_config, write_qwen3_config
from thinkseg.models.policies.qwen.checkpoint import DEFAULT_VIEW
from thinkseg.models.presets import presets
from thinkseg.training.memory_plan import inference_bytes
from thinkseg.training.model_stats import model_stats

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
README = (ROOT / "README.md").read_text("utf-8")
PACKAGE = ROOT / "src" / "thinkseg"


def test_version_is_the_same_everywhere():
    assert {thinkseg.__version__, CITATION["version"], PROJECT["project"]["version"]} == {thinkseg.__version__}


def test_package_data_are_part_of_the_package():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["thinkseg"]
    packaged = {path for pattern in patterns for path in PACKAGE.glob(pattern)}
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    others = {path for path in files if path.suffix != ".py"}
    assert others <= packaged


def test_extras_are_explained_in_the_readme():
    for extra in PROJECT["project"]["optional-dependencies"]:
        assert re.search(rf"\| `{extra}` \|", README), extra


PRESET_MODELS = {
    "small": (write_qwen3_config, "2b"),
    "quality": (write_qwen3_config, "8b"),
    "paper-veason": (write_config, "3b"),
    "paper-revseg": (write_config, "7b"),
}


@pytest.mark.parametrize("name", PRESET_MODELS)
def test_memory_of_a_preset_in_the_readme_is_as_computed(name, tmp_path):
    """The frames of the preset with 500 tokens of text, and a reply of 512 tokens, in bf16, in each turn."""
    write, size = PRESET_MODELS[name]
    preset, model = presets()[name], model_stats(write(size, tmp_path))
    frames, unit = preset.frames or DEFAULT_VIEW.num_frames, model.patch * model.merge
    width, height = (round(side / unit) * unit for side in preset.frame_size or DEFAULT_VIEW.frame_wh)
    first = frames * model.visual_tokens((width, height)) + 500 + 512
    tokens = first + (model.visual_tokens(preset.closeup_size) + 500 + 512 if preset.closeup_size else 0)
    prefill = max(
        inference_bytes(model.language, first, bf16=True),
        inference_bytes(model.vision, frames * model.patches((width, height)), bf16=True),
    )
    on_gpu, rest = preset.sizes_gb()[1], (2 * tokens * model.kv_per_token + prefill) / 1e9
    assert preset.parameters.policy == pytest.approx(model.params / 1e9, abs=1e-3)
    assert re.search(rf"^\| `{name}` .*\| {on_gpu:.1f} \+ {rest:.1f} GB \|", README, re.MULTILINE)


def test_presets_and_their_scores_are_in_the_readme():
    for name, preset in presets().items():
        (row,) = re.findall(rf"^\| `{name}`(?:[^|]*\|){{4}}$", README, re.MULTILINE)
        assert all(f"{score.benchmark} {score.j_and_f}" in row for score in preset.scores)


@pytest.mark.parametrize("entry", [CITATION, *CITATION["references"]], ids=lambda entry: entry["title"][:20])
def test_citation_has_the_required_fields(entry):
    assert entry["title"]
    assert all(author.get("name") or (author["family-names"] and author["given-names"]) for author in entry["authors"])


def test_citation_is_in_the_format_and_has_both_papers():
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["message"]
    assert CITATION["type"] == "software"
    papers = [reference["identifiers"][0]["value"] for reference in CITATION["references"]]
    assert papers == ["arXiv:2508.11538", "arXiv:2512.02835"]
    assert {reference["type"] for reference in CITATION["references"]} == {"article"}


def test_changelog_begins_with_unreleased_changes():
    versions = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", version) for version in versions[1:])
