"""One supervisor per data directory.

Owns run/lock, an flock that the operating system releases whatever way the supervisor ends, and
run/supervisor.json, which says who holds it and at which socket it listens.

Concurrency: safe between processes; that is its purpose.

Next: `hanse_local.supervise.control`, how others talk to the holder.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from hanse.errors import FailedPreconditionError, UnavailableError
from hanse.security.pki import write_private
from hanse_local.layout import DataDir
from hanse_local.supervise.files import DAMAGED
from hanse_local.supervise.identity import ProcessIdentity


@dataclass(frozen=True, slots=True)
class Holder:
    """Who supervises a data directory."""

    process: ProcessIdentity
    socket: Path


class DataDirLock:
    """Holds a data directory. Use as a context manager; entering raises FailedPreconditionError if
    another process holds it."""

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        descriptor = os.open(self._data.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise already_running(self._data) from None
        if _is_recorded(self._data):
            os.close(descriptor)
            raise already_running(self._data)
        self._descriptor = descriptor
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # a pid that is gone counts for nothing
            self._data.supervisor.unlink(missing_ok=True)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def announce(self, socket: Path, *, write: Callable[[Path, bytes], object] = write_private) -> None:
        """Record this process as the holder, listening at `socket`. `write` keeps the record."""
        identity = ProcessIdentity.of(os.getpid())
        started = identity.started if identity else ""
        document = {"pid": os.getpid(), "started": started, "socket": str(socket)}
        write(self._data.supervisor, json.dumps(document).encode())


def is_held(data: DataDir) -> bool:
    """Return whether a supervisor holds the data directory now. Raises UnavailableError if that cannot be
    told.
    """
    try:
        descriptor = _open_lock(data.lock)
    except (FileNotFoundError, NotADirectoryError):
        return _is_recorded(data)
    except OSError as error:
        raise _untold(data, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return _is_recorded(data)
    finally:
        os.close(descriptor)


def _is_recorded(data: DataDir) -> bool:
    """Return whether another process is recorded that lives: the holder of a lock that somebody has
    removed.
    """
    holder = read_holder(data)
    return holder is not None and holder.process.pid != os.getpid()


def read_holder(data: DataDir) -> Holder | None:
    """Return who holds the data directory, as recorded; None if nobody is recorded or that process is gone.

    Raises UnavailableError if the record is there and cannot be read.
    """
    try:
        document = json.loads(data.supervisor.read_text())
        process = ProcessIdentity(int(document["pid"]), str(document["started"]))
        holder = Holder(process, Path(document["socket"]))
    except (FileNotFoundError, NotADirectoryError, *DAMAGED):
        return None
    except OSError as error:
        raise _untold(data, error) from error
    return holder if holder.process.alive else None


def unknown_holder(data: DataDir) -> UnavailableError:
    """Return the error for a supervisor that holds the data directory and has left no record."""
    return UnavailableError(
        f"a supervisor holds {data.root} and does not say where it listens: it has just started, or cannot "
        "write there; try again in a moment"
    )


def _open_lock(lock: Path) -> int:
    try:
        return os.open(lock, os.O_RDWR | os.O_CLOEXEC)  # NFS locks nothing that is open for reading only
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        return os.open(lock, os.O_RDONLY | os.O_CLOEXEC)


def _untold(data: DataDir, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"it cannot be told whether a federation runs in {data.root}: {error.strerror or error}"
    )


def already_running(data: DataDir) -> FailedPreconditionError:
    """Return the error for a second `hanse up` on the same data directory."""
    holder = read_holder(data)
    who = f" (pid {holder.process.pid})" if holder else ""
    return FailedPreconditionError(
        f"a federation already runs in {data.root}{who}: see `hanse status`, stop it with `hanse down`, or "
        "choose another --data-dir",
        reason="ALREADY_RUNNING",
    )
