"""The metrics of each benchmark by the rules of its official evaluator, quirks included.

    base        metrics that all benchmarks report; MeViS, ReasonVOS, shapes
    revos       VISA's evaluator, and the robustness R of ReVOS, as published and as intended
    refdavis    protocol A, J and F of all objects of a video together; protocol B, each expression alone
    vicas       average precision of tracks (LG-VIS)

Metrics of different protocols must not be compared, so every set of metrics states the rules of its protocol.
"""

from collections.abc import Callable, Sequence

from thinkseg.data.benchmarks.base import Benchmark
from thinkseg.evaluation.protocols import base, refdavis, revos, vicas
from thinkseg.evaluation.protocols.base import Protocol
from thinkseg.storage.run_folder import Row

PROTOCOLS: dict[str, Callable[[Sequence[Row]], Protocol]] = {
    "revos": revos.protocol,
    "reasonvos": base.reasonvos,
    "mevis-v2": base.mevis_v2,
    "refdavis": refdavis.protocol,
}
"""Benchmarks with rules of their own, besides ViCaS. The truth of Ref-YouTube-VOS is known to its server only."""


def protocol_of(name: str, rows: Sequence[Row], corrected: bool = False) -> Protocol:
    """Returns the metrics of a benchmark for these rows. corrected: without the quirks of ViCaS' official evaluator."""
    if name == "vicas":
        return vicas.protocol(rows, corrected)
    return PROTOCOLS.get(name, base.protocol)(rows)


def metric_names(benchmark: Benchmark) -> list[str]:
    """Returns the names of the metrics of a benchmark, "GROUP/METRIC"; some may have no value for a run."""
    rows = [{"category": one.category, "annotation_run": one.annotation_run} for one in benchmark.expressions]
    return list(protocol_of(benchmark.name, rows).metrics)
