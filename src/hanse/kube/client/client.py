"""A lean asynchronous client of one Kubernetes API server: the verbs.

Owns what each verb asks for. Bodies are orjson; objects are plain dictionaries. Used from the event loop that
entered it, by any number of tasks at once.

Next: `hanse.kube.client.transport` for how requests are sent and what errors mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

import orjson

from hanse.errors import UnavailableError
from hanse.kube.client import expect
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.bounds import KEPT_LIST_BYTES, LIST_BYTES, AnswerTooLongError, ListBudget
from hanse.kube.client.discovery import DISCOVERY_PATHS, ServedApis, read_discovery
from hanse.kube.client.expect import ADeletion, AList, AnObject
from hanse.kube.client.transport import IDENTITY, IDENTITY_PATH, JSON, KubeTransport
from hanse.kube.model.objects import Object, mapping, name_of, namespace_of, parse_api_version

AS_METADATA_LIST = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
AS_METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
AS_DISCOVERY = ",".join(
    f"{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
)
_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
PAGE = 500
"""Objects per page of a list."""

PatchType = Literal["merge", "json", "strategic"]
Propagation = Literal["", "Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class ResourcePath:
    """Names a resource in a version: `ResourcePath("apps/v1", "deployments")`.

    With its kind, where that is known, answers of another kind are told.
    """

    api_version: str
    plural: str
    kind: str = field(default="", compare=False)

    def url(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the URL path of the collection or, with a name, of an object or its subresource."""
        group, version = parse_api_version(self.api_version)
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        if namespace:
            path += f"/namespaces/{quote(namespace, safe='')}"
        path += f"/{self.plural}"
        if name:
            path += f"/{quote(name, safe='')}"
        return f"{path}/{subresource}" if subresource else path

    def object(self, namespace: str = "", name: str = "", *, uid: str = "", stored: bool = True) -> AnObject:
        """Return what an answer about an object must be; without a name, about any."""
        return AnObject(
            self.api_version,
            self.kind,
            namespace=namespace,
            name=name,
            resource=self.plural,
            uid=uid,
            stored=stored,
        )


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A complete list and the resourceVersion to watch from."""

    items: list[Object]
    resource_version: str


class KubeClient(KubeTransport):
    """Requests to one API server."""

    def __init__(
        self,
        access: ClusterAccess,
        *,
        field_manager: str = "hanse",
        timeout: float = 30.0,
        connections: int = 64,
        retries: int = 3,
        user_agent: str = "hanse",
    ) -> None:
        """As `KubeTransport`; `field_manager` is under which name fields are owned."""
        super().__init__(
            access, timeout=timeout, connections=connections, retries=retries, user_agent=user_agent
        )
        self._field_manager = field_manager

    # Reading.

    async def get(self, resource: ResourcePath, name: str, *, namespace: str = "") -> Object:
        """Return an object. Raises NotFoundError."""
        return await self.call("GET", resource.url(namespace, name), expect=resource.object(namespace, name))

    async def list(
        self,
        resource: ResourcePath,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = PAGE,
    ) -> ObjectList:
        """Return all objects of a resource, read in pages of `limit`; the list is complete or an error.

        Raises CompactedError if it took too long between two pages, MisbehavingMemberError for one that has
        no end or more objects than any cluster has. Items have apiVersion and kind.
        """
        return await self._list(
            resource, metadata_only=False, namespace=namespace, label_selector=label_selector,
            field_selector=field_selector, resource_version=resource_version, limit=limit,
        )  # fmt: skip

    async def list_metadata(
        self,
        resource: ResourcePath,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = PAGE,
    ) -> ObjectList:
        """Return the metadata of all objects of a resource; as `list` otherwise."""
        return await self._list(
            resource, metadata_only=True, namespace=namespace, label_selector=label_selector,
            field_selector=field_selector, resource_version=resource_version, limit=limit,
        )  # fmt: skip

    async def _list(self, resource: ResourcePath, *, metadata_only: bool, **options: Any) -> ObjectList:
        items: list[Object] = []
        version = ""
        pages = self.pages(resource, metadata_only=metadata_only, bytes_in_all=KEPT_LIST_BYTES, **options)
        async with aclosing(pages):
            async for page in pages:
                items += page.items
                version = page.resource_version
        return ObjectList(items, version)

    async def pages(
        self,
        resource: ResourcePath,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = PAGE,
        metadata_only: bool = False,
        bytes_in_all: int = LIST_BYTES,
    ) -> AsyncGenerator[ObjectList, None]:
        """Yield the pages of a list, for who keeps less than the objects. Raises as `list`.

        The list is complete when this ends without an error; the last page has the resourceVersion to watch
        from. A page that is too long is asked for again with a tenth of the objects.
        """
        accept = AS_METADATA_LIST if metadata_only else JSON
        expected = AList(resource.api_version, resource.kind, namespace=namespace, partial=metadata_only)
        params = _params(labelSelector=label_selector, fieldSelector=field_selector)
        position = _params(resourceVersion=resource_version)
        budget = ListBudget(f"the list of {resource.plural} of {self.access.server}", bytes_in_all)
        while True:
            asked = {**params, **_params(limit=str(limit) if limit else ""), **position}
            try:
                page = await self.call(
                    "GET",
                    resource.url(namespace),
                    expect=expected,
                    params=asked,
                    accept=accept,
                    budget=budget,
                )
            except AnswerTooLongError:
                if limit == 1:
                    raise
                limit = max(1, (limit or PAGE) // 10)
                continue
            items = _typed(page["items"] or [], page)
            token = mapping(page, "metadata").get("continue") or ""
            budget.page(items, token)
            yield ObjectList(items, str(mapping(page, "metadata").get("resourceVersion") or ""))
            if not token:
                return
            position = {"continue": token}

    async def watch(
        self,
        resource: ResourcePath,
        *,
        resource_version: str,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        bookmarks: bool = True,
        timeout_seconds: int = 300,
        metadata_only: bool = False,
        idle_seconds: float | None = None,
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield (type, object) for every change after `resource_version`; ends when the server ends it.

        The type is ADDED, MODIFIED, DELETED or BOOKMARK (of which only the resourceVersion means anything).
        Raises CompactedError if the server no longer knows the revision; UnavailableError if the connection
        breaks, or nothing at all comes for `idle_seconds`.
        """
        params = _params(
            watch="true", resourceVersion=resource_version, labelSelector=label_selector,
            fieldSelector=field_selector, timeoutSeconds=str(timeout_seconds),
            allowWatchBookmarks="true" if bookmarks else "",
        )  # fmt: skip
        events = self.events(
            resource.url(namespace),
            expect=AnObject(resource.api_version, resource.kind, namespace=namespace, partial=metadata_only),
            params=params,
            accept=AS_METADATA if metadata_only else JSON,
            idle_seconds=idle_seconds or timeout_seconds + 30,
        )
        async with aclosing(events):
            async for event in events:
                yield event

    # Writing.

    async def apply(
        self,
        resource: ResourcePath,
        obj: Object,
        *,
        force: bool = False,
        field_manager: str = "",
        dry_run: bool = False,
        subresource: str = "",
    ) -> Object:
        """Server-side apply an object, which names its namespace; return what it is now.

        Raises ConflictError with `causes` if another manager owns a field, unless `force`.
        """
        params = _params(
            fieldManager=field_manager or self._field_manager,
            force="true" if force else "",
            dryRun="All" if dry_run else "",
        )
        url = resource.url(namespace_of(obj), name_of(obj), subresource)
        return await self.call(
            "PATCH",
            url,
            expect=_written(resource, obj, subresource, dry_run=dry_run),
            params=params,
            body=orjson.dumps(obj),
            content=_PATCHES["apply"],
        )

    async def create(self, resource: ResourcePath, obj: Object, *, dry_run: bool = False) -> Object:
        """Create an object and return it. Raises AlreadyExistsError."""
        params = _params(fieldManager=self._field_manager, dryRun="All" if dry_run else "")
        url = resource.url(namespace_of(obj))
        expected = _written(resource, obj, dry_run=dry_run)
        return await self.call("POST", url, expect=expected, params=params, body=orjson.dumps(obj))

    async def update(
        self, resource: ResourcePath, obj: Object, *, subresource: str = "", dry_run: bool = False
    ) -> Object:
        """Replace an object and return it. A resourceVersion in it is an optimistic lock: ConflictError."""
        params = _params(fieldManager=self._field_manager, dryRun="All" if dry_run else "")
        url = resource.url(namespace_of(obj), name_of(obj), subresource)
        expected = _written(resource, obj, subresource, dry_run=dry_run)
        return await self.call("PUT", url, expect=expected, params=params, body=orjson.dumps(obj))

    async def patch(
        self,
        resource: ResourcePath,
        name: str,
        patch: Any,
        *,
        namespace: str = "",
        patch_type: PatchType = "merge",
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Patch an object and return it."""
        params = _params(fieldManager=self._field_manager, dryRun="All" if dry_run else "")
        url = resource.url(namespace, name, subresource)
        named: Object = {"metadata": {"name": name, "namespace": namespace}}
        return await self.call(
            "PATCH",
            url,
            expect=_written(resource, named, subresource, dry_run=dry_run),
            params=params,
            body=orjson.dumps(patch),
            content=_PATCHES[patch_type],
        )

    async def delete(
        self,
        resource: ResourcePath,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        propagation: Propagation = "Background",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Delete an object; return it if it waits for something, else a Status. Raises NotFoundError.

        With `uid` or `resource_version` only that very object: ConflictError for another one.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        preconditions = _params(uid=uid, resourceVersion=resource_version)
        if preconditions:
            options["preconditions"] = preconditions
        if propagation:
            options["propagationPolicy"] = propagation
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if dry_run:
            options["dryRun"] = ["All"]
        expected = ADeletion(resource.object(namespace, name, uid=uid))
        return await self.call(
            "DELETE", resource.url(namespace, name), expect=expected, body=orjson.dumps(options)
        )

    # The server itself.

    async def version(self) -> Object:
        """Return what /version says."""
        return await self.call("GET", "/version", expect=expect.VERSION)

    async def healthy(self) -> None:
        """Return if the server says that it is ready. Raises UnavailableError with what it says instead."""
        answer = await self.ask("GET", "/readyz", expect=expect.READY, accept="*/*")
        if not answer.ok:
            said = answer.body.decode(errors="replace").strip()[:200]
            raise UnavailableError(f"{self.access.server} is not ready ({answer.status}): {said}")

    async def cluster_id(self) -> str:
        """Return the uid of the namespace kube-system, which tells clusters apart."""
        return str((await self.call("GET", IDENTITY_PATH, expect=IDENTITY))["metadata"]["uid"])

    async def openapi_v3(self, api_version: str) -> Object:
        """Return the OpenAPI v3 document of a group and version such as apps/v1. Raises NotFoundError."""
        group, version = parse_api_version(api_version)
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        return await self.call("GET", f"/openapi/v3/{path}", expect=expect.OPENAPI)

    async def served(self) -> ServedApis:
        """Return what the server says that it serves. Raises as `read_discovery`."""
        documents = [
            await self.call("GET", path, expect=expect.DISCOVERY, accept=AS_DISCOVERY)
            for path in DISCOVERY_PATHS
        ]
        return await asyncio.to_thread(read_discovery, documents)


def _written(
    resource: ResourcePath, obj: Object, subresource: str = "", *, dry_run: bool = False
) -> AnObject:
    """Return what the answer to a write of an object must be; a subresource may be of another kind."""
    if subresource:
        return AnObject(namespace=namespace_of(obj), name=name_of(obj), resource=resource.plural)
    return resource.object(namespace_of(obj), name_of(obj), stored=not dry_run)


def _params(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _typed(items: Any, page: Object) -> list[Object]:
    """Give the items of a list the apiVersion and kind that real API servers leave out."""
    kind = str(page.get("kind", "")).removesuffix("List")
    version = page.get("apiVersion")
    return [item if "kind" in item else {"apiVersion": version, "kind": kind, **item} for item in items]
