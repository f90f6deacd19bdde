"""When a process counts as ready.

A Hanse process writes its ready file, with its pid, when it serves; etcd answers its health page.

Concurrency: short polls in the supervisor's loop.

Next: `hanse_local.process`.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Readiness(Protocol):
    """Tells whether a process serves."""

    def reset(self) -> None:
        """Forget earlier runs; called before each start."""
        ...

    async def endpoints(self, pid: int) -> dict[str, str] | None:
        """What the process `pid` serves at, by name; None while it is not ready."""
        ...


@dataclass(frozen=True, slots=True)
class ReadyFile:
    """Ready when `path` holds `{"pid": PID, "endpoints": {...}}` of this very process."""

    path: Path

    def reset(self) -> None:
        """Remove the file of an earlier run."""
        self.path.unlink(missing_ok=True)

    async def endpoints(self, pid: int) -> dict[str, str] | None:
        """The endpoints in the file, if this process wrote it."""
        try:
            document = json.loads(self.path.read_text())
            if document["pid"] != pid:
                return None
            return {str(name): str(address) for name, address in document["endpoints"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class EtcdHealth:
    """Ready when http://127.0.0.1:`port`/health says that the etcd can commit."""

    port: int
    client_port: int

    def reset(self) -> None:
        """Nothing is remembered."""

    async def endpoints(self, pid: int) -> dict[str, str] | None:
        """The client endpoint, if the etcd is healthy."""
        del pid
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with asyncio.timeout(2.0):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(b"GET /health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
                    answer = await reader.read()
                finally:
                    writer.close()
                body = answer.partition(b"\r\n\r\n")[2]
                if str(json.loads(body).get("health")) == "true":
                    return {"client": f"127.0.0.1:{self.client_port}"}
        return None


@dataclass(frozen=True, slots=True)
class Always:
    """Ready as soon as it runs; for processes that serve nothing."""

    def reset(self) -> None:
        """Nothing is remembered."""

    async def endpoints(self, pid: int) -> dict[str, str] | None:
        """No endpoints, at once."""
        del pid
        return {}
