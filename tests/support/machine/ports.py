"""Ports for what a test starts, stops and starts again.

They are below those that Linux gives to outgoing connections (32768 and up), and below those that Kubernetes
gives to Services (30000 and up): else the port of a server that is stopped may belong to somebody else when
it starts again, or between its choice and its start.
"""

from __future__ import annotations

import random
from typing import Final

from hanse_local.ports import RANGE, is_free

NODE_PORTS: Final = 30_000
"""The first port that Kubernetes may give to a Service."""


def free_ports(count: int) -> list[int]:
    """Return distinct ports of 127.0.0.1 that nobody has now, neither for TCP nor for UDP."""
    found: list[int] = []
    choice = range(RANGE.start, NODE_PORTS)
    for port in random.sample(choice, len(choice)):
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    return found
