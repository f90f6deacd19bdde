"""Which etcd can be trusted with what. Pure functions over version text; no state.

Next: `hanse.store.etcd.store`, which asks the server for its version.
"""

from __future__ import annotations

import re

MINIMUM = (3, 4, 0)
"""Oldest etcd that is expected to work: the first with watch fragments and progress notifications."""


def parse_version(text: str) -> tuple[int, int, int]:
    """Return (major, minor, patch) of "3.5.16", "v3.5.16" or "3.6.0-rc.1"; (0, 0, 0) if it is not one."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    return (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)


def corrupts_on_crash(text: str) -> bool:
    """Return whether this etcd can corrupt its data if it is killed under load: 3.5.0 to 3.5.2.

    Source: the etcd project's announcement "etcd v3.5.[0-2] is not recommended for production", 2022-03.
    """
    return (3, 5, 0) <= parse_version(text) <= (3, 5, 2)


def is_supported(text: str) -> bool:
    """Return whether this etcd is new enough."""
    return parse_version(text) >= MINIMUM
