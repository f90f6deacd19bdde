"""The verbs that change: create, update, patch, delete, deletecollection, and the subresources of writes.

Turns requests into calls of `ResourceStore` and results into answers; holds no state. Next:
`hanse.kube.engine.resources.store`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast, get_args

import orjson
from aiohttp import web

from hanse.documents import MALFORMED
from hanse.errors import InvalidArgumentError, NotFoundError
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.engine.lifecycle import Propagation
from hanse.kube.engine.options import NOTHING_REPEATED, DeleteOptions, FieldValidation, Repeated, WriteOptions
from hanse.kube.engine.resources.preparation import complain
from hanse.kube.kinds.conversion import to_served
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.kinds.scale import SCALE, scale_of, with_scale
from hanse.kube.merge.patch import json_patch, merge_patch
from hanse.kube.model import status
from hanse.kube.model.objects import Object, mapping
from hanse.kube.server.endpoints.read import Filter
from hanse.kube.server.negotiation import Body, parse_accept, read_body, read_patch
from hanse.kube.server.representation import Renderer, list_pieces, respond, respond_in_pieces
from hanse.kube.server.request import Call

_DELETERS = 16
"""How many objects of a deletecollection are deleted at once."""


def options_of(call: Call) -> WriteOptions:
    """Return the write options in a request's parameters. Raises InvalidArgumentError."""
    validation = call.query.get("fieldValidation", "") or "Warn"
    if validation not in get_args(FieldValidation):
        raise _bad_option(f"fieldValidation: must be Strict, Warn or Ignore, not {validation!r}")
    manager = call.query.get("fieldManager", "")
    if len(manager) > 128 or not manager.isprintable():
        raise _bad_option("fieldManager: must be printable and have at most 128 characters")
    return WriteOptions(
        user=call.user,
        field_manager=manager or _agent(call.request),
        dry_run=_dry_run(call.query.get("dryRun", "")),
        field_validation=cast(FieldValidation, validation),
        force=call.flag("force"),
        warnings=call.warnings,
    )


def _agent(request: web.Request) -> str:
    said = request.headers.get("User-Agent", "").split("/")[0][:128]
    return "".join(char for char in said if char.isprintable()) or "unknown"


def _dry_run(value: Any) -> bool:
    values = value if isinstance(value, list) else [value] if value else []
    if any(v != "All" for v in values):
        raise _bad_option("dryRun: must be All or absent")
    return bool(values)


def _bad_option(problem: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"the options of the request are invalid: {problem}", reason=status.BAD_OPTIONS
    )


async def create(call: Call, engine: KubeEngine) -> web.StreamResponse:
    """Answer a create."""
    obj, options = await _object(call)
    created = await engine.resources.create(call.info, obj, namespace=call.path.namespace, options=options)
    return await _answer(call, created, code=201)


async def update(call: Call, engine: KubeEngine) -> web.StreamResponse:
    """Answer an update of an object or of one of its subresources."""
    obj, options = await _object(call)
    path = call.path
    if path.subresource == "scale":
        complain(SCALE, (), options)
        return await _scale(call, engine, lambda _: obj, options)
    updated = await engine.resources.update(
        call.info,
        obj,
        namespace=path.namespace,
        name=path.name,
        subresource=path.subresource,
        options=options,
    )
    return await _answer(call, updated)


async def patch(call: Call, engine: KubeEngine) -> web.StreamResponse:
    """Answer a patch or a server-side apply."""
    patch_type, read = await read_patch(call.request)
    body, options = read.value, _options(call, read)
    path = call.path
    if patch_type == "apply":
        manager = call.query.get("fieldManager", "")
        if not manager:
            raise _bad_option("fieldManager: Required value: is required for apply patch")
        if not isinstance(body, dict):
            raise InvalidArgumentError("an apply configuration must be an object")
        options = _checked_apply(options)
    elif options.force:
        raise _bad_option("force: Forbidden: may not be specified for non-apply patch")
    if patch_type == "json":
        options = replace(options, repeated=_of_operations(body, options.repeated))
    if path.subresource == "scale":
        complain(SCALE, (), options)
        apply = json_patch if patch_type == "json" else merge_patch
        return await _scale(call, engine, lambda scale: apply(scale, body), options)
    patched, created = await engine.resources.patch(
        call.info, namespace=path.namespace, name=path.name, patch=body, patch_type=patch_type,
        subresource=path.subresource, options=options,
    )  # fmt: skip
    return await _answer(call, patched, code=201 if created else 200)


