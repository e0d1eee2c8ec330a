"""Builds the documentation as one site of static pages: python docs/make_site.py [OUT] (default: runs/docs).

In: README.md, whose section "More" lists and orders the pages of docs/, and the docstrings of the modules in `MODULES`.
Out: OUT/index.html (the README), OUT/docs/ (the guides), OUT/api/ (one page per module), and the files they link to.
Exits with a list of links that lead nowhere, of pages that the README does not list, and of addresses outside that a
page would load.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import unquote

import markdown2
import pdoc.doc
import pdoc.render
from pygments.formatters import HtmlFormatter

from thinkseg.errors import ThinkSegError
from thinkseg.storage.result_folder import result_folder

ROOT = Path(__file__).resolve().parent.parent
PROJECT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")

MODULES = {
    "API: segmentation": "thinkseg types events errors prompts segmenter pipeline report.result report.formats"
    " report.stored_result segmenter.questions segmenter.batch",
    "API: videos and masks": "rle ops.inputs ops.video ops.masks ops.boxes ops.metrics ops.draw"
    " data.readers.video_window",
    "API: models and chains": "models models.policies.qwen.policy models.policies.endpoint models.policies.scripted"
    " models.trackers.sam2 models.trackers.flow.tracker chains chains.veason chains.revseg chains.frames"
    " chains.parsing",
    "API: data and evaluation": "data data.benchmarks.base data.benchmarks.layouts data.cot data.shapes"
    " evaluation.evaluate evaluation.offline evaluation.predictions evaluation.protocols evaluation.protocols.base"
    " evaluation.comparison",
    "API: training": "rewards rewards.rollout rewards.groups rewards.reply_format rewards.veason rewards.revseg"
    " training.sft.recipe training.grpo.recipe",
}
"""The documented modules by the headings of the navigation; names are those in the package."""

MARKDOWN: dict[str, Any] = {
    "code-friendly": None,
    "cuddled-lists": None,
    "fenced-code-blocks": {"cssclass": "pdoc-code"},
    "header-ids": None,
    "tables": None,
    "toc": {"depth": 3},
}
"""The extensions of Markdown that pages and docstrings use."""

PARAMETER = re.compile(r"^((?:\*{0,2}[a-z_]\w*)(?:, \*{0,2}[a-z_]\w*)*): ", re.MULTILINE)
"""The start of a docstring's line "name: meaning" or "name, name: meaning"."""


class Group(NamedTuple):
    """A heading of the navigation, with titles and addresses relative to the root of the site."""

    title: str
    links: list[tuple[str, str]]


def main(out: Path) -> None:
    with result_folder(out, "docs") as site:
        build(site)
        if faults := list(find_faults(site)):
            sys.exit("\n".join(faults))
    print(f"open {out / 'index.html'}")


def build(site: Path) -> None:
    """Writes all pages into an empty folder."""
    groups = [*guide_groups(), *api_groups()]
    _configure(groups)
    for source in guides():
        write_guide(source, site)
    write_api(site / "api")


def guides() -> list[Path]:
    """The Markdown files of the site."""
    project = (ROOT / name for name in PROJECT_PAGES)
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *(page for page in project if page.exists())]


def module_names() -> dict[str, list[str]]:
    """Full names of the documented modules by heading."""
    return {
        title: [name if name == "thinkseg" else f"thinkseg.{name}" for name in names.split()]
        for title, names in MODULES.items()
    }


def guide_groups() -> list[Group]:
    """The pages that the README's section "More" lists, by the headings there."""
    more = (ROOT / "README.md").read_text("utf-8").partition("\n## More\n")[2]
    groups = [Group("ThinkSeg", [("Overview", "index.html")])]
    for line in more.splitlines():
        if line.startswith("### "):
            groups.append(Group(line[4:], []))
        elif link := re.match(r"- \[([^]]+)\]\(([^)#]+)\.md\)", line):
            groups[-1].links.append((link[1], f"{link[2]}.html"))
    return groups


def api_groups() -> list[Group]:
    """The documented modules."""
    return [
        Group(title, [(name, f"api/{name.replace('.', '/')}.html") for name in names])
        for title, names in module_names().items()
    ]


def _stand_in_for_supervision() -> None:
    """Puts a type in the place of the one that annotations name, of a package that need not be installed."""
    if find_spec("supervision") is None:
        module = ModuleType("supervision")
        module.__dict__["Detections"] = type("Detections", (), {"__module__": "supervision"})
        sys.modules["supervision"] = module


