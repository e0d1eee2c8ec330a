"""What each benchmark makes of scores and masks, quirks included.

    plans           rows -> which figures a benchmark reports, and how they come to be
    robustness      pixels -> the robustness R of ReVOS, as published and as meant
    refdavis        label maps of all objects at once -> J and F of Ref-DAVIS17 protocol A
    lgvis           tracks -> average precision of ViCaS

The protocols differ in more than names, and figures of different ones must not be compared; so everything that holds
figures says which one it follows.
"""

from collections.abc import Callable, Sequence

from thinkseg.evaluation.protocols.base import Protocol, mean_of_all, mevis_v2, reasonvos
from thinkseg.evaluation.protocols.refdavis import refdavis
from thinkseg.evaluation.protocols.revos import revos
from thinkseg.evaluation.protocols.vicas import vicas
from thinkseg.storage.run_folder import Row


def protocol_of(name: str, rows: Sequence[Row], fixed: bool = False) -> Protocol:
    """What a benchmark reports on rows like these. fixed: without the quirks of ViCaS' official evaluator."""
    if name == "vicas":
        return vicas(rows, fixed)
    return PROTOCOLS.get(name, mean_of_all)(rows)


PROTOCOLS: dict[str, Callable[[Sequence[Row]], Protocol]] = {
    "revos": revos,
    "reasonvos": reasonvos,
    "mevis-v2": mevis_v2,
    "refdavis": refdavis,
}
"""Benchmarks with rules of their own, besides ViCaS. Of Ref-YouTube-VOS only the server knows the truth."""
