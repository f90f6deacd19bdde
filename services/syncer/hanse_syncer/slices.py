"""The EndpointSlices of one member: which Services have ready endpoints, and in which zones.

Owns `SliceWatch`: a list and a watch of all slices of Services, kept reduced to what is counted. While the
member does not answer, the last counts stand.

Concurrency: one task. Next: `hanse_syncer.endpoints` for the counting.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

from hanse.api.syncer.v1.sync_state_pb2 import ZoneEndpoints
from hanse.boundary import Boundary
from hanse.control.queue import Backoff
from hanse.errors import CompactedError, HanseError
from hanse.kube.client import KubeClient, ResourcePath
from hanse.kube.objects import Object
from hanse.kube.untrusted import mapping, mappings, text
from hanse_syncer.endpoints import SERVICE_NAME_LABEL, ready_endpoints
from hanse_syncer.informer import must_list

_RESOURCE = ResourcePath("discovery.k8s.io/v1", "endpointslices", "EndpointSlice")
_BACKOFF = Backoff(base=0.2, limit=15.0, jitter=0.3)
_WATCH_SECONDS = 290


class SliceWatch:
    """Follows a member's EndpointSlices and tells `changed` (namespace, Service) what may count anew."""

    def __init__(self, client: KubeClient, changed: Callable[[str, str], None]) -> None:
        self._client = client
        self._changed = changed
        self._slices: dict[tuple[str, str], dict[str, Object]] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self._listed = False
        self._boundary = Boundary("member slices")
        self._random = random.Random()  # noqa: S311 - jitter

    def ready(self, namespace: str, service: str) -> list[ZoneEndpoints] | None:
        """Return the ready endpoints of a Service; None before the first list."""
        if not self._listed:
            return None
        return ready_endpoints(self._slices.get((namespace, service), {}).values())

    async def run(self) -> None:
        """List and watch until cancelled."""
        failures = 0
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                    failures = 0
                stream: Any = self._client.watch(
                    _RESOURCE,
                    resource_version=version,
                    label_selector=SERVICE_NAME_LABEL,
                    timeout_seconds=_WATCH_SECONDS,
                )
                async with aclosing(stream):
                    async for kind, obj in stream:
                        failures = 0
                        version = obj["metadata"]["resourceVersion"]
                        if kind != "BOOKMARK":
                            self._take(obj, gone=kind == "DELETED")
            except CompactedError:
                version = ""
                failures += 1
            except (HanseError, OSError, LookupError, TypeError, ValueError) as error:
                failures += 1
                if must_list(error, failures):
                    version = ""
            except Exception as error:  # noqa: BLE001 - a defect here must not end the whole session
                self._boundary.failed("slices", error)
                failures += 1
                if must_list(error, failures):
                    version = ""
            if failures:
                await asyncio.sleep(_BACKOFF.delay(failures, rng=self._random))

    async def _list(self) -> str:
        listed = await self._client.list(_RESOURCE, label_selector=SERVICE_NAME_LABEL)
        before = set(self._slices)
        self._slices.clear()
        self._owners.clear()
        self._listed = False
        for item in listed.items:
            self._take(item, gone=False, quiet=True)
        self._listed = True
        for namespace, service in before | set(self._slices):
            self._changed(namespace, service)
        version: str = listed.resource_version
        return version

    def _take(self, item: Mapping[str, Any], *, gone: bool, quiet: bool = False) -> None:
        metadata = item["metadata"]
        namespace, name = str(metadata["namespace"]), str(metadata["name"])
        owner = text(mapping(metadata.get("labels")).get(SERVICE_NAME_LABEL))
        before = self._owners.pop((namespace, name), "")
        if before:
            self._drop(namespace, before, name)
        if owner and not gone:
            self._owners[namespace, name] = owner
            self._slices.setdefault((namespace, owner), {})[name] = {
                "endpoints": [
                    {
                        "addresses": _first(endpoint.get("addresses")),
                        "conditions": endpoint.get("conditions"),
                        "targetRef": endpoint.get("targetRef"),
                        "zone": endpoint.get("zone"),
                    }
                    for endpoint in mappings(item.get("endpoints"))
                ]
            }
        if not quiet:
            for service in {before, owner} - {""}:
                self._changed(namespace, service)

    def _drop(self, namespace: str, service: str, name: str) -> None:
        slices = self._slices.get((namespace, service), {})
        slices.pop(name, None)
        if not slices:
            self._slices.pop((namespace, service), None)


def _first(addresses: Any) -> list[Any]:
    return addresses[:1] if isinstance(addresses, list) else []
