"""The stream of a watch: from the pieces that come to lines, and from lines to events that count.

Owns the bounds of one event and the rule that an event of anything else than what is watched is no event.

Concurrency: pure but for waiting on the stream. Next: `hanse.kube.client.transport`, which reads by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import orjson

from hanse.kube.client.answer import WrongAnswerError
from hanse.kube.client.bounds import EVENT
from hanse.kube.client.expect import AnObject, wrong_type
from hanse.kube.model.objects import Object
from hanse.kube.model.status import from_status


async def within(pieces: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """Yield the pieces of a stream. Raises TimeoutError if nothing comes for so long."""
    while True:
        async with asyncio.timeout(seconds):
            piece = await anext(pieces, b"")
        if not piece:
            return
        yield piece


async def read_whole(pieces: AsyncIterator[bytes], server: str) -> bytes:
    """Return a stream to its end, as far as an event's bound. Raises MisbehavingMemberError."""
    body = bytearray()
    async for piece in pieces:
        body += piece
        if len(body) > EVENT.bytes:
            raise EVENT.exceeded(server)
    return bytes(body)


async def lines_of(pieces: AsyncIterator[bytes], server: str) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a stream. Raises MisbehavingMemberError for one that is longer than any event."""
    pending = bytearray()
    async for chunk in pieces:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            line = bytes(pending + chunk[start:end]) if pending else chunk[start:end]
            pending, start = bytearray(), end + 1
            if line:
                yield line
        pending += chunk[start:]
        if len(pending) > EVENT.bytes:
            raise EVENT.exceeded(server)


def event_of(line: bytes, expect: AnObject, *, asked: str) -> tuple[str, Object]:
    """Return (type, object) of an event of what is watched; `asked` says who was asked for what.

    Raises WrongAnswerError for anything else, and the error that an event of type ERROR means.
    """
    try:
        event = orjson.loads(line)
        kind, obj = str(event["type"]), event["object"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise WrongAnswerError(f"{asked} delivered something that is no event: {line[:100]!r}") from error
    if kind == "ERROR":
        code = obj.get("code") if not wrong_type(obj, "v1", "Status") else 500
        raise from_status(code if type(code) is int else 500, obj if isinstance(obj, dict) else None)
    if kind == "BOOKMARK":
        fault = wrong_type(obj, expect.api_version, expect.kind, partial=expect.partial)
        metadata = obj.get("metadata") if isinstance(obj, dict) else None
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        fault = fault or ("" if isinstance(version, str) and version else "has no resourceVersion")
    elif kind in ("ADDED", "MODIFIED", "DELETED"):
        fault = expect.fault(obj)
    else:
        fault = "is none that a watch has"
    if fault:
        raise WrongAnswerError(f"{asked} delivered an event {kind[:20]} that {fault}")
    return kind, obj
