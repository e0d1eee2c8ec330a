"""The layers, read from the imports: they only point down, and what is heavy is loaded only where it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import thinkseg

ROOT = Path(thinkseg.__file__).parent

LAYERS = (
    ("errors", "rle", "console"),
    ("types",),
    ("storage", "ops"),
    ("data", "chains", "models"),
    ("demonstrations", "rewards", "pipeline"),
    ("evaluation",),
    ("report",),
    ("training", "annotation", "export"),
    ("cli",),
    ("__main__",),
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}

HEAVY = {
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "peft",
    "av",
    "cv2",
    "numba",
    "scipy",
    "PIL",
    "pycocotools",
    "rich",
    "yaml",
    "openai",
    "jinja2",
}


def part_of(path: Path) -> str:
    """The part of the package a file belongs to: `ops` for ops/masks.py, `cli` for cli.py."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Parts of the package that a file imports, wherever in it; the package itself is ""."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which layer is meant"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            package, _, rest = module.partition(".")
            if package == "thinkseg":
                found.add(rest.partition(".")[0])
    return found


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    part = part_of(path)
    if part == "__init__":
        return
    for other in imports(path) - {part, "", "__version__"}:
        assert RANK[other] < RANK[part], f"{path.relative_to(ROOT)} imports {other}, which is not below {part}"


def test_every_part_has_its_layer():
    assert {part_of(path) for path in FILES} - {"__init__"} == set(RANK)


def test_data_chains_and_models_are_strangers():
    strangers = {"data", "chains", "models"}
    for path in FILES:
        if part_of(path) in strangers:
            assert not imports(path) & strangers - {part_of(path)}, path


def test_imports_are_found():
    assert imports(ROOT / "pipeline.py") >= {"chains", "errors", "ops", "types", "models"}


@pytest.mark.parametrize(
    "module", ["thinkseg", "thinkseg.cli.app", "thinkseg.types", "thinkseg.models", "thinkseg.chains"]
)
def test_importing_is_cheap(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "thinkseg" in loaded
    assert not loaded & HEAVY


def test_help_loads_no_numpy_either():
    code = "import sys, thinkseg.cli.app; thinkseg.cli.app.build_parser().format_help(); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
