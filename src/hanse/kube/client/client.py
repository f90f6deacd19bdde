"""A lean asynchronous client of one Kubernetes API server: what is read of it.

Owns the reading verbs. Bodies are orjson; objects are plain dictionaries. Who writes sends the requests of
`hanse.kube.client.requests` itself, since what a refusal means depends on why it was asked. Used from the
event loop that entered it, by any number of tasks at once.

Next: `hanse.kube.client.transport` for how requests are sent and what errors mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from hanse.kube.client import requests
from hanse.kube.client.bounds import KEPT_LIST_BYTES, LIST_BYTES
from hanse.kube.client.discovery import ServedApis, read_discovery
from hanse.kube.client.paging import PAGE, ListPage, list_pages
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.client.transport import KubeTransport
from hanse.kube.model.objects import Object


@dataclass(frozen=True, slots=True)
class ObjectList:
    """A complete list and the resourceVersion to watch from."""

    items: list[Object]
    resource_version: str


class KubeClient(KubeTransport):
    """Requests to one API server."""

    async def get(self, resource: GroupVersionResource, name: str, *, namespace: str = "") -> Object:
        """Return an object. Raises NotFoundError."""
        return await self.call(requests.get_object(resource, name, namespace=namespace))

    async def list(
        self,
        resource: GroupVersionResource,
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
        resource: GroupVersionResource,
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

    async def _list(self, resource: GroupVersionResource, **options: Any) -> ObjectList:
        items: list[Object] = []
        version = ""
        async with aclosing(self.pages(resource, bytes_in_all=KEPT_LIST_BYTES, **options)) as pages:
            async for page in pages:
                items += page.items
                version = page.resource_version
        return ObjectList(items, version)

    def pages(
        self,
        resource: GroupVersionResource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = PAGE,
        metadata_only: bool = False,
        bytes_in_all: int = LIST_BYTES,
    ) -> AsyncGenerator[ListPage, None]:
        """Yield the pages of a list, for who keeps less than the objects. Raises as `list`."""
        listing = requests.list_objects(
            resource,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            resource_version=resource_version,
            metadata_only=metadata_only,
        )
        what = f"the list of {resource.plural} of {self.access.server}"
        return list_pages(self.granted, listing, what=what, limit=limit, bytes_in_all=bytes_in_all)

    async def watch(
        self,
        resource: GroupVersionResource,
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
        request = requests.watch_objects(
            resource,
            resource_version=resource_version,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            bookmarks=bookmarks,
            timeout_seconds=timeout_seconds,
            metadata_only=metadata_only,
        )
        events = self.events(request, idle_seconds=idle_seconds or timeout_seconds + 30)
        async with aclosing(events):
            async for event in events:
                yield event

    async def served(self) -> ServedApis:
        """Return what the server says that it serves. Raises as `read_discovery`."""
        documents = [await self.call(request) for request in requests.DISCOVERY]
        return await asyncio.to_thread(read_discovery, documents)
