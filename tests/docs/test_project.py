"""What the project says of itself to other programs: package metadata, package data, citation, changelog."""

import re
import tomllib

import pytest
import yaml

import thinkseg
from guides import ROOT
from qwensizes import write_config
from thinkseg.training.memory_plan import inference_bytes
from thinkseg.training.model_stats import model_stats

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
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
    readme = (ROOT / "README.md").read_text("utf-8")
    for extra in PROJECT["project"]["optional-dependencies"]:
        assert re.search(rf"\| `{extra}` \|", readme), extra


@pytest.mark.parametrize("size", ["3b", "7b"])
def test_memory_of_inference_in_the_readme_is_as_computed(size, tmp_path):
    """16 frames of 560x560 with 500 tokens of text, and a reply of 512 tokens, in bf16."""
    model = model_stats(write_config(size, tmp_path))
    tokens = 16 * model.visual_tokens((560, 560)) + 500 + 512
    prefill = max(
        inference_bytes(model.language, tokens, bf16=True),
        inference_bytes(model.vision, 16 * model.patches((560, 560)), bf16=True),
    )
    weights, rest = 2 * model.params, 2 * tokens * model.kv_per_token + prefill
    sizes = " | ".join(f"{value / 1e9:.1f} GB" for value in (weights, rest, weights + rest))
    assert f"| Qwen2.5-VL-{size.upper()} | {sizes} |" in (ROOT / "README.md").read_text("utf-8")


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
