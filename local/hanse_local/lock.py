"""One supervisor per data directory.

Owns run/lock, an flock that the operating system releases whatever way the supervisor ends, and
run/supervisor.json, which says who holds it and at which socket it listens.

Concurrency: safe between processes; that is its purpose.

Next: `hanse_local.control`, how others talk to the holder.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from hanse.errors import FailedPreconditionError
from hanse.pki import write_private
from hanse_local.identity import ProcessIdentity
from hanse_local.layout import DataDir


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

    def announce(self, socket: Path) -> None:
        """Record this process as the holder, listening at `socket`."""
        identity = ProcessIdentity.of(os.getpid())
        started = identity.started if identity else ""
        document = {"pid": os.getpid(), "started": started, "socket": str(socket)}
        write_private(self._data.supervisor, json.dumps(document).encode())


def is_held(data: DataDir) -> bool:
    """Whether a supervisor holds the data directory now."""
    try:
        descriptor = os.open(data.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def read_holder(data: DataDir) -> Holder | None:
    """Who holds the data directory, as recorded; None if nobody is recorded or that process is gone."""
    try:
        document = json.loads(data.supervisor.read_text())
        process = ProcessIdentity(int(document["pid"]), str(document["started"]))
        holder = Holder(process, Path(document["socket"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return holder if holder.process.alive else None


def already_running(data: DataDir) -> FailedPreconditionError:
    """The error for a second `hanse up` on the same data directory."""
    holder = read_holder(data)
    who = f" (pid {holder.process.pid})" if holder else ""
    return FailedPreconditionError(
        f"a federation already runs in {data.root}{who}: see `hanse status`, stop it with `hanse down`, or "
        "choose another --data-dir",
        reason="ALREADY_RUNNING",
    )
