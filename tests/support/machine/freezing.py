"""Freeze a process: it keeps its sockets and answers nothing, as a host that hangs.

`kill` returns before a SIGSTOP has stopped every thread of a process, and a thread that still runs may
answer one more request.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

DEADLINE = 10.0


def freeze(pid: int) -> None:
    """Stop every thread of the process. Raises TimeoutError if one goes on for 10 seconds."""
    os.kill(pid, signal.SIGSTOP)
    until = time.monotonic() + DEADLINE
    while running := _running_threads(pid):
        if time.monotonic() > until:
            raise TimeoutError(f"threads {sorted(running)} of process {pid} do not stop")
        time.sleep(0.001)


def thaw(pid: int) -> None:
    """Let it run on after `freeze`; harmless if it has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _running_threads(pid: int) -> set[int]:
    """Threads that are neither stopped (T, t) nor ended (Z, X); see proc_pid_stat(5)."""
    running = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            status = (thread / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name, in parentheses, may itself hold any character.
        state = status.rpartition(")")[2].split()[0]
        if state not in "TtZX":
            running.add(int(thread.name))
    return running
