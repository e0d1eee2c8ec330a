"""Hosts that are refused."""

import pytest

from thinkseg.web.guard import is_this_machine


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9000", "127.0.0.1:8787", "127.1.2.3", "[::1]:8787", "LOCALHOST"]
)
def test_is_this_machine_of_loopback_is_true(host):
    assert is_this_machine(host)


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:8787", "192.168.0.1", "localhost.evil.example", "[::1", "0.0.0.0"]
)
def test_is_this_machine_of_other_host_is_false(host):
    assert not is_this_machine(host)
