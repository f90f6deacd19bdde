"""What a client wants to get (Accept) and what it sends (Content-Type). Pure, except for reading bodies.

The server writes JSON and YAML; it reads protobuf too, and who asks for it gets JSON, which every Kubernetes
client that asks for protobuf also reads. Next: `hanse.kube.server.representation`, which renders.
"""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from hanse.documents import MALFORMED, check_bounds, json_document, read_yaml, repeated_fields
from hanse.errors import DeadlineError, InvalidArgumentError, shown
from hanse.kube.engine.options import NOTHING_REPEATED, PatchType, Repeated
from hanse.kube.model.status import (
    NOT_ACCEPTABLE,
    REQUEST_TIMEOUT,
    REQUEST_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
)
from hanse.kube.wire.protobuf import decode_object
from hanse.turns import Turns

JSON = "application/json"
YAML = "application/yaml"
META_V1 = "meta.k8s.io/v1"
PROTOBUF = "application/vnd.kubernetes.protobuf"
_READABLE = frozenset({JSON, YAML, "*/*", "application/*", "text/*", PROTOBUF})

PATCH_TYPES: dict[str, PatchType] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}

TURNS = web.AppKey("turns", Turns)
"""Where long work has its turns."""

YAML_IN_PLACE = 16 * 1024
"""Bytes of YAML that are decoded on the loop: it takes a second for each MiB."""

JSON_IN_PLACE = 256 * 1024
"""Bytes of JSON that are decoded on the loop: with its bounds checked it takes up to 20 ms for each MiB."""

BODY_SECONDS = web.AppKey("body_seconds", float)
"""Seconds in which the body of a request must come."""
AWAITS_CONTINUE = web.RequestKey("awaits_continue", bool)
"""Whether the client sends its body when it is told to."""
_SMALL_PROTOBUF = 32 * 1024

_JSON_BEGINS = (b"{", b"[")

Shape = Literal["object", "table", "metadata"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The form of an answer: whole objects, a Table or metadata only; as JSON or YAML.

    `meta` is the apiVersion of a Table, or of metadata only.
    """

    shape: Shape = "object"
    media: str = JSON
    meta: str = META_V1


@functools.lru_cache(maxsize=256)
def parse_accept(header: str) -> Wanted:
    """Return the first form in an Accept header that the server can give.

    Raises InvalidArgumentError (406) if there is none.
    """
    for clause in header.split(",") if header.strip() else ["*/*"]:
        media, *raw = (part.strip() for part in clause.split(";"))
        if media not in _READABLE:
            continue
        parameters = dict(part.split("=", 1) for part in raw if "=" in part)
        as_ = parameters.get("as", "")
        out = YAML if media == YAML else JSON
        if not as_:
            return Wanted(media=out)
        version = parameters.get("v", "v1")
        if version not in ("v1", "v1beta1") or parameters.get("g") not in ("meta.k8s.io", None):
            continue
        if as_ == "Table":
            return Wanted("table", out, f"meta.k8s.io/{version}")
        if as_ in ("PartialObjectMetadata", "PartialObjectMetadataList"):
            return Wanted("metadata", out, f"meta.k8s.io/{version}")
    raise InvalidArgumentError(
        f"only {JSON} and {YAML} are served, the client accepts {shown(header)}", reason=NOT_ACCEPTABLE
    )


@dataclass(frozen=True, slots=True)
class Body:
    """The decoded body of a request, None if it has none, and what its text says more than once.

    `notes` are sentences for whoever sent it.
    """

    value: Any
    repeated: Repeated = NOTHING_REPEATED
    notes: tuple[str, ...] = ()


async def read_body(request: web.Request, *, limit: int = 0) -> Body:
    """Return the body of a request. `limit` is in bytes, 0 the server's own.

    Raises InvalidArgumentError: 400 for what cannot be decoded, 413 for too much, 415 for another type.
    """
    media = request.content_type
    body = await _read(request, limit=limit)
    if not body:
        return Body(None)
    if "Content-Type" not in request.headers:
        media = JSON
    if media == PROTOBUF:
        if len(body) < _SMALL_PROTOBUF:
            return Body(_decode_protobuf(body))
        return Body(await asyncio.to_thread(_decode_protobuf, body))
    if media not in (JSON, YAML):
        raise InvalidArgumentError(
            "the body of the request was in an unknown format - accepted media types include:"
            f" {JSON}, {YAML}, {PROTOBUF}",
            reason=UNSUPPORTED_MEDIA_TYPE,
        )
    return await _decoded(request, body, as_yaml=media == YAML)


async def read_patch(request: web.Request) -> tuple[PatchType, Body]:
    """Return the type and the body of a patch. Raises as `read_body`."""
    patch_type = PATCH_TYPES.get(request.content_type)
    if patch_type is None:
        accepted = ", ".join(PATCH_TYPES)
        raise InvalidArgumentError(
            f"the body of the request was in an unknown format - accepted media types include: {accepted}"
            f" (it was {request.content_type})",
            reason=UNSUPPORTED_MEDIA_TYPE,
        )
    return patch_type, await _decoded(request, await _read(request), as_yaml=patch_type == "apply")


def _decode_json(body: bytes) -> Body:
    value = json_document(body)
    return Body(value, Repeated(tuple(f'duplicate field "{each}"' for each in repeated_fields(body, value))))


def _decode_yaml(body: bytes) -> Body:
    read = read_yaml(body)
    notes = ("the body has several YAML documents, and only the first is taken",) if read.more else ()
    return Body(read.value, Repeated(read.repeated, yaml=True), notes)


def _decode_protobuf(body: bytes) -> Any:
    decoded = decode_object(body)
    check_bounds(decoded, what="the body")
    return decoded


async def _decoded(request: web.Request, body: bytes, *, as_yaml: bool) -> Body:
    """Decode a body by its type, whatever it looks like; a long one in a thread.

    JSON is YAML, and is decoded faster as what it is. Raises InvalidArgumentError that says where it breaks.
    """
    turns = request.app[TURNS]
    if not as_yaml or body.lstrip()[:1] in _JSON_BEGINS:
        try:
            decoded = await turns.run(len(body) > JSON_IN_PLACE, _decode_json, body)
            if not as_yaml or not decoded.repeated.found:
                return decoded
        except InvalidArgumentError as error:
            if not as_yaml or error.reason != MALFORMED:
                raise
    return await turns.run(len(body) > YAML_IN_PLACE, _decode_yaml, body)


async def _read(request: web.Request, *, limit: int = 0) -> bytes:
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise InvalidArgumentError(
            f"the body of the request is encoded ({shown(encoding)}), and only plain bodies are read",
            reason=UNSUPPORTED_MEDIA_TYPE,
        )
    if request.get(AWAITS_CONTINUE):
        request[AWAITS_CONTINUE] = False
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # as aiohttp's own: the answer has not begun
    seconds = request.app[BODY_SECONDS]
    bounded = request.clone(client_max_size=limit) if limit else request
    try:
        async with asyncio.timeout(seconds):
            return await bounded.read()
    except TimeoutError:
        raise DeadlineError(
            f"the body of the request was not there after {seconds:g} s: send it at once",
            reason=REQUEST_TIMEOUT,
        ) from None
    except web.RequestPayloadError as error:
        raise InvalidArgumentError(f"the body of the request cannot be read: {shown(str(error))}") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise InvalidArgumentError(
            f"Request entity too large: {error.text}", reason=REQUEST_TOO_LARGE
        ) from error
