"""A TCP proxy on loopback that can be cut, so that a test decides when a connection breaks and how."""

from __future__ import annotations

import asyncio
from typing import Self


class Proxy:
    """Forwards to `target` (host:port) from a port of its own.

    `cut` ends all connections and refuses new ones until `mend`. `mute` keeps connections and requests, and
    withholds the answers; `swallow` withholds the requests too. What is sent takes `delay` seconds each way.
    """

    def __init__(self, target: str, *, delay: float = 0.0) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._delay = delay
        self._server: asyncio.Server | None = None
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._muted = self._swallowing = False

    @property
    def endpoint(self) -> str:
        """host:port to connect to."""
        return f"127.0.0.1:{self._port}"

    def mute(self) -> None:
        """Withhold what the target answers from now on, for good: `cut` before `mend`."""
        self._muted = True

    def swallow(self) -> None:
        """Withhold requests and answers from now on, for good."""
        self._muted = self._swallowing = True

    async def cut(self) -> None:
        """End all connections and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def mend(self) -> None:
        """Let connections through again."""
        self._muted = self._swallowing = False
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            behind_reader, behind = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
        else:
            self._writers.add(behind)
            await asyncio.gather(
                self._pump(reader, behind, answers=False), self._pump(behind_reader, writer, answers=True)
            )
            self._writers.discard(behind)
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while data := await reader.read(1 << 16):
                if self._muted if answers else self._swallowing:
                    continue
                if self._delay:
                    await asyncio.sleep(self._delay)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()
