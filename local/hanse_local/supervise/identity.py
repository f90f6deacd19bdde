"""Which process a pid means: a pid together with the time at which its process started.

Pids are used again; after a crash a recorded pid may be somebody else's process. Nothing is ever
signalled unless both agree.

Concurrency: none; reads of /proc, or of `ps` where there is no /proc.

Next: `hanse_local.supervise.lock`, which records who supervises.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, for as long as the machine runs. `started` is opaque; only equality means something."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """Return the process that has `pid` now; None if there is none (a zombie is none)."""
        started = _start_time(pid)
        return cls(pid, started) if started else None

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return ProcessIdentity.of(self.pid) == self

    def signal(self, number: signal.Signals) -> bool:
        """Signal it if it still runs. Returns whether it did."""
        if not self.alive:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False

    def end(self, *, grace: float) -> None:
        """Ask it to end, and kill it if it has not after `grace` seconds. Blocks until it is gone."""
        if self.signal(signal.SIGTERM) and not self._gone_within(grace):
            self.signal(signal.SIGKILL)
            self._gone_within(5.0)

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def _start_time(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] in {"Z", "X"} else fields[19]  # field 22 of proc(5): clock ticks since boot
    result = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = result.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else started.strip()
