"""The documentation as a site: a page per guide and module, links that lead somewhere, nothing from outside."""

import ast
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import thinkseg
from guides import ROOT

SPEC = spec_from_file_location("make_site", ROOT / "docs" / "make_site.py")
make_site = module_from_spec(SPEC)
sys.modules["make_site"] = make_site
SPEC.loader.exec_module(make_site)

MODULES = [name for names in make_site.module_names().values() for name in names]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site with all guides, and with the modules that load no large library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_site, "MODULES", {"API": "thinkseg types errors rle rewards.veason"})
        make_site._api_pages.cache_clear()
        folder = tmp_path_factory.mktemp("site")
        make_site.build(folder)
        yield folder
    make_site._api_pages.cache_clear()


def test_site_has_no_faults(site):
    assert list(make_site.find_faults(site)) == []


def test_site_has_a_page_of_each_guide(site):
    assert (site / "index.html").is_file()
    for guide in (ROOT / "docs").glob("*.md"):
        assert (site / "docs" / f"{guide.stem}.html").is_file()


def test_page_of_the_package_has_every_public_name(site):
    page = (site / "api" / "thinkseg.html").read_text("utf-8")
    for name in thinkseg.__all__:
        assert f'<section id="{name}">' in page


@pytest.mark.parametrize("name", MODULES)
def test_documented_module_has_docstrings_of_its_public_functions_and_classes(name):
    tree = ast.parse(Path(find_spec(name).origin).read_text("utf-8"))
    public = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"]
    assert ast.get_docstring(tree)
    assert [node.name for node in public if not ast.get_docstring(node)] == []


def test_docstring_with_parameters_becomes_a_list():
    text = "Segments.\n\nvideo, query: a file,\n    and a text.\nfps: a rate.\n\nRaises: nothing."
    items = make_site.docstring_html(make_site.with_parameter_lists(text)).count("<li>")
    assert items == 2


def test_docstring_with_tags_shows_them_as_text():
    assert "&lt;think&gt;" in make_site.docstring_html("Between <think> and </think>.")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('<a href="missing.html">x</a>', "index.html: missing.html leads nowhere"),
        ('<a href="#missing">x</a>', "index.html: #missing leads nowhere"),
        ('<script src="https://example.org/x.js"></script>', "index.html: loads https://example.org/x.js"),
        ('<link href="//example.org/x.css">', "index.html: loads //example.org/x.css"),
    ],
)
def test_find_faults_reports_a_broken_page(content, fault, tmp_path):
    (tmp_path / "index.html").write_text(f'<h1 id="top"></h1><a href="#top">top</a>{content}')
    assert fault in list(make_site.find_faults(tmp_path))


def test_find_faults_reports_a_guide_that_the_readme_does_not_list(monkeypatch, tmp_path):
    monkeypatch.setattr(make_site, "guides", lambda: [ROOT / "docs" / "unlisted.md"])
    assert list(make_site.find_faults(tmp_path)) == ["README.md, More: docs/unlisted.html is not listed"]
