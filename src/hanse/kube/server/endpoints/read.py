"""The verbs get and list, answered from the cache.

Reads wait until the cache has what was written before them, unless the client allows older data
(`resourceVersion=0`). A list that is paged stays as it was at its first page, for as long as the history of
the resource reaches back. Next: `hanse.kube.server.endpoints.watch`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from hanse import errors
from hanse.boundary import Boundary
from hanse.errors import CompactedError, FutureRevisionError, InvalidArgumentError, NotFoundError
from hanse.kube.engine.cache import ObjectCache
from hanse.kube.engine.served import ServedObject
from hanse.kube.kinds.selectable import field_selector
from hanse.kube.model.selectors import FieldSelector, LabelSelector
from hanse.kube.model.status import BAD_OPTIONS, TooLargeVersionError
from hanse.kube.server.negotiation import parse_accept
from hanse.kube.server.representation import Renderer, respond, respond_in_pieces, shown
from hanse.kube.server.request import Call
from hanse.numbers import MAX_WHOLE


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list or watch selects: labels, fields, and where."""

    labels: LabelSelector
    fields: FieldSelector
    namespace: str | None
    name: str

    @classmethod
    def of(cls, call: Call) -> Filter:
        """Return what a request selects. Raises InvalidArgumentError for a selector that cannot be read."""
        fields = field_selector(call.info, call.query.get("fieldSelector", ""))
        name = call.path.name or fields.exact("metadata.name") or ""
        namespace: str | None = None
        if call.info.namespaced:
            namespace = call.path.namespace or fields.exact("metadata.namespace") or None
        else:
            namespace = ""
        return cls(LabelSelector.parse(call.query.get("labelSelector", "")), fields, namespace, name)

    @property
    def everything(self) -> bool:
        """Report whether everything in the namespace is selected."""
        return self.labels.empty and self.fields.empty and not self.name

    def matches(self, call: Call, entry: ServedObject, boundary: Boundary) -> bool:
        """Report whether an object is selected."""
        if self.namespace is not None and entry.key.namespace != self.namespace:
            return False
        if self.name and entry.key.name != self.name:
            return False
        if not self.labels.empty and not self.labels.matches(entry.labels):
            return False
        if self.fields.empty:
            return True
        return self.fields.matches(shown(call.info, entry, boundary=boundary))


def renderer(call: Call, cache: ObjectCache) -> Renderer:
    """Return what renders the answer in the form that the client accepts."""
    wanted = parse_accept(call.request.headers.get("Accept", ""))
    include = call.query.get("includeObject", "")
    return Renderer(call.info, wanted, include=include, now=call.now, boundary=cache.boundary)


async def get(call: Call, cache: ObjectCache) -> web.StreamResponse:
    """Answer a get. Raises NotFoundError, TooLargeVersionError."""
    render = renderer(call, cache)
    wanted = call.number("resourceVersion")
    if call.query.get("resourceVersion") != "0":
        await cache.fresh()
    await reach(cache, wanted)
    entry = cache.get(call.key)
    if entry is None:
        raise NotFoundError(
            f'{call.info.group_resource} "{call.path.name}" not found',
            metadata={"name": call.path.name, "group": call.info.group, "kind": call.info.plural},
        )
    media = render.wanted.media
    return await respond(call.request, render.entry(entry), media=media, warnings=call.warnings)


async def reach(cache: ObjectCache, version: int) -> None:
    """Wait for a version that a client has from somewhere. Raises TooLargeVersionError."""
    try:
        await cache.known(version)
    except FutureRevisionError as error:
        raise TooLargeVersionError(version, current=cache.revision) from error


async def list_(call: Call, cache: ObjectCache) -> web.StreamResponse:
    """Answer a list. Raises CompactedError if a page is asked for whose list is too old."""
    render = renderer(call, cache)
    filter_ = Filter.of(call)
    page = await _select(call, cache, filter_)
    limit = call.number("limit")
    entries = page.entries
    metadata: dict[str, Any] = {"resourceVersion": str(page.revision)}
    if limit and len(entries) > limit:
        if filter_.everything:
            metadata["remainingItemCount"] = len(entries) - limit
        entries = entries[:limit]
        last = entries[-1].key
        metadata["continue"] = _token(page.revision, last.namespace, last.name)
    pieces, media = render.pieces(entries, metadata), render.wanted.media
    return await respond_in_pieces(call.request, pieces, media=media, warnings=call.warnings)


@dataclass(frozen=True, slots=True)
class _Page:
    entries: list[ServedObject]
    revision: int


async def _select(call: Call, cache: ObjectCache, filter_: Filter) -> _Page:
    """Return the selected objects at the revision that the request is about."""
    token = call.query.get("continue", "")
    version, match = call.query.get("resourceVersion", ""), call.query.get("resourceVersionMatch", "")
    if token:
        if match:
            raise _bad_options("resourceVersionMatch is forbidden when continue is provided")
        if version not in ("", "0"):
            raise InvalidArgumentError("specifying resource version is not allowed when using continue")
        return _continue(call, cache, filter_, token)
    if match and not version:
        raise _bad_options("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match not in ("", "Exact", "NotOlderThan"):
        raise _bad_options(f"resourceVersionMatch must be Exact or NotOlderThan, not {errors.shown(match)}")
    if match == "Exact" and version == "0":
        raise _bad_options('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')
    wanted = call.number("resourceVersion")
    if version == "":
        await cache.fresh()
    else:
        await reach(cache, wanted)
    log = cache.log(*call.info.storage_key)
    if match == "Exact":
        return _Page(_filtered(call, cache, filter_, log.at(wanted, filter_.namespace)), wanted)
    return _Page(_filtered(call, cache, filter_, log.select(filter_.namespace)), cache.revision)


def _bad_options(message: str) -> InvalidArgumentError:
    """Return the error 422 for options that exclude each other."""
    return InvalidArgumentError(message, reason=BAD_OPTIONS)


def _continue(call: Call, cache: ObjectCache, filter_: Filter, token: str) -> _Page:
    revision, namespace, name = _parse_token(token)
    log = cache.log(*call.info.storage_key)
    try:
        entries = log.at(revision, filter_.namespace)
    except CompactedError as error:
        raise CompactedError(
            "The provided continue parameter is too old to display a consistent list result. Start a new list"
            " without the continue parameter.",
            compact_revision=error.compact_revision,
        ) from error
    after = (namespace, name)
    rest = [e for e in entries if (e.key.namespace, e.key.name) > after]
    return _Page(_filtered(call, cache, filter_, rest), revision)


def _filtered(
    call: Call, cache: ObjectCache, filter_: Filter, entries: Iterable[ServedObject]
) -> list[ServedObject]:
    if filter_.everything:
        return list(entries)
    return [e for e in entries if filter_.matches(call, e, cache.boundary)]


def _token(revision: int, namespace: str, name: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([1, revision, namespace, name])).decode().rstrip("=")


def _parse_token(token: str) -> tuple[int, str, str]:
    try:
        padded = token + "=" * (-len(token) % 4)
        version, revision, namespace, name = orjson.loads(base64.urlsafe_b64decode(padded))
        if (type(revision), type(namespace), type(name)) != (int, str, str):
            raise ValueError("it is of other types")
        if version != 1 or not 0 < revision <= MAX_WHOLE:
            raise ValueError("it is of another version")
        return int(revision), str(namespace), str(name)
    except (ValueError, TypeError, binascii.Error) as error:
        raise InvalidArgumentError("continue key is not valid: start a new list without it") from error
