"""All verbs on the objects of an API server, for tests that write what the product never writes."""

from __future__ import annotations

from typing import Any, Final, Literal

import orjson

from hanse.errors import UnavailableError
from hanse.kube.client import requests
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.client import KubeClient
from hanse.kube.client.expect import ADeletion, ADocument, AnObject, Expected
from hanse.kube.client.requests import ApiRequest, GroupVersionResource, query
from hanse.kube.model.objects import Object, name_of, namespace_of

PATCHES: Final = {
    "merge": requests.MERGE_PATCH,
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class ObjectClient(KubeClient):
    """A client that writes too. `field_manager` is under which name fields are owned."""

    def __init__(self, access: ClusterAccess, *, field_manager: str = "test", **options: Any) -> None:
        super().__init__(access, **options)
        self._field_manager = field_manager

    async def ask_for(self, method: str, path: str, *, expect: Expected, body: bytes | None = None) -> Object:
        """Send a request to a path; return what was expected."""
        return await self.call(ApiRequest(method, path, expect, body=body))

    async def apply(
        self,
        resource: GroupVersionResource,
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
        params = query(
            fieldManager=field_manager or self._field_manager,
            force="true" if force else "",
            dryRun="All" if dry_run else "",
        )
        request = ApiRequest(
            "PATCH",
            resource.url(namespace_of(obj), name_of(obj), subresource),
            _written(resource, obj, subresource, dry_run=dry_run),
            params=params,
            body=orjson.dumps(obj),
            content=requests.APPLY_PATCH,
        )
        return await self.call(request)

    async def create(self, resource: GroupVersionResource, obj: Object, *, dry_run: bool = False) -> Object:
        """Create an object and return it. Raises AlreadyExistsError."""
        expected = _written(resource, obj, dry_run=dry_run)
        url = resource.url(namespace_of(obj))
        return await self.call(
            ApiRequest("POST", url, expected, params=self._params(dry_run), body=orjson.dumps(obj))
        )

    async def update(
        self, resource: GroupVersionResource, obj: Object, *, subresource: str = "", dry_run: bool = False
    ) -> Object:
        """Replace an object and return it. A resourceVersion in it is an optimistic lock: ConflictError."""
        expected = _written(resource, obj, subresource, dry_run=dry_run)
        url = resource.url(namespace_of(obj), name_of(obj), subresource)
        return await self.call(
            ApiRequest("PUT", url, expected, params=self._params(dry_run), body=orjson.dumps(obj))
        )

    async def patch(
        self,
        resource: GroupVersionResource,
        name: str,
        patch: Any,
        *,
        namespace: str = "",
        patch_type: Literal["merge", "json", "strategic"] = "merge",
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """Patch an object and return it."""
        named: Object = {"metadata": {"name": name, "namespace": namespace}}
        request = ApiRequest(
            "PATCH",
            resource.url(namespace, name, subresource),
            _written(resource, named, subresource, dry_run=dry_run),
            params=self._params(dry_run),
            body=orjson.dumps(patch),
            content=PATCHES[patch_type],
        )
        return await self.call(request)

    async def delete(
        self,
        resource: GroupVersionResource,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        propagation: Literal["", "Background", "Foreground", "Orphan"] = "Background",
        grace_seconds: int | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Delete an object; return it if it waits for something, else a Status. Raises NotFoundError.

        With `uid` or `resource_version` only that very object: ConflictError for another one.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        preconditions = query(uid=uid, resourceVersion=resource_version)
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
            ApiRequest("DELETE", resource.url(namespace, name), expected, body=orjson.dumps(options))
        )

    async def version(self) -> Object:
        """Return what /version says."""
        return await self.call(requests.VERSION)

    async def healthy(self) -> None:
        """Return if the server says that it is ready. Raises UnavailableError with what it says instead."""
        answer = await self.ask(requests.READY)
        if not answer.ok:
            raise UnavailableError(f"{self.access.server} is not ready: {answer.message}")

    async def openapi_v3(self, api_version: str) -> Object:
        """Return the OpenAPI v3 document of a group and version such as apps/v1. Raises NotFoundError."""
        path = f"/openapi/v3{requests.root_of(api_version)}"
        return await self.ask_for("GET", path, expect=ADocument(texts=("openapi",)))

    def _params(self, dry_run: bool) -> dict[str, str]:
        return query(fieldManager=self._field_manager, dryRun="All" if dry_run else "")


def _written(
    resource: GroupVersionResource, obj: Object, subresource: str = "", *, dry_run: bool = False
) -> AnObject:
    """Return what the answer to a write of an object must be; a subresource may be of another kind."""
    if subresource:
        return AnObject(namespace=namespace_of(obj), name=name_of(obj), resource=resource.plural)
    return resource.object(namespace_of(obj), name_of(obj), stored=not dry_run)
