"""Benchmarks by name."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

import layouts
from thinkseg.data import BENCHMARKS, FILE_BENCHMARKS, open_benchmark
from thinkseg.data.readers.issues import IssueKind
from thinkseg.errors import DatasetError


def test_benchmarks_every_loader_exists():
    files = ["revos", "reasonvos", "mevis", "mevis-v2", "vicas", "refytvos", "refdavis", "lvvis", "folder"]
    assert (list(BENCHMARKS), list(FILE_BENCHMARKS)) == (["shapes", *files], files)
    for source in BENCHMARKS.values():
        module, _, function = source.load.partition(".")
        assert callable(getattr(import_module(f"thinkseg.data.benchmarks.{module}"), function))
        assert source.splits


@pytest.mark.parametrize("name", FILE_BENCHMARKS)
def test_open_benchmark_every_split_is_known(tmp_path, name):
    for split in BENCHMARKS[name].splits:
        with pytest.raises(DatasetError, match=r"cannot be read .*docs/benchmarks\.md"):
            open_benchmark(name, tmp_path, split)


def test_open_benchmark_default_split_is_first(tmp_path):
    layouts.revos(tmp_path)
    benchmark = open_benchmark("revos", str(tmp_path))
    assert (benchmark.name, benchmark.split, benchmark.root) == ("revos", "valid", tmp_path)


def test_open_benchmark_unknown_name_or_split_raises(tmp_path):
    with pytest.raises(DatasetError, match="unknown benchmark 'revoz'; must be one of shapes, revos"):
        open_benchmark("revoz", tmp_path)
    with pytest.raises(DatasetError, match="ReVOS: unknown split 'test'; must be one of valid, train"):
        open_benchmark("revos", tmp_path, "test")


def test_guide_lists_every_benchmark_and_split():
    guide = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text("utf-8")
    rows = [line for line in guide.splitlines() if line.startswith("| `") and "](#" in line]
    for name, source in BENCHMARKS.items():
        (row,) = (line for line in rows if f"`{name}`" in line)
        assert set(re.split("[,;] ", row.split("|")[3].strip())) == set(source.splits)
    for kind in get_args(IssueKind):
        assert f"\n| {kind} |" in guide


def test_guide_example_queries_open(tmp_path):
    guide = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text("utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "queries.jsonl").write_text(example, "utf-8")
    for name in ("clips/yard", "clips/garden.mp4"):
        layouts.write_frames(tmp_path / name)
    for name in ("masks/1", "masks/2"):
        layouts.write_mask(tmp_path / name / "00000.png", layouts.LEFT)
    benchmark = open_benchmark("folder", tmp_path)
    assert [one.key for one in benchmark.expressions] == ["clips/garden.mp4/1", "clips/garden.mp4/cats", "clips/yard/3"]
    assert [one.objects for one in benchmark.expressions] == [None, ("masks/1", "masks/2"), ()]


def test_import_data_loads_no_loader():
    code = "import sys, thinkseg.data; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "cv2", "av", "PIL", "thinkseg.data.benchmarks.revos"} & set(done.stdout.split())
