"""The client: one channel per service, opened when it is first used.

Owns `HanseClient`. The attributes `registry`, `scheduler`, `syncer`, `dns` and `federation` are the
generated, typed stubs of the five services. Calls raise HanseError, have a deadline, and are retried when
that is safe; see `hanse.rpc.channel`.

Concurrency: belongs to one event loop; close it there.

Next: `hanse_client.names`.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hanse.api.dns.v1 import dns_service_pb2_grpc
from hanse.api.federation.v1 import federation_service_pb2_grpc
from hanse.api.registry.v1 import registry_service_pb2_grpc
from hanse.api.scheduler.v1 import scheduler_service_pb2_grpc
from hanse.api.syncer.v1 import syncer_service_pb2_grpc
from hanse.rpc.channel import RpcChannel
from hanse_client.config import SERVICES, ClientConfig
from hanse_client.forwarding import Forwards

DEFAULT_TIMEOUT = 10.0


class HanseClient:
    """A federation's five services. An async context manager; or call `close()`.

    `timeout` is the deadline of a unary call in seconds; streams have none.
    """

    def __init__(self, config: ClientConfig, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.config = config
        self._timeout = timeout
        self._channels: dict[str, RpcChannel] = {}
        self._stubs: dict[str, Any] = {}
        self._closed: list[RpcChannel] = []
        """Channels of forwards that have ended."""
        self._forwards = Forwards(config.host_cluster) if config.host_cluster else None

    @classmethod
    def from_config(cls, path: str | Path | None = None, *, timeout: float = DEFAULT_TIMEOUT) -> Self:
        """Return a client configured by the file at `path`, or by the one that is found; see
        `hanse_client.config`. Raises ConfigError."""
        return cls(ClientConfig.find(path), timeout=timeout)

    def channel(self, service: str) -> RpcChannel:
        """Return the channel to a service. Raises ConfigError if its address is not configured, and what
        `hanse_client.forwarding` raises for one in a host cluster."""
        if self._forwards and self._forwards.has_ended(service) and service in self._channels:
            self._closed.append(self._channels.pop(service))
            self._stubs.pop(service, None)
        if service not in self._channels:
            self._channels[service] = RpcChannel(
                self._address(service),
                tls=self.config.tls,
                server_name=self.config.server_name(service),
                timeout=self._timeout,
            )
        return self._channels[service]

    def _address(self, service: str) -> str:
        if self._forwards and service in SERVICES and service not in self.config.endpoints:
            return self._forwards.open(service)
        return self.config.endpoint(service)

    @property
    def registry(self) -> registry_service_pb2_grpc.RegistryServiceStub:
        """Clusters."""
        stub: registry_service_pb2_grpc.RegistryServiceStub = self._stub(
            "registry", registry_service_pb2_grpc.RegistryServiceStub
        )
        return stub

    @property
    def scheduler(self) -> scheduler_service_pb2_grpc.SchedulerServiceStub:
        """Placements."""
        stub: scheduler_service_pb2_grpc.SchedulerServiceStub = self._stub(
            "scheduler", scheduler_service_pb2_grpc.SchedulerServiceStub
        )
        return stub

    @property
    def syncer(self) -> syncer_service_pb2_grpc.SyncerServiceStub:
        """Sync states."""
        stub: syncer_service_pb2_grpc.SyncerServiceStub = self._stub(
            "syncer", syncer_service_pb2_grpc.SyncerServiceStub
        )
        return stub

    @property
    def dns(self) -> dns_service_pb2_grpc.DnsServiceStub:
        """Names."""
        stub: dns_service_pb2_grpc.DnsServiceStub = self._stub("dns", dns_service_pb2_grpc.DnsServiceStub)
        return stub

    @property
    def federation(self) -> federation_service_pb2_grpc.FederationServiceStub:
        """Objects."""
        stub: federation_service_pb2_grpc.FederationServiceStub = self._stub(
            "federation", federation_service_pb2_grpc.FederationServiceStub
        )
        return stub

    async def close(self) -> None:
        """Close all channels; calls in flight are cancelled."""
        channels, self._channels, self._stubs = [*self._closed, *self._channels.values()], {}, {}
        self._closed = []
        for channel in channels:
            await channel.close()
        if self._forwards:
            self._forwards.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _stub(self, service: str, stub: Any) -> Any:
        channel = self.channel(service)
        if service not in self._stubs:
            self._stubs[service] = stub(channel)
        return self._stubs[service]
