"""Questions for other trainers: a data set in, a folder in the format of another trainer out.

    FORMATS["verl"]     what a format takes; `export.job.export` writes one

docs/export.md tells what each format looks like and which command reads it. Importing this loads no writer yet.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FORMATS", "Format"]


@dataclass(frozen=True, slots=True)
class Format:
    """A format that can be written.

    title: whose it is, in print. write: its writer, "module.function" in this package: (questions, job) -> None.
    replies: it teaches what to say, so that only questions whose true reply is known are of use.
    prompts: it lets a policy try and judges what comes, so that only questions whose truth is known are of use.
    chains: those whose dialogues the trainer can lead.
    """

    title: str
    write: str
    replies: bool = False
    prompts: bool = False
    chains: tuple[str, ...] = ("veason", "revseg")


FORMATS: dict[str, Format] = {
    "llamafactory": Format("LLaMA-Factory", "llamafactory.write", replies=True),
    "verl": Format("verl", "verl.write", prompts=True),
    "easyr1": Format("EasyR1", "easyr1.write", prompts=True, chains=("veason",)),
    "trl": Format("TRL", "trl.write", prompts=True, chains=("veason",)),
    "jsonl": Format("plain lines of JSON", "jsonl.write"),
}
"""Every format by the name that `thinkseg export` takes."""
