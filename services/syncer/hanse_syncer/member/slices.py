"""The EndpointSlices of one member: which Services have ready endpoints, and in which zones.

Owns `SliceWatch`: a list and a watch of all slices of Services, kept reduced to what is counted. While the
member does not answer, the last counts stand.

Concurrency: one task. Next: `hanse_syncer.member.endpoints` for the counting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any

from hanse.api.syncer.v1.sync_state_pb2 import ZoneEndpoints
from hanse.boundary import Boundary
from hanse.errors import CompactedError, HanseError
from hanse.kube.client.bounds import FOLLOWED_NAME_CHARS, LIST_ITEMS, MisbehavingMemberError
from hanse.kube.client.client import KubeClient
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.kinds.kubernetes import networking
from hanse.kube.model.objects import Object
from hanse.kube.model.untrusted import mapping, mappings, text
from hanse_syncer.member.endpoints import SERVICE_NAME_LABEL, counted, ready_endpoints
from hanse_syncer.member.informer import Turns, must_list

_RESOURCE = GroupVersionResource.of_kind(networking.ENDPOINT_SLICE)
_WATCH_SECONDS = 290
MAX_ENDPOINTS = 300_000
"""Endpoints in all slices: Kubernetes is built for 150,000 Pods, and each may be behind two Services."""


class SliceWatch:
    """Follows a member's EndpointSlices and tells `changed` (namespace, Service) what may count anew."""

    def __init__(self, client: KubeClient, changed: Callable[[str, str], None]) -> None:
        self._client = client
        self._changed = changed
        self._slices = Slices()
        self._listed = False
        self._boundary = Boundary("member slices")

    def ready(self, namespace: str, service: str) -> list[ZoneEndpoints] | None:
        """Return the ready endpoints of a Service; None before the first list."""
        if not self._listed:
            return None
        return ready_endpoints(self._slices.of((namespace, service)))

    async def run(self) -> None:
        """List and watch until cancelled. Raises MisbehavingMemberError."""
        turns = Turns()
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                turns.watching()
                stream: Any = self._client.watch(
                    _RESOURCE,
                    resource_version=version,
                    label_selector=SERVICE_NAME_LABEL,
                    timeout_seconds=_WATCH_SECONDS,
                )
                async with aclosing(stream):
                    async for kind, obj in stream:
                        version = obj["metadata"]["resourceVersion"]
                        if kind != "BOOKMARK":
                            self._take(obj, gone=kind == "DELETED")
                turns.ended()
            except MisbehavingMemberError:
                raise
            except CompactedError:
                version = ""
                turns.ended()
            except Exception as error:  # noqa: BLE001 - a defect here must not end the whole session
                if not isinstance(error, HanseError | OSError | LookupError | TypeError | ValueError):
                    self._boundary.failed("slices", error)
                if must_list(error, turns.ended(failed=True)):
                    version = ""
            await asyncio.sleep(turns.wait())

    async def _list(self) -> str:
        version = ""
        listed = Slices()
        pages = self._client.pages(_RESOURCE, label_selector=SERVICE_NAME_LABEL)
        async with aclosing(pages):
            async for page in pages:
                for item in page.items:
                    listed.take(item, gone=False)
                version = page.resource_version
        before, self._slices = self._slices, listed
        self._listed = True
        for namespace, service in before.services | listed.services:
            self._changed(namespace, service)
        return version

    def _take(self, item: Mapping[str, Any], *, gone: bool) -> None:
        for service in self._slices.take(item, gone=gone):
            self._changed(*service)


class Slices:
    """What is counted of all slices, by Service."""

    def __init__(self) -> None:
        self._by_service: dict[tuple[str, str], dict[str, Object]] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self._endpoints = 0

    @property
    def services(self) -> set[tuple[str, str]]:
        """The Services that have slices, as (namespace, name)."""
        return set(self._by_service)

    def of(self, service: tuple[str, str]) -> Iterable[Object]:
        """The slices of a Service."""
        return self._by_service.get(service, {}).values()

    def take(self, item: Mapping[str, Any], *, gone: bool) -> set[tuple[str, str]]:
        """Take in a slice; return which Services count anew. Raises MisbehavingMemberError for too many."""
        metadata = item["metadata"]
        namespace, name = str(metadata["namespace"]), str(metadata["name"])
        if len(name) > FOLLOWED_NAME_CHARS:
            return set()
        owner = text(mapping(metadata.get("labels")).get(SERVICE_NAME_LABEL))
        before = self._owners.pop((namespace, name), "")
        if before:
            self._drop((namespace, before), name)
        if owner and not gone:
            self._owners[namespace, name] = owner
            endpoints = [counted(endpoint) for endpoint in mappings(item.get("endpoints"))]
            self._by_service.setdefault((namespace, owner), {})[name] = {"endpoints": endpoints}
            self._endpoints += len(endpoints)
            for number, most, what in (
                (self._endpoints, MAX_ENDPOINTS, "endpoints"),
                (len(self._owners), LIST_ITEMS, "slices"),
            ):
                if number > most:
                    raise MisbehavingMemberError(
                        f"its EndpointSlices have more than {most} {what}: no cluster's have",
                        metadata={"bound": str(most)},
                    )
        return {(namespace, service) for service in (before, owner) if service}

    def _drop(self, service: tuple[str, str], name: str) -> None:
        slices = self._by_service.get(service, {})
        found = slices.pop(name, None)
        self._endpoints -= len(found["endpoints"]) if found is not None else 0
        if not slices:
            self._by_service.pop(service, None)
