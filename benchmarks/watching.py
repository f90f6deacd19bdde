"""Sees objects arrive: watches the ConfigMaps of a namespace in all members. `python -m benchmarks.watching`.

Reads from standard input one line with the targets and the namespace, answers `"ready"` when all watches
run, then answers each `Expected` line with the times of arrival. An event's time is when its bytes came off
the socket, before they are decoded. Of each object only the first event of its kind, batch and round counts.

Concurrency: one task per member; all in one loop. An API server ends a watch that it finds too slow; it goes
on after the last event then, and nothing is lost.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass

import aiohttp
import orjson
import uvloop

from benchmarks.load import context_of
from benchmarks.workload import Target

Arrival = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Expected:
    """What to wait for: `count` objects in every member, for at most `seconds`."""

    arrival: Arrival
    count: int
    seconds: float

    def encoded(self) -> bytes:
        """As one line of JSON."""
        return orjson.dumps(asdict(self))


class Arrivals:
    """When what was first seen where."""

    def __init__(self, members: list[str]) -> None:
        self._members = members
        self._seen: dict[Arrival, dict[str, dict[str, float]]] = defaultdict(
            lambda: {member: {} for member in members}
        )
        self._changed = asyncio.Event()

    def note(self, member: str, line: bytes, now: float) -> str:
        """Take in one watch event; its resource version."""
        event = orjson.loads(line)
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            raise RuntimeError(f"the watch of {member} failed: {item.get('message')}")
        version: str = item["metadata"]["resourceVersion"]
        name: str = item["metadata"]["name"]
        round_ = "" if kind == "DELETED" else (item.get("data") or {}).get("round", "")
        times = self._seen[kind, name.rpartition("-")[0], round_][member]
        if name not in times:
            times[name] = now
            self._changed.set()
        return version

    async def expect(self, arrival: Arrival, count: int, seconds: float) -> dict[str, dict[str, float]]:
        """Return what arrived, once all did or the time is over; it is forgotten here then."""
        seen = self._seen[arrival]
        try:
            async with asyncio.timeout(seconds):
                while any(len(times) < count for times in seen.values()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self._seen.pop(arrival)


async def follow(target: Target, namespace: str, arrivals: Arrivals, *, opened: asyncio.Event) -> None:
    """Note every event of one member until cancelled."""
    url = f"{target.server}/api/v1/namespaces/{namespace}/configmaps"
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(ssl=context_of(target))
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=1 << 20) as session:
        async with session.get(url, params={"limit": "1"}) as answer:
            version = orjson.loads(await answer.read())["metadata"]["resourceVersion"]
        while True:
            query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": "86400"}
            async with session.get(url, params=query) as answer:
                if answer.status != 200:
                    raise RuntimeError(f"{target.name} does not let us watch: {answer.status}")
                opened.set()
                rest = b""
                async for chunk in answer.content.iter_any():
                    now = time.monotonic()
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        version = arrivals.note(target.name, line, now)


async def serve() -> None:
    """Watch, and answer what standard input asks, until it ends."""
    loop = asyncio.get_running_loop()
    first = orjson.loads(await loop.run_in_executor(None, sys.stdin.buffer.readline))
    targets = [Target(**target) for target in first["targets"]]
    arrivals = Arrivals([target.name for target in targets])
    async with asyncio.TaskGroup() as group:
        opened = {target.name: asyncio.Event() for target in targets}
        watches = [
            group.create_task(follow(target, first["namespace"], arrivals, opened=opened[target.name]))
            for target in targets
        ]
        for event in opened.values():
            await event.wait()
        _say("ready")
        while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
            asked = orjson.loads(line)
            kind, batch, round_ = asked["arrival"]
            _say(await arrivals.expect((kind, batch, round_), asked["count"], asked["seconds"]))
        for watch in watches:
            watch.cancel()


def _say(what: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(serve())
