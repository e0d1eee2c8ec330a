import asyncio
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinkseg.errors import SettingsError
from thinkseg.models.policies.client import BackoffGate, RetryPolicy, asked_wait

chances = st.floats(0, 1)


@given(st.integers(1, 10_000), chances)
def test_waits_grow_up_to_a_limit_and_are_at_least_half_of_what_they_can_be(failures, chance):
    patience = RetryPolicy(first=1.0, longest=20.0)
    most = min(20.0, 2.0 ** min(failures - 1, 60))
    assert most / 2 <= patience.pause(failures, None, chance) <= most


@given(st.integers(1, 10), st.floats(0, 300), chances)
def test_a_server_is_never_asked_before_it_wants_to_be(failures, asked, chance):
    assert asked <= RetryPolicy(first=1.0).pause(failures, asked, chance) <= asked + 1.0


def test_those_who_failed_together_do_not_come_back_together():
    patience = RetryPolicy()
    assert patience.pause(3, None, 0.1) != patience.pause(3, None, 0.9)
    assert patience.pause(3, 5.0, 0.1) != patience.pause(3, 5.0, 0.9)


@pytest.mark.parametrize("wrong", [{"tries": 0}, {"first": -1.0}, {"first": 90.0}, {"longest": float("nan")}])
def test_impossible_patience_is_refused(wrong):
    with pytest.raises(SettingsError, match="patience"):
        RetryPolicy(**wrong)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 99999 00:00:00 GMT"}, None),
    ],
)
def test_the_wait_a_server_asks_for(headers, seconds):
    assert asked_wait(headers) == seconds


def test_the_wait_until_a_date():
    assert 58 <= asked_wait({"retry-after": formatdate(time.time() + 60, usegmt=True)}) <= 60


def test_a_gate_holds_back_for_the_longest_time_it_was_told():
    async def passing():
        gate, started = BackoffGate(), time.monotonic()
        await gate.passed()
        at_once = time.monotonic() - started
        gate.close(0.1)
        gate.close(0.01)
        await asyncio.gather(gate.passed(), gate.passed())
        return at_once, time.monotonic() - started

    at_once, later = asyncio.run(passing())
    assert at_once < 0.1 <= later