def _configure(groups: list[Group]) -> None:
    """Sets pdoc's environment: our templates, filters for our docstrings, the navigation."""
    pdoc.render.configure(template_directory=ROOT / "docs" / "templates", show_source=False)
    environment = pdoc.render.env
    environment.filters["to_markdown"] = with_parameter_lists
    environment.filters["to_html"] = docstring_html
    environment.globals["groups"] = groups
    environment.globals["dark_code"] = HtmlFormatter(style="github-dark").get_style_defs(".pdoc-code")


def with_parameter_lists(docstring: str) -> str:
    """Returns a docstring as Markdown: lines "name: meaning" become the entries of a list."""
    paragraphs = docstring.split("\n\n")
    return "\n\n".join(
        PARAMETER.sub(lambda name: f"- `{name[1]}`: ", part) if PARAMETER.match(part) else part for part in paragraphs
    )


@cache
def docstring_html(text: str) -> str:
    """Returns the HTML of a docstring, in which < and > are text."""
    return markdown2.markdown(text, extras=MARKDOWN, safe_mode="escape")


def write_api(folder: Path) -> None:
    """Writes one page per documented module, and the index of their search."""
    names = [name for group in module_names().values() for name in group]
    _stand_in_for_supervision()
    public = import_module("thinkseg")
    for name in public.__all__:
        getattr(public, name)  # loaded on access, and pdoc documents what is there
    modules = {name: pdoc.doc.Module.from_name(name) for name in names}
    for name, module in modules.items():
        path = folder / f"{name.replace('.', '/')}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(pdoc.render.html_module(module, modules), "utf-8")
    (folder / "search.js").write_text(pdoc.render.search_index(modules), "utf-8")


def write_guide(source: Path, site: Path) -> None:
    """Writes one Markdown file as a page, with the files that it links to."""
    content = markdown2.markdown(source.read_text("utf-8"), extras=MARKDOWN)
    path = site / _address(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    template = pdoc.render.env.get_template("guide.html.jinja2")
    html = re.sub(r'(?<=href=")(?!\w+:|#)([^"#]+)', lambda link: _moved(link[1], source, site), content)
    for image in re.findall(r'<img src="([^"]+)"', html):
        _moved(image, source, site)
    title = re.sub("<.*?>", "", content.partition("</h1>")[0])
    values = {"title": title.strip(), "content": html, "toc": content.toc_html, "address": _address(source)}
    path.write_text(template.render(values), "utf-8")


def _address(source: Path) -> str:
    """The address of a Markdown file in the site."""
    return "index.html" if source == ROOT / "README.md" else source.relative_to(ROOT).with_suffix(".html").as_posix()


def _moved(link: str, source: Path, site: Path) -> str:
    """The address in the site of a file that a page links to. Files that are no pages are copied."""
    target = (source.parent / link).resolve()
    here = (site / _address(source)).parent
    if target.suffix == ".md" and target.exists():
        return os.path.relpath(site / _address(target), here)
    if page := _api_pages().get(target):
        return os.path.relpath(site / page, here)
    if target.is_relative_to(ROOT) and target.exists():
        copy = site / target.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(target, copy, dirs_exist_ok=True) if target.is_dir() else shutil.copyfile(target, copy)
    return link


@cache
def _api_pages() -> dict[Path, str]:
    """The pages of documented modules by source file."""
    return {
        Path(str(import_module(name).__file__)).resolve(): address
        for group in api_groups()
        for name, address in group.links
    }


class _Page(HTMLParser):
    """What a page links to, what it loads, and the identifiers that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name == "src" or (name == "href" and tag == "link"):
                self.loads.append(value or "")
            elif name == "href":
                self.links.append(value or "")


def find_faults(site: Path) -> Iterator[str]:
    """Yields what is wrong with a site, in one line each: see the docstring of this file."""
    pages = {path: _Page(path.read_text("utf-8")) for path in sorted(site.rglob("*.html"))}
    listed = {address for group in guide_groups() for _, address in group.links}
    yield from (f"README.md, More: {_address(page)} is not listed" for page in guides() if _address(page) not in listed)
    for path, page in pages.items():
        name = path.relative_to(site)
        yield from (f"{name}: loads {load}" for load in page.loads if re.match(r"(\w+:)?//", load))
        local = [link for link in (*page.links, *page.loads) if not re.match(r"\w+:", link)]
        yield from (f"{name}: {link} leads nowhere" for link in local if not _leads_somewhere(link, path, pages))


def _leads_somewhere(link: str, page: Path, pages: dict[Path, _Page]) -> bool:
    address, _, anchor = unquote(link).partition("#")
    target = Path(os.path.normpath(page.parent / address)) if address else page
    return target.exists() and (not anchor or (target in pages and anchor in pages[target].ids))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "runs" / "docs")
    except ThinkSegError as error:
        sys.exit(f"make docs: {error}")
