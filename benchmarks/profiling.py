"""Profiles services while a step runs, with py-spy, which looks at the process from outside.

Writes a file for https://speedscope.app per step. py-spy is not among the pinned dependencies:
`pip install py-spy`.

Concurrency: one step at a time. Next: `arena`.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

RATE = 200


class ProfilerMissingError(RuntimeError):
    """py-spy is not installed."""


class Profiler:
    """Records services into files in `directory`."""

    def __init__(self, services: Sequence[str], directory: Path) -> None:
        """Raise `ProfilerMissingError`."""
        found = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
        if found is None:
            raise ProfilerMissingError("--profile needs py-spy: pip install py-spy")
        self._program = found
        self._services = tuple(services)
        self._directory = directory
        self.files: list[Path] = []

    @asynccontextmanager
    async def recording(self, pids: Mapping[str, int], what: str) -> AsyncIterator[None]:
        """Record while the context is open. `pids` are by service."""
        recordings = [await self._record(service, pids[service], what) for service in self._services]
        await asyncio.sleep(1.0)  # py-spy reads the processes' symbols
        try:
            yield
        finally:
            for process in recordings:
                if process.returncode is None:
                    process.send_signal(signal.SIGINT)
            for process in recordings:
                await process.wait()

    async def _record(self, service: str, pid: int, what: str) -> asyncio.subprocess.Process:
        path = self._directory / f"{service}-{what}.speedscope.json"
        self.files.append(path)
        return await asyncio.create_subprocess_exec(
            *(self._program, "record", "--pid", str(pid), "--rate", str(RATE)),
            *("--format", "speedscope", "--output", str(path), "--duration", "3600", "--nonblocking"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
