"""Objects in the form that a client asked for: whole, as a Table, or metadata only; JSON or YAML.

Lists join what the cache has encoded already. Pure, except that big answers are compressed in a thread.
Next: `hanse.kube.server.read` and `hanse.kube.server.watch`, which answer with it.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web

from hanse.documents import to_yaml
from hanse.kube.conversion import is_stored_form, to_served
from hanse.kube.entry import Entry
from hanse.kube.objects import Object
from hanse.kube.resource_info import ResourceInfo
from hanse.kube.server.negotiation import JSON, YAML, Wanted
from hanse.kube.table_columns import layout

COMPRESS_FROM = 128 * 1024
"""Answers of at least so many bytes are compressed if the client takes gzip, as kube-apiserver does."""

META = "meta.k8s.io/v1"


def encoded(info: ResourceInfo, entry: Entry) -> bytes:
    """Return an object as JSON in the version `info`."""
    if is_stored_form(info):
        return entry.encoded
    return orjson.dumps(to_served(info, entry.object))


def metadata_only(obj: Object) -> Object:
    """Return the PartialObjectMetadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": obj["metadata"]}


class Renderer:
    """Renders objects of one resource in one form."""

    def __init__(self, info: ResourceInfo, wanted: Wanted, *, include: str, now: datetime) -> None:
        """`include` is the includeObject parameter of Tables: None, Metadata or Object ("" is Metadata)."""
        self.info = info
        self.wanted = wanted
        self._include = include or "Metadata"
        self._now = now
        self._layout = layout(info) if wanted.shape == "table" else None
        self._headed = False

    def one(self, obj: Object) -> bytes:
        """Return one object, given in the version of the resource."""
        if self.wanted.shape == "table":
            return self._table([obj], mapping_metadata(obj))
        return orjson.dumps(metadata_only(obj) if self.wanted.shape == "metadata" else obj)

    def entry(self, entry: Entry) -> bytes:
        """Return one cached object."""
        if self.wanted.shape == "object":
            return encoded(self.info, entry)
        return self.one(to_served(self.info, entry.object))

    def item(self, entry: Entry) -> bytes:
        """Return one object of a watch; a Table says its columns only the first time."""
        if self.wanted.shape != "table":
            return self.entry(entry)
        body = self._table([to_served(self.info, entry.object)], {}, headed=self._headed)
        self._headed = True
        return body

    def list(self, entries: Sequence[Entry], metadata: Mapping[str, Any]) -> bytes:
        """Return a list of cached objects with this list metadata."""
        if self.wanted.shape == "table":
            return self._table((to_served(self.info, e.object) for e in entries), metadata)
        if self.wanted.shape == "metadata":
            kind, version = "PartialObjectMetadataList", META
            items = [orjson.dumps(metadata_only(e.object)) for e in entries]
        else:
            kind, version = self.info.list_kind or f"{self.info.kind}List", self.info.api_version
            items = [encoded(self.info, e) for e in entries]
        head = orjson.dumps({"kind": kind, "apiVersion": version, "metadata": metadata})
        return b'%b,"items":[%b]}' % (head[:-1], b",".join(items))

    def _table(
        self, objects: Iterable[Object], metadata: Mapping[str, Any], *, headed: bool = False
    ) -> bytes:
        assert self._layout is not None
        rows = []
        for obj in objects:
            row: dict[str, Any] = {"cells": list(self._layout.render(obj, self._now))}
            if self._include == "Metadata":
                row["object"] = metadata_only(obj)
            elif self._include == "Object":
                row["object"] = obj
            rows.append(row)
        table = {
            "kind": "Table",
            "apiVersion": META,
            "metadata": metadata,
            "columnDefinitions": None if headed else self._layout.definitions(),
            "rows": rows,
        }
        return orjson.dumps(table, default=str)


def mapping_metadata(obj: Object) -> dict[str, Any]:
    """Return the list metadata for a Table of one object."""
    return {"resourceVersion": obj["metadata"].get("resourceVersion", "")}


async def respond(
    request: web.Request,
    body: bytes,
    *,
    status: int = 200,
    media: str = JSON,
    warnings: Iterable[str] = (),
    content_type: str = "",
) -> web.Response:
    """Return an answer with a JSON body: pretty, as YAML or compressed if the client wants that."""
    headers = _warning_headers(warnings)
    if media == YAML:
        body = (await asyncio.to_thread(to_yaml, orjson.loads(body))).encode()
    elif request.query_string and request.query.get("pretty") in ("", "1", "true", "True"):
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2) + b"\n"
    headers.append(("Content-Type", content_type or media))
    if len(body) >= COMPRESS_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
        body = await asyncio.to_thread(gzip.compress, body, 1)
        headers.append(("Content-Encoding", "gzip"))
    return web.Response(body=body, status=status, headers=_multi(headers))


def _warning_headers(warnings: Iterable[str]) -> list[tuple[str, str]]:
    result = []
    for text in dict.fromkeys(warnings):
        quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        result.append(("Warning", f'299 - "{quoted}"'))
    return result


def _multi(headers: list[tuple[str, str]]) -> Any:
    from multidict import CIMultiDict

    return CIMultiDict(headers)
