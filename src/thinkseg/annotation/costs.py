"""What annotating costs, and when it has to stop: tokens in; a sum, and whether there is enough for one more, out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from thinkseg.errors import ModelError, SettingsError
from thinkseg.types import Reply


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that may be spent on one set, all runs together; None for as much as it takes.

    price_in, price_out: of a million tokens read and written, in whatever currency `cost` is.
    """

    tokens: int | None = None
    cost: float | None = None
    price_in: float = 0.0
    price_out: float = 0.0

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.cost, self.price_in, self.price_out) if limit is not None]
        if (self.tokens is not None and self.tokens < 1) or not all(0 <= limit < math.inf for limit in limits):
            raise SettingsError("a budget: at least 1 token; a cost and prices of at least 0")
        if self.cost is not None and not self.price_in + self.price_out > 0:
            raise SettingsError("a cost is only known with prices: give --price-in and --price-out, per million tokens")

    @property
    def limited(self) -> bool:
        return self.tokens is not None or self.cost is not None

    def price(self, read: int, written: int) -> float:
        """What so many tokens cost."""
        return (read * self.price_in + written * self.price_out) / 1e6

    def covers(self, read: int, written: int) -> bool:
        """Whether so many tokens are within it."""
        affordable = self.cost is None or self.price(read, written) <= self.cost
        return affordable and (self.tokens is None or read + written <= self.tokens)


@dataclass(slots=True)
class CostTracker:
    """What was spent so far, and what is set aside for replies on their way.

    A question on its way is taken to cost as much as the longest prompt so far and a reply of `longest_reply` tokens.
    Until one reply has told what prompts cost, questions are asked one at a time.
    """

    budget: Budget
    longest_reply: int
    read: int = 0
    written: int = 0
    longest_prompt: int = field(default=0, init=False)
    uncounted: bool = field(default=False, init=False)

    @property
    def cost(self) -> float:
        return self.budget.price(self.read, self.written)

    def pay(self, reply: Reply) -> None:
        """Counts a reply."""
        self.read += reply.num_prompt_tokens
        self.written += reply.num_tokens
        self.longest_prompt = max(self.longest_prompt, reply.num_prompt_tokens)
        self.uncounted |= not reply.num_prompt_tokens

    def allows(self, on_their_way: int) -> bool:
        """Whether one more question may be asked beside those on their way.

        Raises ModelError if there is a budget, and a server that does not count tokens.
        """
        if not self.budget.limited:
            return True
        if self.uncounted:
            raise ModelError("the server does not say how many tokens it reads, so no budget can be kept: leave it out")
        if not self.longest_prompt:
            return not on_their_way and self.budget.covers(0, self.longest_reply)
        questions = on_their_way + 1
        read, written = self.longest_prompt * questions, self.longest_reply * questions
        return self.budget.covers(self.read + read, self.written + written)
