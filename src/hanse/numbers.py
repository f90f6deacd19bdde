"""Whole numbers in text that others wrote: queries, tokens, versions, ports, headers.

`str.isdigit` takes digits of every script and `int` refuses what has more than 4,300 of them, so neither is
fit for what comes from outside. Pure. Next: nothing; this is the bottom.
"""

from __future__ import annotations

MAX_WHOLE = 2**63 - 1
"""The largest number that is read: what Kubernetes' and etcd's int64 hold."""

_DIGITS = len(str(MAX_WHOLE))


def whole_number(text: str, *, maximum: int = MAX_WHOLE) -> int | None:
    """Return the number of 0 or more that `text` writes in ASCII digits; None if it is none or is larger
    than `maximum`."""
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS:
        return None
    number = int(text)
    return number if number <= maximum else None
