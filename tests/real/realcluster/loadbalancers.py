"""Plays the cloud: Services of type LoadBalancer get an address, others lose it.

`LoadBalancers.run` is one task that runs until cancelled. Addresses are loopback addresses by default, so
that whatever probes them stays on this machine, and a test can listen on one.
"""

import asyncio
import ipaddress
import logging

from .api import LOST, RETRY_SECONDS, ApiError, Json, KubeApi

LOG = logging.getLogger(__name__)


class LoadBalancers:
    """Gives each LoadBalancer Service of one cluster an address of `cidr`, unless `paused`."""

    def __init__(self, api: KubeApi, *, cidr: str) -> None:
        self.paused = False
        self._api = api
        self._free = (str(address) for address in ipaddress.ip_network(cidr).hosts())
        self._address_of: dict[str, str] = {}
        self._queue: asyncio.Queue[Json] = asyncio.Queue()

    async def run(self) -> None:
        """Do the work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                self._api.follow("/api/v1/services", replace=self._replace, change=self._change)
            )
            tasks.create_task(self._work())

    def _replace(self, services: list[Json]) -> None:
        for service in services:
            self._change("ADDED", service)

    def _change(self, kind: str, service: Json) -> None:
        if kind != "DELETED" and not self.paused:
            self._queue.put_nowait(service)

    async def _work(self) -> None:
        while True:
            service = await self._queue.get()
            try:
                await self._settle(service)
            except ApiError as error:
                if error.status != 404:
                    LOG.warning("service %s gets no address: %s", service["metadata"]["name"], error)
            except LOST:
                await asyncio.sleep(RETRY_SECONDS)  # the list after the outage brings it again

    async def _settle(self, service: Json) -> None:
        metadata = service["metadata"]
        balanced = service["spec"].get("type") == "LoadBalancer"
        has_address = bool(service.get("status", {}).get("loadBalancer", {}).get("ingress"))
        if balanced == has_address or metadata.get("deletionTimestamp"):
            return
        ingress = None
        if balanced:
            uid = metadata["uid"]
            if uid not in self._address_of:
                self._address_of[uid] = next(self._free)
            ingress = [{"ip": self._address_of[uid], "ipMode": "VIP"}]
        path = f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}/status"
        await self._api.merge(path, {"status": {"loadBalancer": {"ingress": ingress}}})
