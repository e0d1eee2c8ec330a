"""docs/licenses.md lists what the package and its extras need."""

import re
import sys
from importlib.metadata import PathDistribution
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from guides import ROOT, text_of

SPEC = spec_from_file_location("make_licenses", ROOT / "docs" / "make_licenses.py")
make_licenses = module_from_spec(SPEC)
sys.modules["make_licenses"] = make_licenses
SPEC.loader.exec_module(make_licenses)


def test_table_has_every_package_that_is_needed():
    listed = re.findall(r"^\| ([a-z0-9-]+) \| (?!-)", text_of("licenses.md"), re.MULTILINE)
    assert set(make_licenses.needed()) <= set(listed)


def package(folder: Path, *fields: str) -> PathDistribution:
    (folder / "METADATA").write_text("\n".join(("Metadata-Version: 2.4", "Name: one", *fields, "")))
    return PathDistribution(folder)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["License-Expression: MIT", "License: other"], "MIT"),
        (["License: BSD"], "BSD"),
        ([f"License: {'long ' * 20}", "Classifier: License :: OSI Approved :: MIT License"], "MIT License"),
        (["Classifier: License :: OSI Approved :: A", "Classifier: License :: B"], "A, B"),
        (["Classifier: Topic :: C"], "in its files"),
    ],
)
def test_license_of_metadata_is_expression_name_or_classifiers(tmp_path, fields, expected):
    assert make_licenses.license_of(package(tmp_path, *fields)) == expected
