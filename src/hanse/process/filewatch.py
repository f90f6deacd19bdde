"""A small file that a process follows while it runs: read again when it has changed.

Owns `WatchedFile`. A file that cannot be read or understood leaves what it said before, and says so once for
each mistake. What tells that a file has changed is that of the file at the end of symbolic links, because
Kubernetes replaces a mounted Secret by turning a link.

Concurrency: one loop; a look is one `stat`.

Next: `hanse.security.revocation`, `hanse.security.auth` and `hanse.security.rings`, which follow one each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog

from hanse.errors import ConfigError

T = TypeVar("T")

LOOK: Final = 1.0
"""Seconds between two looks at a file that nothing else makes a process look at."""
_log = structlog.get_logger(__name__)


class WatchedFile(Generic[T]):
    """What a file says. `value` is that of the last time that it could be understood."""

    def __init__(self, path: Path, parse: Callable[[Path], T], *, what: str) -> None:
        """Read the file. `parse` may raise ConfigError, and so does this if the file cannot be used."""
        self.path = path
        self._parse = parse
        self._what = what
        self._stamp: tuple[int, ...] | None = None
        self.problem = ""
        """Why the file cannot be used as it is now; empty if it can."""
        self.value: T
        self._read()

    def refresh(self) -> bool:
        """Read the file if it has changed; return whether it was read, and `value` is new."""
        try:
            read = self._read()
        except ConfigError as error:
            if error.message != self.problem:
                self.problem = error.message
                _log.error(
                    f"{self._what} cannot be read; what it said before holds",
                    error=error.message,
                    file=str(self.path),
                )
            return False
        if read:
            self.problem = ""
        return read

    def _read(self) -> bool:
        try:
            stamp = stamp_of(self.path)
        except OSError as error:
            self._stamp = None
            raise self._unreadable(error) from error
        if stamp == self._stamp:
            return False
        try:
            value = self._parse(self.path)
        except (OSError, UnicodeDecodeError) as error:
            self._stamp = stamp if isinstance(error, UnicodeDecodeError) else None
            raise self._unreadable(error) from error
        except ConfigError as error:  # a file with a mistake is not read again until it changes
            self._stamp = None if isinstance(error.__cause__, OSError) else stamp
            raise
        self._stamp = stamp
        self.value = value
        return True

    def _unreadable(self, error: OSError | UnicodeDecodeError) -> ConfigError:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        return ConfigError(f"cannot read {self._what} {self.path}: {why}", metadata={"file": str(self.path)})


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is written, replaced, or gets another mode. Raises OSError."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
