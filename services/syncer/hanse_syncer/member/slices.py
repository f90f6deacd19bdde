"""The EndpointSlices of one member: which Services have ready endpoints, and in which zones.

Owns `EndpointSliceStore`, which an informer of all slices of Services feeds, reduced to what is counted.
While the member does not answer, the last counts stand.

Concurrency: called in the informer's task. Next: `hanse.kube.client.informer`, and
`hanse_syncer.member.endpoints` for the counting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from hanse.api.syncer.v1.sync_state_pb2 import ZoneEndpoints
from hanse.kube.client.bounds import LIST_ITEMS, MisbehavingMemberError
from hanse.kube.client.requests import GroupVersionResource
from hanse.kube.kinds.kubernetes import networking
from hanse.kube.model.objects import Object
from hanse.kube.model.untrusted import mapping, mappings, text
from hanse_syncer.member.endpoints import SERVICE_NAME_LABEL, counted, ready_endpoints

ENDPOINT_SLICES: Final = GroupVersionResource.of_kind(networking.ENDPOINT_SLICE)
MAX_ENDPOINTS: Final = 300_000
"""Endpoints in all slices: Kubernetes is built for 150,000 Pods, and each may be behind two Services."""


class EndpointSliceStore:
    """A member's EndpointSlices; tells `changed` (namespace, Service) what is to be counted again."""

    def __init__(self, changed: Callable[[str, str], None]) -> None:
        self._changed = changed
        self._slices = Slices()
        self._listed = False

    def ready(self, namespace: str, service: str) -> list[ZoneEndpoints] | None:
        """Return the ready endpoints of a Service; None before the first list."""
        if not self._listed:
            return None
        return ready_endpoints(self._slices.of((namespace, service)))

    @contextmanager
    def listing(self) -> Iterator[_SliceListing]:
        """Begin a list."""
        yield _SliceListing(self)

    def put(self, obj: Object) -> None:
        """Take in a slice."""
        self._take(obj, gone=False)

    def remove(self, obj: Object) -> None:
        """Take in that a slice is gone."""
        self._take(obj, gone=True)

    def replace(self, listed: Slices) -> None:
        """Take in a list that is complete."""
        before, self._slices = self._slices, listed
        self._listed = True
        for namespace, service in before.services | listed.services:
            self._changed(namespace, service)

    def _take(self, item: Mapping[str, Any], *, gone: bool) -> None:
        for service in self._slices.take(item, gone=gone):
            self._changed(*service)


class _SliceListing:
    """A list that is being read."""

    def __init__(self, store: EndpointSliceStore) -> None:
        self._store = store
        self._slices = Slices()

    def add(self, item: Object) -> None:
        self._slices.take(item, gone=False)

    async def commit(self) -> None:
        self._store.replace(self._slices)


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
        """Return the slices of a Service."""
        return self._by_service.get(service, {}).values()

    def take(self, item: Mapping[str, Any], *, gone: bool) -> set[tuple[str, str]]:
        """Take in a slice; return the Services to count again. Raises MisbehavingMemberError for too many."""
        metadata = item["metadata"]
        namespace, name = str(metadata.get("namespace") or ""), str(metadata["name"])
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
