"""The client that is measured: carries steps out as fast or as slowly as told. `python -m benchmarks.load`.

Reads one `Load` per line from standard input; for each it opens its connections, answers `"ready"`, waits for
an empty line, works, and answers with its calls and the CPU seconds that it used. It is as cheap as a
client in this language gets: bodies are encoded before the clock starts, answers are not decoded.

Concurrency: `step.concurrency` tasks share the list of objects; each writes an object to all targets at once.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections.abc import Iterator, Sequence

import aiohttp
import orjson
import uvloop

from benchmarks.workload import Load, Step, Target

REQUEST_SECONDS = 60.0


def context_of(target: Target) -> ssl.SSLContext:
    """Mutual TLS with the target."""
    context = ssl.create_default_context(cafile=target.ca)
    context.load_cert_chain(target.cert, target.key)
    return context


class Writer:
    """Writes to one target."""

    def __init__(self, target: Target, *, connections: int) -> None:
        self._server = target.server
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context_of(target), limit=connections),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS),
            auto_decompress=False,
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        self._connections = connections

    async def warm(self) -> None:
        """Open all connections, so that no handshake is measured."""
        await asyncio.gather(*(self._send("GET", "/version", None) for _ in range(self._connections)))

    async def write(self, method: str, path: str, body: bytes | None) -> str:
        """Return one request; the error, or nothing."""
        try:
            return await self._send(method, path, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"{type(error).__name__}: {error}"

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _send(self, method: str, path: str, body: bytes | None) -> str:
        async with self._session.request(method, self._server + path, data=body) as answer:
            content = await answer.read()
            return "" if answer.status < 300 else f"{answer.status}: {content[:200].decode(errors='replace')}"


async def carry_out(step: Step, writers: Sequence[Writer]) -> list[tuple[str, float, float, str]]:
    """Do the step; (name, start, end, error) of each object."""
    calls: list[tuple[str, float, float, str]] = []
    work: Iterator[tuple[str, str, str, bytes | None]] = iter(
        [(name, *step.request(name), step.body(name)) for name in step.names()]
    )

    async def worker() -> None:
        for name, method, path, body in work:
            start = time.monotonic()
            if len(writers) == 1:
                error = await writers[0].write(method, path, body)
            else:
                errors = await asyncio.gather(*(writer.write(method, path, body) for writer in writers))
                error = next(filter(None, errors), "")
            end = time.monotonic()
            calls.append((name, start, end, error))
            if step.pace:
                await asyncio.sleep(max(0.0, start + step.pace - end))

    async with asyncio.TaskGroup() as group:
        for _ in range(step.concurrency):
            group.create_task(worker())
    return calls


async def serve() -> None:
    """Carry out what standard input says until it ends."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        load = Load.decoded(line)
        writers = [Writer(target, connections=load.step.concurrency) for target in load.targets]
        try:
            for writer in writers:
                await writer.warm()
            _say("ready")
            await loop.run_in_executor(None, sys.stdin.buffer.readline)
            before = time.process_time()
            calls = await carry_out(load.step, writers)
            _say({"calls": calls, "cpu": time.process_time() - before})
        finally:
            for writer in writers:
                await writer.close()


def _say(what: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(serve())
