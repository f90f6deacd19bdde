"""What is an IP address."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hanse.addresses import is_ip_address


@given(st.ip_addresses())
def test_each_address_is_one(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Of either version, in the form that Python writes."""
    assert is_ip_address(str(address))


@pytest.mark.parametrize(
    "text", ["", "localhost", "10.0.0.1:80", "[::1]", "10.0.0.0/8", "1", "010.0.0.1", "10.0.0.256"]
)
def test_anything_else_is_none(text: str) -> None:
    """Host names, ports, brackets, networks and numbers with leading zeros are none."""
    assert not is_ip_address(text)