async def delete(call: Call, engine: KubeEngine) -> web.StreamResponse:
    """Answer a delete: the object if it waits for something, else a Status."""
    options = await _delete_options(call)
    path = call.path
    obj, gone = await engine.resources.delete(
        call.info, namespace=path.namespace, name=path.name, options=options
    )
    if not gone:
        return await _answer(call, obj)
    done = status.success(
        name=path.name, group=call.info.group, kind=call.info.plural, uid=str(obj["metadata"].get("uid", ""))
    )
    return await respond(call.request, orjson.dumps(done), warnings=call.warnings)


async def delete_collection(call: Call, engine: KubeEngine) -> web.StreamResponse:
    """Answer a deletecollection: every selected object is deleted, one by one; the answer lists them.

    An object that cannot be read is in it only if everything is: what a selector says of it is not known.
    """
    options = await _delete_options(call)
    await engine.cache.fresh()
    filter_ = Filter.of(call)
    cache = engine.cache
    entries = [
        e
        for e in cache.objects(*call.info.storage_key, filter_.namespace)
        if (filter_.everything or not cache.unreadable(e.key)) and filter_.matches(call, e, cache.boundary)
    ]
    waiting = iter(entries)
    deleted: list[Object] = []

    async def remove() -> None:
        for entry in waiting:
            try:
                found, gone = await engine.resources.delete(
                    call.info, namespace=entry.key.namespace, name=entry.key.name, options=options
                )
            except NotFoundError:
                continue
            deleted.append(to_served(call.info, entry.object) if gone else found)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(_DELETERS, len(entries))):
            group.create_task(remove())
    info = call.info
    head = {
        "kind": info.list_kind or f"{info.kind}List",
        "apiVersion": info.api_version,
        "metadata": {"resourceVersion": str(engine.cache.revision)},
    }
    deleted.sort(key=lambda obj: (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))
    pieces = list_pieces(head, map(orjson.dumps, deleted))
    return await respond_in_pieces(call.request, pieces, warnings=call.warnings)


async def get_scale(call: Call, engine: KubeEngine) -> web.StreamResponse:
    """Answer a get of the scale subresource."""
    await engine.cache.fresh()
    entry = engine.cache.get(call.key)
    if entry is None:
        raise NotFoundError(
            f'{call.info.group_resource} "{call.path.name}" not found',
            metadata={"name": call.path.name, "group": call.info.group, "kind": call.info.plural},
        )
    return await _answer(call, scale_of(call.info, entry.object), info=SCALE)


async def _scale(call: Call, engine: KubeEngine, change: Any, options: WriteOptions) -> web.StreamResponse:
    """Change an object through its Scale."""

    def scaled(obj: Object) -> Object:
        before = scale_of(call.info, obj)
        wanted = change(before)
        version = mapping(wanted, "metadata").get("resourceVersion")
        result = with_scale(call.info, obj, wanted)
        if version and version != obj["metadata"]["resourceVersion"]:
            engine.resources.check_version(
                call.info, call.key, str(version), int(obj["metadata"]["resourceVersion"])
            )
        return result

    updated = await engine.resources.modify(
        call.info, namespace=call.path.namespace, name=call.path.name, change=scaled, options=options,
        subresource="scale",
    )  # fmt: skip
    return await _answer(call, scale_of(call.info, updated), info=SCALE)


async def bind(call: Call, engine: KubeEngine) -> web.StreamResponse:
    """Answer a create of a Pod's binding: the Pod goes to the node that the Binding names."""
    body, options = await _object(call)
    node = str(mapping(body, "target").get("name") or "")
    if not node:
        raise InvalidArgumentError("a Binding needs target.name, the node")

    def bound(pod: Object) -> Object:
        if mapping(pod, "spec").get("nodeName") not in (None, "", node):
            raise InvalidArgumentError(f"the pod is on node {pod['spec']['nodeName']} already")
        return {**pod, "spec": {**mapping(pod, "spec"), "nodeName": node}}

    await engine.resources.modify(
        call.info, namespace=call.path.namespace, name=call.path.name, change=bound, options=options
    )
    done = status.success(name="", group="", kind="", uid="")
    return await respond(call.request, orjson.dumps(done), status=201)


