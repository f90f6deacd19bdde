"""The objects that are being reconciled, and what the member's watch says of them meanwhile.

Owns `InFlight`. What a watch says of an object that is being written to is mostly the echo of that write: it
is held back until the reconcile is over, when the sync state tells an echo from a change of somebody else. Of
several notifications the last one counts.

Concurrency: one event loop; a key is in flight once at a time.

Next: `hanse_syncer.cluster.member_events`, which defers, `hanse_syncer.cluster.controller`, which reconciles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class InFlight:
    """The keys in flight, each with the last notification that was held back."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._deferred: dict[str, Callable[[], None]] = {}

    @contextmanager
    def reconciling(self, key: str) -> Iterator[None]:
        """Have `key` in flight inside the block; what was deferred is called after it."""
        self._keys.add(key)
        try:
            yield
        finally:
            self._keys.discard(key)
            notify = self._deferred.pop(key, None)
            if notify is not None:
                notify()

    def defer(self, key: str, notify: Callable[[], None]) -> bool:
        """Hold `notify` back if `key` is in flight; return whether it is."""
        if key not in self._keys:
            return False
        self._deferred[key] = notify
        return True
