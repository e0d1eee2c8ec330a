"""A budget in tokens or money for all runs of one set, and the tracker that keeps to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from thinkseg.errors import ModelError, SettingsError
from thinkseg.types import Reply


@dataclass(frozen=True, slots=True)
class CostBudget:
    """Limits for one set, all runs together; None: no limit.

    tokens: prompt and completion tokens. cost: money, in the currency of the prices.
    input_price, output_price: per million prompt and completion tokens.
    """

    tokens: int | None = None
    cost: float | None = None
    input_price: float = 0.0
    output_price: float = 0.0

    def __post_init__(self) -> None:
        limits = [limit for limit in (self.cost, self.input_price, self.output_price) if limit is not None]
        if (self.tokens is not None and self.tokens < 1) or not all(0 <= limit < math.inf for limit in limits):
            raise SettingsError("budget: tokens must be >= 1, cost and prices must be finite and >= 0")
        if self.cost is not None and not self.input_price + self.output_price > 0:
            raise SettingsError("budget: a cost limit needs prices; give --price-in and --price-out")

    @property
    def limited(self) -> bool:
        return self.tokens is not None or self.cost is not None

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (prompt_tokens * self.input_price + completion_tokens * self.output_price) / 1e6

    def covers(self, prompt_tokens: int, completion_tokens: int) -> bool:
        """Returns whether these token counts are within the limits."""
        affordable = self.cost is None or self.price(prompt_tokens, completion_tokens) <= self.cost
        return affordable and (self.tokens is None or prompt_tokens + completion_tokens <= self.tokens)


@dataclass(slots=True)
class CostTracker:
    """Counts tokens and decides whether the budget allows another request.

    A request in flight is estimated at the longest prompt so far and a reply of `max_reply_tokens`. Before the first
    reply the prompt length is unknown, so only one request is allowed at a time.
    """

    budget: CostBudget
    max_reply_tokens: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    longest_prompt: int = field(default=0, init=False)
    usage_missing: bool = field(default=False, init=False)

    @property
    def cost(self) -> float:
        return self.budget.price(self.prompt_tokens, self.completion_tokens)

    def record(self, reply: Reply) -> None:
        """Adds the tokens of a reply."""
        self.prompt_tokens += reply.num_prompt_tokens
        self.completion_tokens += reply.num_tokens
        self.longest_prompt = max(self.longest_prompt, reply.num_prompt_tokens)
        self.usage_missing |= not reply.num_prompt_tokens

    def allows(self, num_in_flight: int) -> bool:
        """Returns whether the budget covers one more request next to those in flight.

        Raises ModelError if there is a budget and the server does not report token counts.
        """
        if not self.budget.limited:
            return True
        if self.usage_missing:
            raise ModelError("budget: the server does not report prompt tokens; remove the limits of the budget")
        if not self.longest_prompt:
            return not num_in_flight and self.budget.covers(0, self.max_reply_tokens)
        requests = num_in_flight + 1
        prompts, completions = self.longest_prompt * requests, self.max_reply_tokens * requests
        return self.budget.covers(self.prompt_tokens + prompts, self.completion_tokens + completions)
