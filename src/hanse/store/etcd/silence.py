"""An etcd that does not answer, in the log: soon, and again for as long as it lasts.

Owns `Silence`, one of each channel. Whoever waits for etcd says so, and what it answers ends the silence; a
process that can do nothing without etcd must not wait for it without a word.

Concurrency: one event loop. Next: `hanse.store.etcd.channel`, whose calls wait, and `hanse.store.etcd.watch`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

FIRST_SECONDS: Final = 3.0
"""How long etcd may be waited for before that is said."""
AGAIN_SECONDS: Final = 10.0
"""How long until it is said again."""
_LOOK: Final = 0.5
_log = structlog.get_logger(__name__)


class Silence:
    """Knows since when etcd has been waited for in vain. `where` is what the log calls it."""

    def __init__(self, where: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._where = where
        self._clock = clock
        self._waiting = 0
        self._since = 0.0
        self._said = -math.inf
        self._cause = "no answer"

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Etcd is waited for while this is entered."""
        self.began()
        try:
            yield
        finally:
            self.ended()

    def began(self) -> None:
        """Somebody begins to wait."""
        if not self._waiting:
            self._since = self._clock()
        self._waiting += 1

    def ended(self) -> None:
        """Somebody has stopped to wait, answered or not."""
        self._waiting -= 1

    def answered(self) -> None:
        """Etcd answered, whatever it was."""
        self._since = self._clock()
        if self._said > -math.inf:
            self._said = -math.inf
            _log.info("etcd answers again", etcd=self._where)

    def failed(self, cause: str) -> None:
        """Take note that an attempt failed, since `cause`."""
        self._cause = cause

    def due(self) -> float:
        """Return the seconds for which etcd has been silent, if that is to be said now; else 0."""
        now = self._clock()
        silent = now - self._since
        if not self._waiting or silent < FIRST_SECONDS or now - self._said < AGAIN_SECONDS:
            return 0.0
        self._said = now
        return silent

    async def follow(self) -> None:
        """Say it whenever it is due, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            if seconds := self.due():
                _log.error(
                    "etcd does not answer; this waits for it: see that it runs and can be reached",
                    etcd=self._where,
                    seconds=round(seconds),
                    cause=self._cause,
                )
