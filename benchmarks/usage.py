"""What processes cost: CPU seconds and memory, from /proc (Linux).

Concurrency: none; reads take microseconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """One process, or the difference between two readings of it."""

    cpu: float
    """CPU seconds, user and system."""
    rss: int
    """Resident bytes, pages that it shares with other processes included."""
    pss: int = 0
    """Resident bytes, where a page that n processes share counts 1/n."""


def read(pid: int) -> Usage:
    """Return what the process has used up to now. Raises OSError if there is none."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(stat[11]) + int(stat[12])) / _TICKS
    rss = pss = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            rss = int(line.split()[1]) * 1024
        elif line.startswith("Pss:"):
            pss = int(line.split()[1]) * 1024
    return Usage(cpu, rss, pss)


def read_all(pids: Mapping[str, int]) -> dict[str, Usage]:
    """`read` of several, by name; those that have ended are left out."""
    found: dict[str, Usage] = {}
    for name, pid in pids.items():
        with suppress(FileNotFoundError, ProcessLookupError):
            found[name] = read(pid)
    return found


def difference(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, Usage]:
    """CPU seconds between two readings, and the memory at the second; a process that is new counts from 0."""
    nothing = Usage(0.0, 0)
    return {
        name: Usage(now.cpu - before.get(name, nothing).cpu, now.rss, now.pss) for name, now in after.items()
    }
