import pytest

from thinkseg.data import BENCHMARKS
from thinkseg.report.pages.published import published


@pytest.mark.parametrize("benchmark", ["revos", "reasonvos", "mevis", "refdavis", "refytvos"])
def test_published_scores_have_a_paper_each_and_methods_differ(benchmark):
    found = published(benchmark)
    assert benchmark in BENCHMARKS
    assert len({one.method for one in found}) == len(found) > 0


def test_published_unknown_benchmark_is_empty():
    assert published("shapes") == []
