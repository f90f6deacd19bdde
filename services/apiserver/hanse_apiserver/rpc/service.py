"""FederationService: the federation's objects for gRPC clients, under the same rules as over REST.

Owns the servicer and its policy. Writes go through the engine's `ResourceStore`, reads come from its cache,
and the same authorizer decides, so that there is one truth and two ways to say it. Next:
`hanse_apiserver.rpc.objects` for names and forms, `hanse.store.history.contract` for what a watch promises.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any, Final

import grpc
from google.protobuf.empty_pb2 import Empty

from hanse.api.federation.v1 import federation_pb2 as fed
from hanse.api.federation.v1 import federation_service_pb2 as rpc
from hanse.api.federation.v1.federation_service_pb2_grpc import FederationServiceServicer
from hanse.errors import InvalidArgumentError, NotFoundError, PermissionDeniedError
from hanse.kube.engine.engine import KubeEngine
from hanse.kube.engine.lifecycle import Propagation
from hanse.kube.engine.options import DeleteOptions, PatchType, WriteOptions
from hanse.kube.engine.served import ServedObject
from hanse.kube.kinds.resource_info import ResourceInfo
from hanse.kube.kinds.selectable import field_selector
from hanse.kube.model.identity import Attributes, User
from hanse.kube.model.objects import mapping
from hanse.kube.model.selectors import LabelSelector
from hanse.kube.server.auth import Authorizer
from hanse.rpc.interceptor import current_identity
from hanse.rpc.lists.query import ListQuery
from hanse.rpc.policy import Policy, group, service
from hanse.rpc.watch import responses
from hanse.store.keys import ObjectKey
from hanse.well_known import CLI_FIELD_MANAGER
from hanse_apiserver.access import user_of
from hanse_apiserver.rpc import objects as rpc_objects

SERVICE: Final = "hanse.api.federation.v1.FederationService"
_SUBRESOURCES: Final = ("", "status", "scale")

_PATCHES: Final[dict[int, PatchType]] = {
    rpc.JSON_PATCH: "json",
    rpc.MERGE_PATCH: "merge",
    rpc.STRATEGIC_MERGE_PATCH: "strategic",
}
_PROPAGATIONS: Final[dict[int, Propagation]] = {
    rpc.DELETE_PROPAGATION_UNSPECIFIED: "Background",
    rpc.BACKGROUND: "Background",
    rpc.FOREGROUND: "Foreground",
    rpc.ORPHAN: "Orphan",
}

Context = grpc.aio.ServicerContext[Any, Any]


def policy(*, admin_groups: Iterable[str] = (), viewer_groups: Iterable[str] = ()) -> Policy:
    """Return who may call what; which objects they may touch is for the authorizer to say."""
    admins = [group(name) for name in admin_groups]
    readers = [*admins, *(group(name) for name in viewer_groups)]
    registry, scheduler, syncer = map(service, ("registry", "scheduler", "syncer"))
    return Policy(
        {
            f"{SERVICE}/GetFederation": readers,
            f"{SERVICE}/ListResources": readers,
            f"{SERVICE}/GetObject": [registry, syncer, *readers],
            f"{SERVICE}/ListObjects": readers,
            f"{SERVICE}/WatchObjects": readers,
            f"{SERVICE}/CreateObject": [registry, scheduler, syncer, *admins],
            f"{SERVICE}/UpdateObject": admins,
            f"{SERVICE}/ApplyObject": admins,
            f"{SERVICE}/PatchObject": [registry, *admins],
            f"{SERVICE}/DeleteObject": [registry, scheduler, *admins],
        }
    )


class FederationService(FederationServiceServicer):
    """Serves one engine's objects."""

    def __init__(self, engine: KubeEngine, *, authorizer: Authorizer, federation: fed.Federation) -> None:
        """`federation` is what GetFederation answers."""
        self._engine = engine
        self._authorizer = authorizer
        self._federation = federation

    async def GetFederation(self, request: rpc.GetFederationRequest, context: Context) -> fed.Federation:
        """Return the federation itself. Raises NotFoundError for another name."""
        if request.name not in ("", self._federation.name):
            raise NotFoundError(
                f"there is no {request.name!r}: the name of the federation is {self._federation.name!r}",
                metadata={"name": request.name},
            )
        return self._federation

    async def ListResources(
        self, request: rpc.ListResourcesRequest, context: Context
    ) -> rpc.ListResourcesResponse:
        """List the resources that are served, by group, version and name."""
        items = [(f"{i.group}/{i.version}/{i.plural}", i) for i in self._engine.catalogue]
        page = ListQuery.of(request, fed.Resource.DESCRIPTOR).page_of(
            items, rpc_objects.resource_message, revision=self._engine.catalogue.generation
        )
        return rpc.ListResourcesResponse(resources=page.items, next_page_token=page.next_page_token)

    async def GetObject(self, request: rpc.GetObjectRequest, context: Context) -> fed.Object:
        """Return one object."""
        key = rpc_objects.parse_name(request.name)
        info = rpc_objects.storage_info(self._engine.catalogue, key.group, key.resource)
        await self._allow("get", info, namespace=key.namespace, name=key.name)
        await self._engine.cache.fresh()
        entry = self._engine.cache.get(key)
        if entry is None:
            raise NotFoundError(
                f'{info.group_resource} "{key.name}" not found'
                + (f" in namespace {key.namespace}" if key.namespace else ""),
                metadata={"name": request.name},
            )
        return _message(info, entry)

    async def ListObjects(self, request: rpc.ListObjectsRequest, context: Context) -> rpc.ListObjectsResponse:
        """List the objects of one resource, in order of namespace and name."""
        group_, resource, namespace = rpc_objects.parse_parent(request.parent)
        info = rpc_objects.storage_info(self._engine.catalogue, group_, resource)
        await self._allow("list", info, namespace=namespace or "")
        labels = LabelSelector.parse(request.label_selector)
        fields = field_selector(info, request.field_selector)
        query = ListQuery.of(request, fed.Object.DESCRIPTOR)
        await self._engine.cache.fresh()
        cache = self._engine.cache
        items = (
            (f"{entry.key.namespace}/{entry.key.name}", entry)
            for entry in cache.objects(group_, resource, namespace)
            if labels.matches(entry.labels) and (not request.field_selector or fields.matches(entry.object))
        )
        page = query.page_of(
            items,
            lambda entry: _message(info, entry),
            revision=cache.revision,
            header_of=lambda entry: rpc_objects.message_of(info, entry.object, encoded=b""),
        )
        return rpc.ListObjectsResponse(
            objects=page.items,
            next_page_token=page.next_page_token,
            revision=page.revision,
        )

    async def CreateObject(self, request: rpc.CreateObjectRequest, context: Context) -> fed.Object:
        """Create an object."""
        obj = rpc_objects.parse_manifest(request.manifest)
        info = rpc_objects.info_of(self._engine.catalogue, obj)
        key = rpc_objects.key_of(info, obj)
        user = await self._allow("create", info, namespace=key.namespace)
        options = _options(user, request.field_manager, dry_run=request.validate_only)
        created = await self._engine.resources.create(info, obj, options=options)
        return rpc_objects.message_of(info, created)

    async def UpdateObject(self, request: rpc.UpdateObjectRequest, context: Context) -> fed.Object:
        """Replace an object or one of its subresources."""
        obj = rpc_objects.parse_manifest(request.manifest)
        info = rpc_objects.info_of(self._engine.catalogue, obj)
        key = rpc_objects.key_of(info, obj)
        subresource = _subresource(info, request.subresource)
        user = await self._allow(
            "update", info, namespace=key.namespace, name=key.name, subresource=subresource
        )
        if request.etag:
            obj = {**obj, "metadata": {**mapping(obj, "metadata"), "resourceVersion": request.etag}}
        options = _options(user, request.field_manager, dry_run=request.validate_only)
        updated = await self._engine.resources.update(info, obj, subresource=subresource, options=options)
        return rpc_objects.message_of(info, updated)

    async def ApplyObject(self, request: rpc.ApplyObjectRequest, context: Context) -> fed.Object:
        """Apply a manifest by server-side apply."""
        obj = rpc_objects.parse_manifest(request.manifest)
        info = rpc_objects.info_of(self._engine.catalogue, obj)
        key = rpc_objects.key_of(info, obj)
        if not key.name:
            raise InvalidArgumentError(
                "manifest has no metadata.name: an apply needs one", metadata={"field": "metadata.name"}
            )
        if info.namespaced and not key.namespace:
            raise InvalidArgumentError(
                f"manifest has no metadata.namespace: a {info.kind} needs one",
                metadata={"field": "metadata.namespace"},
            )
        user = await self._allow("patch", info, namespace=key.namespace, name=key.name)
        options = WriteOptions(
            user=user,
            field_manager=request.field_manager or user.name or CLI_FIELD_MANAGER,
            dry_run=request.validate_only,
            field_validation="Strict",
            force=request.force,
        )
        applied, _ = await self._engine.resources.patch(
            info, namespace=key.namespace, name=key.name, patch=obj, patch_type="apply", options=options
        )
        return rpc_objects.message_of(info, applied)

    async def PatchObject(self, request: rpc.PatchObjectRequest, context: Context) -> fed.Object:
        """Patch an object or one of its subresources."""
        key = rpc_objects.parse_name(request.name)
        info = rpc_objects.storage_info(self._engine.catalogue, key.group, key.resource)
        subresource = _subresource(info, request.subresource)
        user = await self._allow(
            "patch", info, namespace=key.namespace, name=key.name, subresource=subresource
        )
        if request.type not in _PATCHES:
            raise InvalidArgumentError(
                "type is not set: it must be JSON_PATCH, MERGE_PATCH or STRATEGIC_MERGE_PATCH",
                metadata={"field": "type"},
            )
        patched, _ = await self._engine.resources.patch(
            info,
            namespace=key.namespace,
            name=key.name,
            patch=rpc_objects.parse_json(request.patch, field="patch"),
            patch_type=_PATCHES[request.type],
            subresource=subresource,
            options=_options(user, request.field_manager, dry_run=request.validate_only),
        )
        return rpc_objects.message_of(info, patched)

    async def DeleteObject(self, request: rpc.DeleteObjectRequest, context: Context) -> Empty:
        """Ask for the deletion of an object."""
        key = rpc_objects.parse_name(request.name)
        info = rpc_objects.storage_info(self._engine.catalogue, key.group, key.resource)
        user = await self._allow("delete", info, namespace=key.namespace, name=key.name)
        if request.propagation not in _PROPAGATIONS:
            raise InvalidArgumentError(
                f"propagation is {request.propagation}: it must be BACKGROUND, FOREGROUND or ORPHAN",
                metadata={"field": "propagation"},
            )
        options = DeleteOptions(
            user=user,
            uid=request.uid or None,
            resource_version=request.etag or None,
            propagation=_PROPAGATIONS[request.propagation],
            dry_run=request.validate_only,
        )
        await self._engine.resources.delete(info, namespace=key.namespace, name=key.name, options=options)
        return Empty()

    async def WatchObjects(
        self, request: rpc.WatchObjectsRequest, context: Context
    ) -> AsyncIterator[rpc.WatchObjectsResponse]:
        """Send the objects of one resource, then every change."""
        group_, resource, namespace = rpc_objects.parse_parent(request.parent)
        info = rpc_objects.storage_info(self._engine.catalogue, group_, resource)
        await self._allow("watch", info, namespace=namespace or "")
        labels = LabelSelector.parse(request.label_selector)
        await self._engine.cache.fresh()

        def selected(key: ObjectKey, entry: ServedObject) -> bool:
            return (namespace is None or key.namespace == namespace) and labels.matches(entry.labels)

        history = self._engine.cache.history(group_, resource)

        def gone(response: rpc.WatchObjectsResponse, key: ObjectKey, entry: ServedObject | None) -> None:
            response.object.name = key.key()
            if entry is not None:
                response.object.reference.CopyFrom(rpc_objects.reference_of(info, entry.object))

        told = responses(
            history,
            request.revision,
            rpc.WatchObjectsResponse,
            put=lambda response, entry: response.object.CopyFrom(_message(info, entry)),
            gone=gone,
            select=selected,
        )
        async with aclosing(told):
            async for response in told:
                yield response

    async def _allow(
        self, verb: str, info: ResourceInfo, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> User:
        """Return the caller if it may. Raises PermissionDeniedError."""
        user = user_of(current_identity())
        decision = await self._authorizer.authorize(
            Attributes(
                user=user,
                verb=verb,
                group=info.group,
                version=info.version,
                resource=info.plural,
                subresource=subresource,
                namespace=namespace,
                name=name,
            )
        )
        if not decision.allowed:
            where = f" in namespace {namespace}" if namespace else ""
            raise PermissionDeniedError(
                f"{user.name} may not {verb} {info.group_resource}{where}",
                metadata={"verb": verb, "resource": info.group_resource, "identity": user.name},
            )
        return user


def _options(user: User, manager: str, *, dry_run: bool) -> WriteOptions:
    return WriteOptions(
        user=user, field_manager=manager or user.name, dry_run=dry_run, field_validation="Strict"
    )


def _subresource(info: ResourceInfo, name: str) -> str:
    if name not in _SUBRESOURCES or (name and name not in info.subresources):
        raise InvalidArgumentError(
            f"subresource is {name!r}: {info.group_resource} has no such subresource",
            metadata={"field": "subresource"},
        )
    return name


def _message(info: ResourceInfo, entry: ServedObject) -> fed.Object:
    return rpc_objects.message_of(info, entry.object, encoded=entry.encoded)
