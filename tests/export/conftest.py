"""Exports of a small benchmark, and the kit as other trainers load it."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import thinkseg.export
from thinkseg.data import open_benchmark
from thinkseg.export.images import ImageWriter
from thinkseg.export.job import ExportJob
from thinkseg.export.samples import ExportSettings
from thinkseg.export.sources import BenchmarkSource
from thinkseg.rle import encode
from thinkseg.types import View

KIT = Path(thinkseg.export.__file__).parent / "kit"


@pytest.fixture(scope="session")
def kit():
    """Loads a file of the kit as verl and EasyR1 do: by its path, without adding it to sys.modules."""

    def load(name, folder=KIT):
        spec = importlib.util.spec_from_file_location("custom_module", folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def benchmark(tmp_path):
    """Questions about three frames of 5x4 pixels: two targets, none, a hidden one, no ground truth."""
    root = tmp_path / "mine"
    (root / "clip").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (5, 4), (80 * number,) * 3).save(root / "clip" / f"{number}.png")
    left, right = np.zeros((2, 4, 5), bool)
    left[:2, :2] = right[3, 1:] = True
    tracks = [[encode(left), None, encode(left)], [None, None, encode(right)]]
    rows = [
        {"query": "both  of them", "category": "reasoning", "masks": tracks},
        {"query": "the bird", "masks": []},
        {"query": "the ghost", "masks": [[None] * 3]},
        {"query": "who knows"},
    ]
    lines = [json.dumps({"video": "clip", **row}) for row in rows]
    (root / "queries.jsonl").write_text("\n".join(lines), "utf-8")
    return open_benchmark("folder", root)


@pytest.fixture
def source(benchmark):
    return BenchmarkSource(benchmark)


@pytest.fixture
def job(tmp_path):
    """Makes a job: job("veason", for_sft=True)."""

    def make(chain="veason", for_sft=False, for_rl=False, **more):
        folder = tmp_path / "out"
        folder.mkdir(exist_ok=True)
        view = View(3, (10, 8), closeup_wh=(20, 16))
        settings = ExportSettings(chain, view, ImageWriter(folder), for_sft, for_rl)
        return ExportJob(folder, folder, "folder", "mine", settings, "owner/qwen2.5-vl", 28, **more)

    return make


@pytest.fixture
def written():
    """Reads JSON lines."""

    def read(path):
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    return read
