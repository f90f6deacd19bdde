"""The files that the supervisor writes while it supervises: state, process record, kubeconfig, failure.

Owns what could not be written, for whatever reason (a full disk, a read-only file system, no descriptors
left). A failed write ends nothing: it is logged, shown by `hanse status`, and tried again until it is done,
with the newest content only. What is there on disk is old meanwhile, never half.

Concurrency: one loop; `keep` is the one task that tries again.

Next: `hanse_local.supervise.host`, which owns one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hanse.security.pki import write_private

RETRY_SECONDS = 5.0
"""Time between two attempts to write what could not be written."""

DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading a JSON document can raise that is not what it should be."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Pending:
    """What a file should hold (None: it should not be there), and why it does not."""

    content: bytes | None
    why: str


class OwnFiles:
    """Writes files whole or not at all, now or later."""

    def __init__(
        self,
        *,
        write: Callable[[Path, bytes], None] = write_private,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """`write` replaces a file's content; it raises OSError if it cannot."""
        self._write = write
        self._retry_seconds = retry_seconds
        self._pending: dict[Path, _Pending] = {}
        self._held: dict[Path, bytes] = {}

    def write(self, path: Path, content: bytes) -> bool:
        """Have `path` hold `content`; returns whether it does now."""
        return self._attempt(path, content)

    def hold(self, path: Path, content: bytes) -> bool:
        """Have `path` hold `content` from now on: written again should somebody change or remove it."""
        self._held[path] = content
        return self._attempt(path, content)

    def remove(self, path: Path) -> bool:
        """Have no `path`; returns whether it is gone now."""
        return self._attempt(path, None)

    def problems(self) -> list[str]:
        """Return what could not be written, a sentence each."""
        return [
            f"cannot {'remove' if pending.content is None else 'write'} {path}: {pending.why}; "
            f"it is tried again every {self._retry_seconds:g} s"
            for path, pending in self._pending.items()
        ]

    def retry(self) -> None:
        """Try again what could not be written, and write again what is no longer there."""
        for path, pending in list(self._pending.items()):
            self._attempt(path, pending.content)
        for path, content in self._held.items():
            if path not in self._pending and not _has(path, content):
                self._attempt(path, content)

    async def keep(self) -> None:
        """Try again now and then, until cancelled."""
        while True:
            await asyncio.sleep(self._retry_seconds)
            self.retry()

    def _attempt(self, path: Path, content: bytes | None) -> bool:
        known = self._pending.get(path)
        try:
            if content is None:
                path.unlink(missing_ok=True)
            else:
                self._write(path, content)
        except OSError as error:
            why = error.strerror or str(error)
            if known is None or known.why != why:
                _log.error("cannot write %s: %s", path, why)
            self._pending[path] = _Pending(content, why)
            return False
        if known is not None:
            _log.info("wrote %s again", path)
            del self._pending[path]
        return True


def _has(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False