async def evict(call: Call, engine: KubeEngine) -> web.StreamResponse:
    """Answer a create of a Pod's eviction: the Pod is deleted."""
    body, _ = await _object(call)
    options = _delete_options_of(call, mapping(body, "deleteOptions"))
    await engine.resources.delete(
        call.info, namespace=call.path.namespace, name=call.path.name, options=options
    )
    done = status.success(name="", group="", kind="", uid="")
    return await respond(call.request, orjson.dumps(done), status=201)


async def _object(call: Call) -> tuple[Object, WriteOptions]:
    """Return the object in the body of a request, and how to write it."""
    try:
        read = await read_body(call.request)
    except InvalidArgumentError as error:
        if error.reason != MALFORMED:
            raise
        kind = call.info.kind
        said = f"the object provided is unrecognized (must be of type {kind}): {error}"
        raise InvalidArgumentError(said, reason=MALFORMED) from error
    body = read.value
    if not isinstance(body, dict):
        raise InvalidArgumentError("the body of the request must be an object")
    if not call.path.subresource:
        # What the body leaves out, the request says.
        for name, said in (("apiVersion", call.info.api_version), ("kind", call.info.kind)):
            if not body.get(name):
                body[name] = said
    return body, _options(call, read)


def _options(call: Call, body: Body) -> WriteOptions:
    """Return the options of a write, with what is to be said of its body."""
    call.warnings.extend(body.notes)
    return replace(options_of(call), repeated=body.repeated)


def _checked_apply(options: WriteOptions) -> WriteOptions:
    """Refuse or warn of what an apply says more than once, before it is looked at: unknown fields are refused
    whatever the client asked. Raises InvalidArgumentError."""
    repeated = options.repeated
    if options.field_validation == "Strict" and repeated.found:
        said = f"error strict decoding patch: error converting YAML to JSON: {', '.join(repeated.refusal)}"
        raise InvalidArgumentError(said)
    if options.field_validation == "Warn":
        options.warnings.extend(repeated.found)
    return replace(options, repeated=NOTHING_REPEATED)


def _of_operations(operations: Any, repeated: Repeated) -> Repeated:
    """Return what a JSON patch says more than once, and what is in it that an operation does not have."""
    unknown = [
        f'unknown field "[{index}].{name}"'
        for index, each in enumerate(operations if isinstance(operations, list) else ())
        if isinstance(each, dict)
        for name in each
        if name not in ("op", "path", "from", "value")
    ]
    return Repeated(tuple(f"json patch {each}" for each in (*repeated.found, *unknown)))


async def _delete_options(call: Call) -> DeleteOptions:
    body = (await read_body(call.request)).value
    return _delete_options_of(call, body if isinstance(body, dict) else {})


def _delete_options_of(call: Call, body: dict[str, Any]) -> DeleteOptions:
    propagation = body.get("propagationPolicy") or call.query.get("propagationPolicy", "")
    if propagation and body.get("orphanDependents") is not None:
        raise _bad_option("propagationPolicy: orphanDependents and propagationPolicy cannot be both set")
    if not propagation and "orphanDependents" in body:
        propagation = "Orphan" if body["orphanDependents"] else "Background"
    if propagation not in get_args(Propagation):
        raise _bad_option(f"propagationPolicy: must be Background, Foreground or Orphan, not {propagation!r}")
    grace = body.get("gracePeriodSeconds")
    if grace is None and call.query.get("gracePeriodSeconds"):
        grace = call.number("gracePeriodSeconds")
    if grace is not None and type(grace) is not int:
        raise _bad_option("gracePeriodSeconds: must be a whole number")
    preconditions = mapping(body, "preconditions")
    uid, version = preconditions.get("uid"), preconditions.get("resourceVersion")
    if not isinstance(uid, str | None) or not isinstance(version, str | None):
        raise _bad_option("preconditions: uid and resourceVersion must be text")
    return DeleteOptions(
        user=call.user,
        uid=uid,
        resource_version=version,
        propagation=cast(Propagation, propagation),
        grace_seconds=grace,
        dry_run=_dry_run(body.get("dryRun")) or _dry_run(call.query.get("dryRun", "")),
        warnings=call.warnings,
    )


async def _answer(
    call: Call, obj: Object, *, code: int = 200, info: ResourceInfo | None = None
) -> web.StreamResponse:
    """Answer with an object, of `info` if it is none of the resource that the call is about."""
    wanted = parse_accept(call.request.headers.get("Accept", ""))
    include = call.query.get("includeObject", "")
    render = Renderer(info or call.info, wanted, include=include, now=call.now)
    return await respond(
        call.request, render.one(obj), status=code, media=wanted.media, warnings=call.warnings
    )
