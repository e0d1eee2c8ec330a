"""A stratified draw of questions, spread over videos.

The strata are {referring, reasoning} x {single, multiple} and questions without a target. The draw depends on the seed
and the ids only, not on the order of files or the version of a library.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from thinkseg import console
from thinkseg.annotation.candidates import NO_TARGET_STRATUM, STRATA, Candidate

Balance = Literal["proportional", "balanced"]


def seeded_hash(seed: int, purpose: str, name: str) -> int:
    """Returns a pseudo-random integer in 0 .. 2**64 - 1 that depends on the arguments only."""
    digest = hashlib.sha256(f"{seed}\n{purpose}\n{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def draw(
    candidates: Sequence[Candidate], count: int, balance: Balance, seed: int, no_target: bool = False
) -> list[Candidate]:
    """Draws `count` questions, or all if there are fewer, in the order of `candidates`.

    balance: "proportional" keeps the shares of the strata, "balanced" makes them as equal as their sizes allow. Within
    a stratum, videos that were drawn least come first. no_target: includes questions without a target.
    """
    strata: dict[str, list[Candidate]] = {name: [] for name in STRATA}
    for candidate in candidates:
        if no_target or candidate.stratum != NO_TARGET_STRATUM:
            strata[candidate.stratum].append(candidate)
    counts = quotas({name: len(members) for name, members in strata.items()}, count, balance)
    video_counts: Counter[str] = Counter()
    drawn: set[str] = set()
    for name, members in strata.items():
        drawn.update(_draw_over_videos(members, counts[name], seed, video_counts))
    return [candidate for candidate in candidates if candidate.id in drawn]


def quotas(sizes: Mapping[str, int], count: int, balance: Balance) -> dict[str, int]:
    """Returns the number of questions to draw per stratum, `count` in total, or all. sizes: questions per stratum."""
    total = sum(sizes.values())
    count = min(count, total)
    if balance == "balanced":
        return _equal_quotas(sizes, count)
    parts = {name: divmod(count * size, total or 1) for name, size in sizes.items()}
    shares = {name: integer for name, (integer, _) in parts.items()}
    # Largest remainders first; ties in the order of the strata.
    for name in sorted(parts, key=lambda name: -parts[name][1])[: count - sum(shares.values())]:
        shares[name] += 1
    return shares


def _equal_quotas(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """Returns equal quotas; larger strata share the rest of those that are too small."""
    shares = {}
    for position, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):
        shares[name] = min(sizes[name], count // (len(sizes) - position))
        count -= shares[name]
    return shares


def _draw_over_videos(members: Sequence[Candidate], count: int, seed: int, video_counts: Counter[str]) -> Iterable[str]:
    """Returns ids of members at random, least drawn videos first. video_counts: draws per video so far; updated."""
    waiting = [
        (video_counts[member.video], seeded_hash(seed, "draw", member.id), member.id, member.video)
        for member in members
    ]
    heapq.heapify(waiting)
    drawn: list[str] = []
    while len(drawn) < count:
        draws, rank, name, video = heapq.heappop(waiting)
        if draws < video_counts[video]:
            heapq.heappush(waiting, (video_counts[video], rank, name, video))
            continue
        video_counts[video] += 1
        drawn.append(name)
    return drawn


def strata_table(columns: Mapping[str, Collection[Candidate]]) -> str:
    """Returns a table of questions per stratum and of videos, one column per collection."""
    counts = {head: Counter(candidate.stratum for candidate in column) for head, column in columns.items()}
    rows = [[name, *(f"{count[name]:,}" for count in counts.values())] for name in STRATA]
    rows.append(["all", *(f"{len(column):,}" for column in columns.values())])
    videos = (len({candidate.video for candidate in column}) for column in columns.values())
    rows.append(["videos", *(f"{number:,}" for number in videos)])
    return console.table(("stratum", *columns), rows, numbers=range(1, len(columns) + 1))
