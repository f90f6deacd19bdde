"""Whether a text is an IP address. Pure; imports nothing of Hanse."""

from __future__ import annotations

import ipaddress


def is_ip_address(text: str) -> bool:
    """Return whether the text is an IPv4 or IPv6 address, in any of its forms, without a port or brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
