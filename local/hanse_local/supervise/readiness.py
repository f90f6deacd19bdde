"""When a process counts as ready, and what ails one that is.

A Hanse process writes its ready file, with its pid, when it serves; if that cannot be written, its health
page, which names its pid too, says the same. etcd answers its health page. What is asked is what is true at
that moment; nothing is remembered.

Concurrency: short polls in the supervisor's loop.

Next: `hanse_local.supervise.process`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hanse.process.settings import split_address

PROBE_SECONDS = 5.0
"""How long an answer may take."""
_LIMIT = 64 * 1024
_NO_SPACE = "NOSPACE"


class Readiness(Protocol):
    """Tells whether a process serves."""

    def reset(self) -> None:
        """Forget earlier runs; called before each start."""
        ...

    async def endpoints(self, pid: int) -> dict[str, str] | None:
        """Return what the process `pid` serves at, by name; None while it is not ready."""
        ...

    async def trouble(self, endpoints: Mapping[str, str]) -> str:
        """Return what is wrong with a process that was ready, in its own words; empty if nothing is."""
        ...

    async def release(self, endpoints: Mapping[str, str]) -> str:
        """Return which release of Hanse a process that is ready is of; empty if it does not tell."""
        ...


@dataclass(frozen=True, slots=True)
class ReadyFile:
    """Ready when `path` holds `{"pid": PID, "endpoints": {...}}` of this very process.

    `expected` are the endpoints that it was told to serve at; if they have its health page, `metrics`, that
    counts as well, for a process that cannot write the file.
    """

    path: Path
    expected: Mapping[str, str] = field(default_factory=dict)

    def reset(self) -> None:
        """Remove the file of an earlier run. One that cannot be removed has another pid."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    async def endpoints(self, pid: int) -> dict[str, str] | None:
        """Return the endpoints in the file, if this process wrote it."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            document = json.loads(self.path.read_text())
            if document["pid"] == pid:
                return {str(name): str(address) for name, address in document["endpoints"].items()}
        page = self.expected.get("metrics", "")
        answer = await _get(page, "/readyz") if page else None
        if answer is not None and answer.status == 200 and answer.pid == str(pid):
            return dict(self.expected)
        return None

    async def trouble(self, endpoints: Mapping[str, str]) -> str:
        """Return what its health page says but for `ok`."""
        page = endpoints.get("metrics", "")
        if not page:
            return ""
        answer = await _get(page, "/readyz")
        if answer is None:
            return f"does not answer at http://{page}/readyz"
        body = answer.body.strip()
        return body.removeprefix("ok").strip() if answer.status == 200 else body

    async def release(self, endpoints: Mapping[str, str]) -> str:
        """Return what its health page tells."""
        page = endpoints.get("metrics", "")
        answer = await _get(page, "/healthz") if page else None
        return answer.version if answer is not None else ""


@dataclass(frozen=True, slots=True)
class EtcdHealth:
    """Ready when http://127.0.0.1:`port`/health says that the etcd can commit.

    One that is full (alarm NOSPACE) is ready: it answers, and it is by its services that it gets room again.
    """

    port: int
    client_port: int

    def reset(self) -> None:
        """Nothing is remembered."""

    async def endpoints(self, pid: int) -> dict[str, str] | None:
        """Return the client endpoint, if the etcd is healthy."""
        del pid
        found = await self._ailment()
        if _NO_SPACE in found:  # is that all?
            found = await self._ailment(exclude=f"?exclude={_NO_SPACE}")
        return None if found else {"client": f"127.0.0.1:{self.client_port}"}

    async def trouble(self, endpoints: Mapping[str, str]) -> str:
        """Return what the health page says, alarms included."""
        del endpoints
        found = await self._ailment()
        if _NO_SPACE in found:
            return f"STORE_FULL: etcd's quota is used up ({found}); see docs/operations.md, When etcd is full"
        return found

    async def release(self, endpoints: Mapping[str, str]) -> str:
        """Return no version: it is none of Hanse."""
        del endpoints
        return ""

    async def _ailment(self, *, exclude: str = "") -> str:
        answer = await _get(f"127.0.0.1:{self.port}", f"/health{exclude}")
        if answer is None:
            return "does not answer at its health page"
        try:
            document = json.loads(answer.body)
            healthy, reason = str(document.get("health")) == "true", str(document.get("reason", ""))
        except (ValueError, AttributeError):
            return f"its health page is not understood: {answer.body[:80]!r}"
        return "" if healthy else reason or "it cannot commit"


@dataclass(frozen=True, slots=True)
class Always:
    """Ready as soon as it runs; for processes that serve nothing."""

    def reset(self) -> None:
        """Nothing is remembered."""

    async def endpoints(self, pid: int) -> dict[str, str] | None:
        """No endpoints, at once."""
        del pid
        return {}

    async def trouble(self, endpoints: Mapping[str, str]) -> str:
        """Nothing is known of it."""
        del endpoints
        return ""

    async def release(self, endpoints: Mapping[str, str]) -> str:
        """Nothing is known of it."""
        del endpoints
        return ""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    pid: str
    version: str
    body: str


async def _get(address: str, path: str) -> _Answer | None:
    """Return the answer of a health page; None if there is none in time, or it is not HTTP."""
    with suppress(OSError, TimeoutError, ValueError, IndexError):
        host, port = split_address(address, setting="metrics")
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                answer = b""
                while (more := await reader.read(_LIMIT)) and len(answer) < _LIMIT:
                    answer += more
            finally:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return _Answer(
            int(lines[0].split(" ")[1]),
            headers.get("hanse-pid", ""),
            headers.get("hanse-version", ""),
            body.decode(errors="replace"),
        )
    return None
