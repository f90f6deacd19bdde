"""The verb watch: one stream of events per request, fed from the history of its resource.

Each stream is one task that holds a position in the resource's log. It ends when the client goes, when its
time is over or when the server stops; one that falls behind ends with an ERROR event 410 and the client
lists again, and the connection of one that does not read is closed (`hanse.kube.server.connections`). Streams
make no event before its turn, so that a full one costs its connection's buffer and nothing else. An event may
come twice to a client that resumes, never not at all. Next: `hanse.kube.engine.history`.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterable, Iterator

import orjson
import structlog
from aiohttp import web

from hanse.errors import CompactedError, HanseError, InternalError, InvalidArgumentError
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.history import ResourceHistory
from hanse.kube.engine.served import ObjectChange, ServedObject, with_version
from hanse.kube.kinds.conversion import is_stored_form
from hanse.kube.model.status import BAD_OPTIONS, to_status
from hanse.kube.server.endpoints.read import Filter, reach, renderer
from hanse.kube.server.negotiation import JSON, TURNS
from hanse.kube.server.representation import Renderer, multi, warning_headers
from hanse.kube.server.request import Call
from hanse.store.history.changes import ChangeType, seen_through
from hanse.store.history.log import LogReader
from hanse.store.keys import ObjectKey

BOOKMARK_SECONDS = 10.0
"""How often a watch that allows bookmarks gets one, if the revision has gone on."""

DEFAULT_SECONDS = 1800
"""How long a watch lasts at least if the client names no time; at most twice that."""

MAX_SECONDS = 365 * 24 * 3600
"""How long a watch lasts at most, whatever time the client names."""

_BATCH_CHANGES = 64
"""How many changes a stream holds at a time; what comes later stays in the log that all streams share."""

_PIECE_BYTES = 16 * 1024
"""How much is given to a connection before it must have taken it."""

_log = structlog.get_logger(__name__)


class Stopping:
    """Tells all streams of a server to end."""

    def __init__(self) -> None:
        self.is_set = False
        self._wakers: set[asyncio.Event] = set()

    def set(self) -> None:
        """End all streams."""
        self.is_set = True
        for waker in self._wakers:
            waker.set()

    def enter(self, waker: asyncio.Event) -> None:
        """Set `waker` when the server stops."""
        self._wakers.add(waker)

    def leave(self, waker: asyncio.Event) -> None:
        """Forget `waker`."""
        self._wakers.discard(waker)


class _Stream:
    """The state of one watch."""

    def __init__(self, call: Call, cache: ObjectCache) -> None:
        self.call = call
        self.cache = cache
        self.filter = Filter.of(call)
        self.render: Renderer = renderer(call, cache)
        self.plain = self.filter.everything and self.filter.namespace in (None, "")
        self.whole = self.render.wanted.shape == "object" and is_stored_form(call.info)
        self.log: ResourceHistory = cache.log(*call.info.storage_key)
        self.position = 0
        self.bookmarks = call.flag("allowWatchBookmarks")
        self.bookmarked = 0
        self.began = 0

    def line(self, change: ChangeType, entry: ServedObject) -> bytes:
        """Return one event."""
        if self.whole:
            return entry.event(change)
        return b'{"type":"%b","object":%b}\n' % (change.encode(), self.render.item(entry))

    def lines(self, changes: Iterable[ObjectChange]) -> Iterator[bytes]:
        """Yield the events that this watch sees of some changes; b"" for one that it does not see."""
        for change in changes:
            if self.plain:
                yield self.line(change.type, change.entry)
                continue
            seen = seen_through(change, self._matches)
            if seen is None:
                yield b""
            else:
                yield self.line(seen, _leaving(change) if seen == "DELETED" else change.entry)

    def _matches(self, _: ObjectKey, entry: ServedObject) -> bool:
        return self.filter.matches(self.call, entry, self.cache.boundary)

    def first(self, entries: Iterable[ServedObject], *, complete: bool) -> Iterator[bytes]:
        """Yield the events to begin with, and if they are `complete` the bookmark that says so."""
        for entry in entries:
            yield self.line("ADDED", entry) if self._matches(entry.key, entry) else b""
        if complete:
            yield self.bookmark(initial_end=True, revision=self.began)

    def bookmark(self, *, initial_end: bool = False, revision: int | None = None) -> bytes:
        """Return a BOOKMARK with the revision up to which everything has been sent, the cache's if None."""
        self.bookmarked = self.cache.revision if revision is None else revision
        info, shape, meta = self.call.info, self.render.wanted.shape, self.render.wanted.meta
        metadata: dict[str, object] = {"resourceVersion": str(self.bookmarked), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj: dict[str, object] = {"kind": info.kind, "apiVersion": info.api_version, "metadata": metadata}
        if shape == "metadata":
            obj |= {"kind": "PartialObjectMetadata", "apiVersion": meta}
        elif shape == "table":
            row = {
                "cells": [],
                "object": {"kind": "PartialObjectMetadata", "apiVersion": meta, "metadata": metadata},
            }
            obj = {
                "kind": "Table", "apiVersion": meta, "metadata": {"resourceVersion": str(self.bookmarked)},
                "columnDefinitions": None, "rows": [row],
            }  # fmt: skip
        return orjson.dumps({"type": "BOOKMARK", "object": obj}) + b"\n"

    async def start(self) -> Iterable[bytes]:
        """Find the position in the log; return the events to begin with. Raises CompactedError.

        They are made when they are sent, of objects that watches which begin together share.
        """
        version = self.call.number("resourceVersion")
        initial = self.call.query.get("sendInitialEvents")
        if (initial is not None) != bool(self.call.query.get("resourceVersionMatch")):
            raise InvalidArgumentError(
                "a watch takes sendInitialEvents and resourceVersionMatch together, or neither",
                reason=BAD_OPTIONS,
            )
        if initial is not None and self.call.query["resourceVersionMatch"] != "NotOlderThan":
            raise InvalidArgumentError(
                "a watch with sendInitialEvents takes resourceVersionMatch=NotOlderThan and no other",
                reason=BAD_OPTIONS,
            )
        if initial == "true" or (not version and initial != "false"):
            if self.call.query.get("resourceVersion") != "0":
                await self.cache.fresh()
            await reach(self.cache, version)
            self.position = self.log.end
            self.began = self.cache.revision
            return self.first(self.log.snapshot(self.filter.namespace), complete=initial == "true")
        await reach(self.cache, version)
        self.position = self.log.resume(version) if version else self.log.end
        return ()


def _leaving(change: ObjectChange) -> ServedObject:
    """Return the last state that matched, at the revision at which it ceased to."""
    if change.type == "DELETED":
        return change.entry
    before = change.previous
    if before is None:
        raise InternalError("a change that leaves the selection has a state before")
    obj = with_version(before.object, change.revision)
    return ServedObject(
        before.key,
        obj=obj,
        intent=before.intent,
        intent_revision=before.intent_revision,
        revision=change.revision,
    )


async def watch(call: Call, cache: ObjectCache, stopping: Stopping) -> web.StreamResponse:
    """Answer a watch; returns when it is over. Raises HanseError only before the stream has begun."""
    loop = asyncio.get_running_loop()
    stream = _Stream(call, cache)
    asked = min(call.number("timeoutSeconds"), MAX_SECONDS)
    seconds = asked or random.randint(DEFAULT_SECONDS, 2 * DEFAULT_SECONDS)  # noqa: S311
    end = loop.time() + seconds
    first: Iterable[bytes] = ()
    failure: CompactedError | None = None
    try:
        async with asyncio.timeout_at(end):
            first = await stream.start()
    except CompactedError as error:
        failure = error
    except TimeoutError:  # a version that is not reached in the client's time: nothing happened after it
        end = -math.inf
    response = web.StreamResponse(headers=multi([*warning_headers(call.warnings), ("Content-Type", JSON)]))
    await response.prepare(call.request)
    reader = LogReader(stream.log, stream.position)
    stopping.enter(reader.waker)
    try:
        if failure is not None:
            await response.write(_error(failure))
        elif loop.time() < end:
            await _write(stream, response, first)
            with reader:
                await _follow(stream, response, reader, stopping, end=end)
    except HanseError as error:
        await response.write(_error(error))
    except ConnectionResetError:
        pass  # the client has gone
    except Exception as error:  # noqa: BLE001 - the answer has begun: the client is told in the stream
        _log.error("a watch failed", path=call.request.path, exc_info=error)
        said = f"an internal error occurred: {type(error).__name__}; the server's log says more"
        await response.write(_error(InternalError(said)))
    finally:
        stopping.leave(reader.waker)
    return response


async def _follow(
    stream: _Stream,
    response: web.StreamResponse,
    reader: LogReader[ObjectChange],
    stopping: Stopping,
    *,
    end: float,
) -> None:
    loop = asyncio.get_running_loop()
    next_bookmark = loop.time() + BOOKMARK_SECONDS
    while not stopping.is_set:
        until = min(end, next_bookmark) if stream.bookmarks else end
        changes = await reader.read(limit=_BATCH_CHANGES, within=until - loop.time())
        if changes:
            await _write(stream, response, stream.lines(changes))
            continue
        now = loop.time()
        if now >= end:
            return
        if stream.bookmarks and now >= next_bookmark:
            next_bookmark = now + BOOKMARK_SECONDS
            if stream.cache.revision > stream.bookmarked:
                await response.write(stream.bookmark())


async def _write(stream: _Stream, response: web.StreamResponse, lines: Iterable[bytes]) -> None:
    """Send events, many in one piece, and none that is made before the last was taken."""
    async for batch in stream.call.request.app[TURNS].batches(lines, size=_PIECE_BYTES):
        if len(batch) <= 2 * _PIECE_BYTES:
            await response.write(batch)
            continue
        view = memoryview(batch)
        for start in range(0, len(batch), _PIECE_BYTES):
            await response.write(view[start : start + _PIECE_BYTES])


def _error(error: HanseError) -> bytes:
    return orjson.dumps({"type": "ERROR", "object": to_status(error)[1]}) + b"\n"
