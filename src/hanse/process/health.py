"""Whether this process is ready, and the small HTTP server that says so and serves its metrics.

Owns `Health`, a set of named conditions that must all hold, and `HealthServer`, which answers /healthz
(the loop turns), /readyz (all conditions hold; the body names those that do not, and what is wrong although
they hold, such as a store that is full) and /metrics. The server
speaks just enough HTTP/1.1 for probes and Prometheus, so that a service without REST needs no web
framework in memory.

Concurrency: one loop; conditions are set from tasks of that loop.

Next: `hanse.rpc.server`, whose gRPC health follows the same conditions.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from types import TracebackType
from typing import Self

from hanse import __version__
from hanse.errors import ConfigError
from hanse.process.settings import split_address

_HEAD_LIMIT = 16 * 1024
_TIMEOUT = 10.0  # seconds for a whole exchange, so that half a request is not waited for
_CONNECTIONS = 128  # at once; what is more is closed
_TEXT = "text/plain; charset=utf-8"


class Health:
    """Named conditions; ready when every one of them holds.

    A condition that was never set does not count. `serving` exists from the start and does not hold.
    """

    def __init__(self) -> None:
        self._failing: dict[str, str] = {"serving": "starting"}
        self._warnings: dict[str, str] = {}
        self._listeners: list[Callable[[bool], None]] = []

    @property
    def ready(self) -> bool:
        """Whether every condition holds."""
        return not self._failing

    @property
    def failing(self) -> dict[str, str]:
        """The conditions that do not hold, with what is wrong."""
        return dict(self._failing)

    def set(self, condition: str, ok: bool, message: str = "") -> None:
        """Say whether a condition holds, and if not, what is wrong."""
        before = self.ready
        if ok:
            self._failing.pop(condition, None)
        else:
            self._failing[condition] = message or "not ready"
        if self.ready != before:
            for listener in tuple(self._listeners):
                listener(self.ready)

    @property
    def warnings(self) -> dict[str, str]:
        """What is wrong although the process is ready."""
        return dict(self._warnings)

    def warn(self, subject: str, message: str) -> None:
        """Say what is wrong with `subject`, and be as ready as before; "" takes it back."""
        if message:
            self._warnings[subject] = message
        else:
            self._warnings.pop(subject, None)

    def subscribe(self, listener: Callable[[bool], None]) -> Callable[[], None]:
        """Call `listener(ready)` at every change of `ready`. Returns a function that ends it."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return unsubscribe


class HealthServer:
    """HTTP server for /healthz, /readyz and /metrics. Use as an async context manager."""

    def __init__(
        self,
        listen: str,
        *,
        health: Health,
        metrics: Callable[[], tuple[bytes, str]] | None = None,
    ) -> None:
        """`metrics` returns (body, content type) of /metrics; without it there is none."""
        self._host, self._port = split_address(listen, setting="metrics_listen")
        self._health = health
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self._open = 0

    @property
    def address(self) -> str:
        """Where the server listens, as host:port with the real port."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=_HEAD_LIMIT)
        except OSError as error:
            raise ConfigError(
                f"cannot listen on {self.address} (setting metrics_listen): {error.strerror or error}",
                metadata={"setting": "metrics_listen"},
            ) from error
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= _CONNECTIONS:
            writer.close()
            return
        self._open += 1
        try:
            async with asyncio.timeout(_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                status, content_type, body = self._answer(head)
                method = head.split(b" ", 1)[0]
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
                    f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nHanse-Pid: {os.getpid()}\r\n"
                    f"Hanse-Version: {__version__}\r\n"
                    "Connection: close\r\n\r\n".encode()
                )
                if method != b"HEAD":
                    writer.write(body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a prober that went away or speaks something else
        finally:
            self._open -= 1
            writer.close()
            # Whoever does not read what is left is not waited for either.
            asyncio.get_running_loop().call_later(_TIMEOUT, writer.transport.abort)

    def _answer(self, head: bytes) -> tuple[str, str, bytes]:
        parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            return "400 Bad Request", _TEXT, b"bad request\n"
        method, target, _ = parts
        if method not in ("GET", "HEAD"):
            return "405 Method Not Allowed", _TEXT, b"only GET and HEAD\n"
        path = target.split("?", 1)[0]
        if path in ("/healthz", "/livez"):
            return "200 OK", _TEXT, b"ok\n"
        if path == "/readyz":
            failing, warnings = self._health.failing, self._health.warnings
            lines = [f"{name}: {message}\n" for name, message in sorted((failing | warnings).items())]
            if not failing:
                return "200 OK", _TEXT, "".join(("ok\n", *lines)).encode()
            return "503 Service Unavailable", _TEXT, "".join(lines).encode()
        if path == "/metrics" and self._metrics is not None:
            body, content_type = self._metrics()
            return "200 OK", content_type, body
        return "404 Not Found", _TEXT, b"not found; try /healthz, /readyz or /metrics\n"
