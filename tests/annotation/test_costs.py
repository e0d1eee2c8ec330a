"""Budgets in tokens and money."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.annotation.costs import CostBudget, CostTracker
from thinkseg.errors import ModelError, SettingsError
from thinkseg.types import Reply


def reply(prompt_tokens, completion_tokens=10):
    return Reply("x", num_tokens=completion_tokens, num_prompt_tokens=prompt_tokens)


def test_allows_no_budget_returns_true():
    costs = CostTracker(CostBudget(), 100)
    costs.record(reply(0))
    assert costs.allows(1000)


def test_record_sums_usage_and_cost():
    costs = CostTracker(CostBudget(input_price=2.0, output_price=10.0), 100)
    costs.record(reply(1_000_000, 100_000))
    costs.record(reply(500_000, 0))
    assert (costs.prompt_tokens, costs.completion_tokens) == (1_500_000, 100_000)
    assert costs.cost == pytest.approx(4.0)


def test_allows_before_first_reply_one_request():
    costs = CostTracker(CostBudget(tokens=1000), 100)
    assert costs.allows(0)
    assert not costs.allows(1)
    costs.record(reply(200, 50))
    # 250 are used; each request in flight is estimated at 300.
    assert costs.allows(1)
    assert not costs.allows(2)


def test_allows_cost_limit_estimates_requests_in_flight():
    costs = CostTracker(CostBudget(cost=1.0, input_price=1.0, output_price=10.0), 10_000)
    costs.record(reply(200_000, 0))
    # 0.2 are spent; each request in flight is estimated at 0.3.
    assert costs.allows(1)
    assert not costs.allows(2)


def test_allows_budget_below_one_reply_returns_false():
    assert not CostTracker(CostBudget(tokens=99), 100).allows(0)


def test_allows_usage_missing_raises():
    costs = CostTracker(CostBudget(tokens=1000), 100)
    costs.record(reply(0))
    with pytest.raises(ModelError, match="does not report prompt tokens"):
        costs.allows(0)


@given(
    st.integers(500, 5_000),
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 100)), max_size=40),
    st.integers(1, 6),
)
def test_allows_any_replies_keeps_total_within_budget(tokens, usages, concurrency):
    """The first prompt is the longest."""
    costs = CostTracker(CostBudget(tokens=tokens), 100)
    waiting = [(300, 100), *usages]
    in_flight = []
    while True:
        while waiting and len(in_flight) < concurrency and costs.allows(len(in_flight)):
            in_flight.append(waiting.pop(0))
        if not in_flight:
            break
        costs.record(reply(*in_flight.pop()))
    assert costs.prompt_tokens + costs.completion_tokens <= tokens


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens": 0},
        {"cost": -1.0, "input_price": 1.0},
        {"input_price": float("nan")},
        {"output_price": float("inf")},
        {"cost": 5.0},
    ],
)
def test_cost_budget_invalid_limit_raises(wrong):
    with pytest.raises(SettingsError):
        CostBudget(**wrong)
