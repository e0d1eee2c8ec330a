"""Exports of questions in the formats of other trainers; see docs/export.md.

FORMATS["verl"]     a format; `export.job.export` writes it
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True, slots=True)
class Format:
    """An export format.

    title: name of the trainer. write: the writer as "module.function" of this package, (samples, job) -> None;
    imported on use. for_sft: needs true replies. for_rl: needs the ground truth and contains no replies.
    chains: names of the supported chains.
    """

    title: str
    write: str
    for_sft: bool = False
    for_rl: bool = False
    chains: tuple[str, ...] = ("veason", "revseg")


FORMATS: dict[str, Format] = {
    "llamafactory": Format("LLaMA-Factory", "llamafactory.write", for_sft=True),
    "verl": Format("verl", "verl.write", for_rl=True),
    "easyr1": Format("EasyR1", "easyr1.write", for_rl=True, chains=("veason",)),
    "trl": Format("TRL", "trl.write", for_rl=True, chains=("veason",)),
    "jsonl": Format("JSON lines", "jsonl.write"),
}
"""Formats by the name that `thinkseg export` takes."""
