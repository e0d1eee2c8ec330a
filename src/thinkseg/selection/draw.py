"""A stratified draw of questions, spread over videos.

The draw depends on the seed and the ids only, not on the order of files or the version of a library.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from thinkseg.errors import SettingsError
from thinkseg.selection.strata import NO_TARGET_STRATUM, STRATA, Candidate, stratum_sizes

Balance = Literal["proportional", "balanced"]


def seeded_hash(seed: int, purpose: str, name: str) -> int:
    """Returns a pseudo-random integer in 0 .. 2**64 - 1 that depends on the arguments only."""
    digest = hashlib.sha256(f"{seed}\n{purpose}\n{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


def draw(
    candidates: Sequence[Candidate], count: int, balance: Balance, seed: int, no_target: bool = False
) -> list[Candidate]:
    """Draws `count` questions, or all if there are fewer, in the order of `candidates`.

    balance: "proportional" keeps the shares of the strata, "balanced" makes them as equal as their sizes allow.
    no_target: includes questions without a target.
    """
    sizes = stratum_sizes(candidates)
    if not no_target:
        sizes[NO_TARGET_STRATUM] = 0
    return draw_counts(candidates, quotas(sizes, count, balance), seed)


def draw_share(
    candidates: Sequence[Candidate], count: int | None, balance: Balance, seed: int, no_target_share: float
) -> list[Candidate]:
    """Draws exactly `count` questions, of which `no_target_share` have no target, in the order of `candidates`.

    count: None for all questions with a target. no_target_share: >= 0 and < 1.
    Raises SettingsError if there are not enough questions.
    """
    sizes = stratum_sizes(candidates)
    without = sizes.pop(NO_TARGET_STRATUM)
    targets = sum(sizes.values())
    if count is None:
        count = targets + round(targets * no_target_share / (1 - no_target_share))
    num_without = round(count * no_target_share)
    if num_without > without or count - num_without > targets:
        wanted = f"{count - num_without:,} questions with a target and {num_without:,} without"
        raise SettingsError(
            f"cannot draw {wanted}: there are {targets:,} and {without:,}; lower the count or the share"
        )
    counts = {**quotas(sizes, count - num_without, balance), NO_TARGET_STRATUM: num_without}
    return draw_counts(candidates, counts, seed)


def draw_counts(candidates: Sequence[Candidate], counts: Mapping[str, int], seed: int) -> list[Candidate]:
    """Draws the given number of questions per stratum, in the order of `candidates`.

    Within a stratum, videos that were drawn least come first.
    """
    video_counts: Counter[str] = Counter()
    drawn: set[str] = set()
    for name in STRATA:
        members = [candidate for candidate in candidates if candidate.stratum == name]
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
