"""Times as Kubernetes writes them in objects: RFC 3339 in UTC, in whole seconds.

Pure, but for `utc_now`. Next: `hanse.kube.engine.lifecycle`, which writes them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def utc_now() -> datetime:
    """Return the time now, aware: the clock of whoever is given no other."""
    return datetime.now(UTC)


def format_time(moment: datetime) -> str:
    """Return an aware time as Kubernetes writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(moment: datetime) -> str:
    """Return an aware time as Kubernetes writes one in microseconds (MicroTime)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(value: Any) -> datetime | None:
    """Return the time that a field has, aware; None if it is none. Without an offset it is in UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
