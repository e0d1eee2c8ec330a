"""Budgets: what is spent, what is set aside, and when to stop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.annotation.costs import Budget, CostTracker
from thinkseg.errors import ModelError, SettingsError
from thinkseg.types import Reply


def reply(read, written=10):
    return Reply("x", num_tokens=written, num_prompt_tokens=read)


def test_without_a_budget_everything_goes():
    purse = CostTracker(Budget(), 100)
    purse.pay(reply(0))
    assert purse.allows(1000)


def test_what_is_spent_adds_up():
    purse = CostTracker(Budget(price_in=2.0, price_out=10.0), 100)
    purse.pay(reply(1_000_000, 100_000))
    purse.pay(reply(500_000, 0))
    assert (purse.read, purse.written) == (1_500_000, 100_000)
    assert purse.cost == pytest.approx(4.0)


def test_one_at_a_time_until_it_is_known_what_a_prompt_costs():
    purse = CostTracker(Budget(tokens=1000), 100)
    assert purse.allows(0)
    assert not purse.allows(1)
    purse.pay(reply(200, 50))
    # 250 are spent; each on its way may cost 300.
    assert purse.allows(1)
    assert not purse.allows(2)


def test_money():
    purse = CostTracker(Budget(cost=1.0, price_in=1.0, price_out=10.0), 10_000)
    purse.pay(reply(200_000, 0))
    # 0.2 are spent, and each on its way may cost 0.3.
    assert purse.allows(1)
    assert not purse.allows(2)


def test_not_even_one_reply_fits():
    assert not CostTracker(Budget(tokens=99), 100).allows(0)


def test_a_server_that_does_not_count_cannot_be_held_to_a_budget():
    purse = CostTracker(Budget(tokens=1000), 100)
    purse.pay(reply(0))
    with pytest.raises(ModelError, match="does not say how many tokens"):
        purse.allows(0)


@given(
    st.integers(500, 5_000),
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 100)), max_size=40),
    st.integers(1, 6),
)
def test_no_more_is_spent_than_there_is(tokens, costs, at_once):
    """Prompts grow no longer than the first, which is the longest."""
    purse = CostTracker(Budget(tokens=tokens), 100)
    waiting = [(300, 100), *costs]
    on_way = []
    while True:
        while waiting and len(on_way) < at_once and purse.allows(len(on_way)):
            on_way.append(waiting.pop(0))
        if not on_way:
            break
        purse.pay(reply(*on_way.pop()))
    assert purse.read + purse.written <= tokens


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens": 0},
        {"cost": -1.0, "price_in": 1.0},
        {"price_in": float("nan")},
        {"price_out": float("inf")},
        {"cost": 5.0},
    ],
)
def test_impossible_budgets(wrong):
    with pytest.raises(SettingsError):
        Budget(**wrong)
