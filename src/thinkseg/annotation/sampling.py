"""Which questions a set is made from: candidates in, a draw that is stratified and spread over videos out.

Strata are {referring, reasoning} x {single, multiple}, and questions without a target if they are wanted. What is drawn
depends on the seed and on ids alone, not on the order of files or on the version of a library.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from thinkseg import console
from thinkseg.annotation.candidates import NONE, STRATA, Candidate

Balance = Literal["proportional", "balanced"]


def chance(seed: int, purpose: str, name: str) -> int:
    """A large number drawn for a name; the same wherever and whenever it is asked for."""
    digest = hashlib.sha256(f"{seed}\n{purpose}\n{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def draw(
    candidates: Sequence[Candidate], count: int, balance: Balance, seed: int, no_target: bool = False
) -> list[Candidate]:
    """Draws `count` questions, or all if there are fewer, in the order of `candidates`.

    balance: strata weigh as in the data ("proportional") or alike ("balanced", as far as they go). Within a stratum the
    next one drawn is about a video that was drawn least so far. no_target: questions without a target are drawn, too.
    """
    strata: dict[str, list[Candidate]] = {name: [] for name in STRATA}
    for candidate in candidates:
        if no_target or candidate.stratum != NONE:
            strata[candidate.stratum].append(candidate)
    shares = quotas({name: len(members) for name, members in strata.items()}, count, balance)
    used: Counter[str] = Counter()
    drawn: set[str] = set()
    for name, members in strata.items():
        drawn.update(_spread(members, shares[name], seed, used))
    return [candidate for candidate in candidates if candidate.id in drawn]


def quotas(sizes: Mapping[str, int], count: int, balance: Balance) -> dict[str, int]:
    """How many to draw of each stratum, `count` in all, or all there are. sizes: how many there are of each."""
    total = sum(sizes.values())
    count = min(count, total)
    if balance == "balanced":
        return _level(sizes, count)
    parts = {name: divmod(count * size, total or 1) for name, size in sizes.items()}
    shares = {name: whole for name, (whole, _) in parts.items()}
    # Largest remainders first, and the order of the strata where these are equal.
    for name in sorted(parts, key=lambda name: -parts[name][1])[: count - sum(shares.values())]:
        shares[name] += 1
    return shares


def _level(sizes: Mapping[str, int], count: int) -> dict[str, int]:
    """Equal shares; what a small stratum cannot give is shared by the larger ones."""
    shares = {}
    for place, name in enumerate(sorted(sizes, key=lambda name: sizes[name])):
        shares[name] = min(sizes[name], count // (len(sizes) - place))
        count -= shares[name]
    return shares


def _spread(members: Sequence[Candidate], count: int, seed: int, used: Counter[str]) -> Iterable[str]:
    """Ids of members by chance, those first whose videos were used least. used: how often; brought up to date."""
    waiting = [(used[member.video], chance(seed, "draw", member.id), member.id, member.video) for member in members]
    heapq.heapify(waiting)
    drawn: list[str] = []
    while len(drawn) < count:
        often, rank, name, video = heapq.heappop(waiting)
        if often < used[video]:
            heapq.heappush(waiting, (used[video], rank, name, video))
            continue
        used[video] += 1
        drawn.append(name)
    return drawn


def table(columns: Mapping[str, Collection[Candidate]]) -> str:
    """How many of each stratum there are in each column, and of how many videos, to read."""
    counts = {head: Counter(candidate.stratum for candidate in column) for head, column in columns.items()}
    lines = [[name, *(f"{count[name]:,}" for count in counts.values())] for name in STRATA]
    lines.append(["all", *(f"{len(column):,}" for column in columns.values())])
    videos = (len({candidate.video for candidate in column}) for column in columns.values())
    lines.append(["videos", *(f"{number:,}" for number in videos)])
    return console.table(("stratum", *columns), lines, numbers=range(1, len(columns) + 1))
