"""Objects in the form that a client asked for: whole, as a Table, or metadata only; JSON or YAML.

Lists join what the cache has encoded already, in slices (`hanse.turns`) and only as fast as the client reads,
so that no list holds the loop or fills the memory. Pure otherwise, except that big answers are compressed in
a thread.
Next: `hanse.kube.server.endpoints.read` and `hanse.kube.server.endpoints.watch`, which answer with it.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import structlog
from aiohttp import web

from hanse.boundary import Boundary
from hanse.documents import to_yaml
from hanse.errors import InternalError, InvalidArgumentError
from hanse.kube.engine import unreadable
from hanse.kube.engine.served import ServedObject, with_version
from hanse.kube.kinds.conversion import is_stored_form, to_served
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.kinds.strategy import TableLayout
from hanse.kube.kinds.table import layout
from hanse.kube.model.objects import Object, name_of
from hanse.kube.model.status import NOT_ACCEPTABLE
from hanse.kube.server.negotiation import JSON, META_V1, TURNS, YAML, Wanted

_log = structlog.get_logger(__name__)

COMPRESS_FROM = 128 * 1024
"""Answers of at least so many bytes are compressed if the client takes gzip, as kube-apiserver does."""

PRETTY_UP_TO = 1024 * 1024
"""Bytes of an answer that is indented for a client that asks; a longer one is for no human."""

YAML_UP_TO = 4 * 1024 * 1024
"""Bytes of an answer that is written as YAML: that costs a second for each."""

MAX_WARNINGS, MAX_WARNING = 32, 256
"""Warnings of an answer, and characters of each: they are headers, and clients bound those."""

META = META_V1


@functools.cache
def _answers() -> Boundary:
    """Return what takes in the faults of answers that are about one object: one for all, to make it costs."""
    return Boundary("answers")


def shown(info: ResourceInfo, entry: ServedObject, *, boundary: Boundary) -> Object:
    """Return an object in the version `info`; what is served in its place if it cannot be converted."""
    if is_stored_form(info):
        return entry.object
    try:
        return to_served(info, entry.object)
    except Exception as error:  # noqa: BLE001 - of one object; whoever lists it wants the others too
        why = boundary.failed(str(entry.key), error)
        placeholder = unreadable.in_place_of(entry.key, why, found=entry.object)
        named = {"apiVersion": info.api_version, "kind": info.kind}
        return named | with_version(placeholder, entry.revision)


def encoded(info: ResourceInfo, entry: ServedObject, *, boundary: Boundary) -> bytes:
    """Return an object as JSON in the version `info`."""
    if is_stored_form(info):
        return entry.encoded
    return orjson.dumps(shown(info, entry, boundary=boundary))


def metadata_only(obj: Object, *, version: str = META) -> Object:
    """Return the PartialObjectMetadata of an object, in this version."""
    return {"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": obj["metadata"]}


class Renderer:
    """Renders objects of one resource in one form."""

    def __init__(
        self,
        info: ResourceInfo,
        wanted: Wanted,
        *,
        include: str,
        now: datetime,
        boundary: Boundary | None = None,
    ) -> None:
        """`include` is the includeObject parameter of Tables: None, Metadata or Object ("" is Metadata).

        `boundary` takes in what goes wrong with one object.
        """
        self.info = info
        self._boundary = boundary or _answers()
        self.wanted = wanted
        self._include = include or "Metadata"
        self._now = now
        self._layout = layout(info) if wanted.shape == "table" else None
        self._headed = False

    def one(self, obj: Object) -> bytes:
        """Return one object, given in the version of the resource."""
        if self.wanted.shape == "table":
            return self._table([obj], mapping_metadata(obj))
        return orjson.dumps(
            metadata_only(obj, version=self.wanted.meta) if self.wanted.shape == "metadata" else obj
        )

    def entry(self, entry: ServedObject) -> bytes:
        """Return one cached object."""
        if self.wanted.shape == "object":
            return encoded(self.info, entry, boundary=self._boundary)
        return self.one(self._shown(entry))

    def item(self, entry: ServedObject) -> bytes:
        """Return one object of a watch; a Table says its columns only the first time."""
        if self.wanted.shape != "table":
            return self.entry(entry)
        obj = self._shown(entry)
        body = self._table([obj], mapping_metadata(obj), headed=self._headed)
        self._headed = True
        return body

    def pieces(self, entries: Iterable[ServedObject], metadata: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the parts of a list of cached objects with this list metadata."""
        items = (self._list_item(entry) for entry in entries)
        return list_pieces(self._list_head(metadata), items, name="rows" if self._layout else "items")

    def _list_head(self, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._layout is not None:
            return self._table_head(metadata)
        kind, version = self.info.list_kind or f"{self.info.kind}List", self.info.api_version
        if self.wanted.shape == "metadata":
            kind, version = "PartialObjectMetadataList", self.wanted.meta
        return {"kind": kind, "apiVersion": version, "metadata": metadata}

    def _list_item(self, entry: ServedObject) -> bytes:
        if self._layout is not None:
            return orjson.dumps(self._row(self._shown(entry)), default=str)
        if self.wanted.shape == "metadata":
            return orjson.dumps(metadata_only(entry.object, version=self.wanted.meta))
        return encoded(self.info, entry, boundary=self._boundary)

    def _shown(self, entry: ServedObject) -> Object:
        return shown(self.info, entry, boundary=self._boundary)

    def _cells(self, layout: TableLayout, obj: Object) -> Sequence[Any]:
        """Return the row of an object: its name and `<unreadable>` if none can be made of it."""
        try:
            cells = [*layout.render(obj, self._now)]
            orjson.dumps(cells, default=str)
        except Exception as error:  # noqa: BLE001 - of one row; whoever lists it wants the others too
            self._boundary.failed(f"{self.info.plural} {name_of(obj)}", error)
            return layout.unreadable(obj)
        return cells

    def _table_head(self, metadata: Mapping[str, Any], *, headed: bool = False) -> dict[str, Any]:
        if self._layout is None:
            raise InternalError("no table was asked for")
        return {
            "kind": "Table",
            "apiVersion": self.wanted.meta,
            "metadata": metadata,
            "columnDefinitions": None if headed else self._layout.definitions(),
        }

    def _row(self, obj: Object) -> dict[str, Any]:
        if self._layout is None:
            raise InternalError("no table was asked for")
        row: dict[str, Any] = {"cells": self._cells(self._layout, obj)}
        if self._include == "Metadata":
            row["object"] = metadata_only(obj, version=self.wanted.meta)
        elif self._include == "Object":
            row["object"] = obj
        return row

    def _table(
        self, objects: Iterable[Object], metadata: Mapping[str, Any], *, headed: bool = False
    ) -> bytes:
        table = {**self._table_head(metadata, headed=headed), "rows": [self._row(obj) for obj in objects]}
        return orjson.dumps(table, default=str)


def mapping_metadata(obj: Object) -> dict[str, Any]:
    """Return the list metadata for a Table of one object."""
    return {"resourceVersion": obj["metadata"].get("resourceVersion", "")}


def list_pieces(head: Mapping[str, Any], items: Iterable[bytes], *, name: str = "items") -> Iterator[bytes]:
    """Yield the parts of a list: `head`, then `items`, each JSON already."""
    yield orjson.dumps(head, default=str)[:-1] + f',"{name}":['.encode()
    before = b""
    for item in items:
        yield before + item
        before = b","
    yield b"]}"


async def respond(
    request: web.Request,
    body: bytes,
    *,
    status: int = 200,
    media: str = JSON,
    warnings: Iterable[str] = (),
    content_type: str = "",
) -> web.StreamResponse:
    """Return an answer with a JSON body: pretty, as YAML or compressed if the client wants that."""
    headers = warning_headers(warnings)
    if media == YAML:
        body = await as_yaml(request, body)
    elif _wants_pretty(request) and len(body) <= PRETTY_UP_TO:
        body = _indented(body)
    headers.append(("Content-Type", content_type or media))
    if len(body) >= COMPRESS_FROM and _takes_gzip(request):
        body = await asyncio.to_thread(gzip.compress, body, 1)
        headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
    return web.Response(body=body, status=status, headers=multi(headers))


async def respond_in_pieces(
    request: web.Request, pieces: Iterable[bytes], *, media: str = JSON, warnings: Iterable[str] = ()
) -> web.StreamResponse:
    """Send a JSON body as its pieces are made, a slice at a time and only as fast as the client reads.

    A body of one slice is answered as `respond` does. Raises what the first slice raises; later it is too
    late for another answer, and the connection ends.
    """
    if request.method == "HEAD":
        return web.Response(headers={"Content-Type": media})
    batches = request.app[TURNS].batches(pieces)
    first = await anext(batches, b"")
    second = await anext(batches, None)
    if second is None:
        return await respond(request, first, media=media, warnings=warnings)
    if media == YAML:  # which cannot be written piece by piece
        whole = bytearray(first + second)
        async for batch in batches:
            whole += batch
            if len(whole) > YAML_UP_TO:
                break
        return await respond(request, bytes(whole), media=media)
    headers = [*warning_headers(warnings), ("Content-Type", media)]
    return await _stream(request, first, second, batches, headers=headers)


async def _stream(
    request: web.Request,
    first: bytes,
    second: bytes,
    rest: AsyncIterator[bytes],
    *,
    headers: list[tuple[str, str]],
) -> web.StreamResponse:
    response = web.StreamResponse(headers=multi(headers))
    compress: Any = None
    if _takes_gzip(request):
        response.headers["Content-Encoding"] = "gzip"
        compress = zlib.compressobj(1, wbits=31)
    await response.prepare(request)

    async def send(batch: bytes) -> None:
        if compress is not None:
            batch = await asyncio.to_thread(compress.compress, batch)
        if batch:
            await response.write(batch)

    try:
        await send(first)
        await send(second)
        async for batch in rest:
            await send(batch)
        if compress is not None:
            await response.write(compress.flush())
        await response.write_eof()
    except ConnectionError:
        raise
    except Exception as error:
        # Half an answer must not look like a whole one.
        _log.error("a list broke off", path=request.path, exc_info=error)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the list broke off") from error
    return response


async def as_yaml(request: web.Request, body: bytes) -> bytes:
    """Return a JSON body as YAML. Raises InvalidArgumentError if it is too large for that."""
    if len(body) > YAML_UP_TO:
        raise InvalidArgumentError(
            f"the answer is larger than the {YAML_UP_TO} bytes that this server writes as YAML: ask for"
            " application/json, or for less with limit",
            reason=NOT_ACCEPTABLE,
        )
    return await request.app[TURNS].in_thread(_yaml, body)


def _yaml(body: bytes) -> bytes:
    return to_yaml(orjson.loads(body)).encode()


def _indented(body: bytes) -> bytes:
    return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2) + b"\n"


def _wants_pretty(request: web.Request) -> bool:
    return bool(request.query_string) and request.query.get("pretty") in ("", "1", "true", "True")


def _takes_gzip(request: web.Request) -> bool:
    return "gzip" in request.headers.get("Accept-Encoding", "")


def warning_headers(warnings: Iterable[str]) -> list[tuple[str, str]]:
    result = []
    for text in list(dict.fromkeys(warnings))[:MAX_WARNINGS]:
        printable = "".join(char if char.isprintable() else " " for char in text[:MAX_WARNING])
        quoted = printable.replace("\\", "\\\\").replace('"', '\\"')
        result.append(("Warning", f'299 - "{quoted}"'))
    return result


def multi(headers: list[tuple[str, str]]) -> Any:
    from multidict import CIMultiDict

    return CIMultiDict(headers)
