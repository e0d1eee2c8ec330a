"""The layers of the package: imports point down, files do not import one another in a circle, folders stay small."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import thinkseg

ROOT = Path(thinkseg.__file__).parent

# Each line may import from the lines above it, and from nothing beside it.
LAYERS = (
    ("errors", "prompts", "rle"),
    ("console", "types"),
    ("events", "scale", "storage", "web"),
    ("ops",),
    ("data", "chains", "models"),
    ("demonstrations", "rewards", "pipeline", "selection"),
    ("evaluation",),
    ("report",),
    ("segmenter",),
    ("training", "annotation", "export", "server", "app"),
    ("cli",),
    ("__main__",),
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}

# Pairs of folders or files of which the first does not import the second.
STRANGERS = (
    ("training.sft", "training.grpo"),
    ("training.grpo", "training.sft"),
    ("training.loop", "training.sft"),
    ("training.loop", "training.grpo"),
    ("training.trainer", "training.sft"),
    ("training.trainer", "training.grpo"),
    ("data.readers", "data.benchmarks"),
    ("data.readers", "data.shapes"),
    ("models.policies", "models.trackers"),
    ("models.trackers", "models.policies"),
)

MAX_MODULES_BESIDE_PACKAGES = 8
MAX_FILES_PER_FOLDER = 14

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
    "pydantic",
    "jinja2",
    "fastapi",
    "uvicorn",
    "ray",
}


def name_of(path: Path) -> str:
    """The dotted name of a file below the package: `ops.masks`, `chains` for chains/__init__.py, "" for the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(name: str) -> set[str]:
    """Dotted names of the files that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{FILES[name]}: relative imports hide which layer is meant"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            package, _, rest = module.partition(".")
            if package == "thinkseg":
                found.add(rest if rest in FILES else rest.rpartition(".")[0])
    return found - {"", name}


@pytest.mark.parametrize("name", [name for name in FILES if name])
def test_imports_point_down(name: str) -> None:
    part = name.partition(".")[0]
    for other in {other.partition(".")[0] for other in imports(name)} - {part}:
        assert RANK[other] < RANK[part], f"{name} imports {other}, which is not below {part}"


def test_every_part_has_its_layer() -> None:
    assert {name.partition(".")[0] for name in FILES} - {""} == set(RANK)


@pytest.mark.parametrize(("folder", "stranger"), STRANGERS)
def test_strangers_do_not_import_one_another(folder: str, stranger: str) -> None:
    inside = [name for name in FILES if f"{name}.".startswith(f"{folder}.")]
    assert inside
    for name in inside:
        assert not [other for other in imports(name) if f"{other}.".startswith(f"{stranger}.")], name


def test_files_do_not_import_in_a_circle() -> None:
    TopologicalSorter({name: imports(name) for name in FILES if name}).prepare()


def test_few_modules_stand_beside_the_packages() -> None:
    assert len([path for path in ROOT.glob("*.py") if not path.stem.startswith("__")]) <= MAX_MODULES_BESIDE_PACKAGES


def test_folders_stay_small() -> None:
    folders = [path for path in (ROOT, *ROOT.rglob("*")) if path.is_dir()]
    assert not [folder for folder in folders if len(list(folder.glob("*.py"))) > MAX_FILES_PER_FOLDER]


def test_imports_are_found() -> None:
    assert imports("segmenter.segmenter") >= {"chains", "errors", "ops.inputs", "types", "models"}


@pytest.mark.parametrize(
    "module", ["thinkseg", "thinkseg.cli.app", "thinkseg.types", "thinkseg.models", "thinkseg.chains"]
)
def test_importing_is_cheap(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "thinkseg" in loaded
    assert not loaded & HEAVY


def test_help_loads_no_heavy_library() -> None:
    code = "import sys, thinkseg.cli.app as app; app.main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *text, modules = done.stdout.splitlines()
    assert "Commands:" in text
    assert not {name.partition(".")[0] for name in modules.split()} & (HEAVY | {"numpy"})
