"""How commands talk to a running supervisor: one JSON line each way over a unix socket.

Owns the protocol: a request `{"command": NAME, ...}` gets `{"ok": true, ...}` or `{"ok": false,
"error": SENTENCE}`. Access is the file system's: the socket lies in a directory of mode 0700.

Concurrency: each connection is a task of the supervisor's loop and carries one request.

Next: `hanse_local.supervise.supervisor` for what the requests do.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from hanse.errors import FailedPreconditionError, HanseError, UnavailableError

_log = logging.getLogger(__name__)
Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
MAX_PATH = 100  # sun_path holds 108 bytes on Linux, 104 on macOS
_MAX_LINE = 1 << 20


@asynccontextmanager
async def serve(directory: Path, handler: Handler) -> AsyncIterator[Path]:
    """Serve `handler` on a socket in `directory` (in a private temporary one if its path is too long).

    Yields the path of the socket.
    """
    path = directory / "control.sock"
    with tempfile.TemporaryDirectory(prefix="hanse-") as short:
        if len(str(path).encode()) > MAX_PATH:
            path = Path(short) / "control.sock"
        path.unlink(missing_ok=True)

        async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                answer = await _answer(await reader.readline(), handler)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(connection, path=str(path), limit=_MAX_LINE)
        path.chmod(0o600)
        try:
            yield path
        finally:
            server.close()
            with suppress(OSError):  # the next supervisor replaces it
                path.unlink(missing_ok=True)


async def _answer(line: bytes, handler: Handler) -> Mapping[str, Any]:
    try:
        request = json.loads(line)
        return {"ok": True, **await handler(request)}
    except HanseError as error:
        return {"ok": False, "error": str(error)}
    except (ValueError, KeyError, TypeError) as error:
        return {"ok": False, "error": f"the request is not understood: {error}"}
    except Exception as error:  # noqa: BLE001 - whoever asks gets an answer, whatever went wrong
        _log.exception("a request failed")
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def call(path: Path, request: Mapping[str, Any], *, timeout: float = 10.0) -> dict[str, Any]:
    """Send one request and return the answer, waiting at most `timeout` seconds.

    Raises FailedPreconditionError with the supervisor's sentence if it refuses, UnavailableError if it
    does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(json.dumps(dict(request)).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline(_MAX_LINE)
    except OSError as error:
        raise UnavailableError(f"the supervisor does not answer at {path}: {error}") from error
    if not line:
        raise UnavailableError(f"the supervisor at {path} hung up")
    answer: dict[str, Any] = json.loads(line)
    if not answer.pop("ok"):
        raise FailedPreconditionError(str(answer.get("error", "the supervisor refused")))
    return answer
