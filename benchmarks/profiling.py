"""Profiles one service while a step runs, with py-spy, which looks at the process from outside.

Writes a file for https://speedscope.app per step. py-spy is not among the pinned dependencies:
`pip install py-spy`.

Concurrency: one recording at a time. Next: `arena`.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

RATE = 200


class ProfilerMissingError(RuntimeError):
    """py-spy is not installed."""


class Profiler:
    """Records `service` into files in `directory`."""

    def __init__(self, service: str, directory: Path) -> None:
        """Raises `ProfilerMissingError`."""
        found = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
        if found is None:
            raise ProfilerMissingError("--profile needs py-spy: pip install py-spy")
        self._program = found
        self._service = service
        self._directory = directory
        self.files: list[Path] = []

    @asynccontextmanager
    async def recording(self, pids: Mapping[str, int], what: str) -> AsyncIterator[None]:
        """Record while the context is open. `pids` are by service."""
        path = self._directory / f"{self._service}-{what}.speedscope.json"
        process = await asyncio.create_subprocess_exec(
            *(self._program, "record", "--pid", str(pids[self._service]), "--rate", str(RATE)),
            *("--format", "speedscope", "--output", str(path), "--duration", "3600", "--nonblocking"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await asyncio.sleep(1.0)  # it reads the process's symbols
        try:
            yield
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            await process.wait()
            self.files.append(path)
