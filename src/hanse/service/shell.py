"""What every service is made of, built once: store, RPC server, channel to the apiserver, keys, background.

Owns `ServiceShell`, which is given to a service's main function by `run_service`. What it has opened and
started ends in reverse order when the main function returns: what was started last, and works with all the
rest, first. So the order of a main function is the order of start and, read from below, of the stop:

    async def serve(shell: ServiceShell[DnsSettings]) -> None:
        store = await shell.connect_store()
        compiler = Compiler(store, ...)
        shell.start(compiler.run(), name="compiler")
        server = await shell.serve(add_DnsServiceServicer_to_server, servicer, policy=POLICY)
        await shell.until_stopped({"grpc": server.address})

Concurrency: background work is in the process's task group, so that an error in it ends the process; it is
cancelled, and has ended, before what was opened before it is closed.

Next: `hanse.service.runtime`, the life of the process around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from hanse.api.federation.v1.federation_service_pb2_grpc import FederationServiceStub
from hanse.errors import ConfigError
from hanse.process.health import Health
from hanse.process.settings import ServiceSettings
from hanse.process.telemetry import Telemetry
from hanse.rpc.channel import RpcChannel
from hanse.rpc.policy import Policy
from hanse.rpc.server import RpcServer
from hanse.security.auth import server_name
from hanse.security.revocation import DenyList
from hanse.service.runtime import Runtime, run
from hanse.store import EtcdStore
from hanse.store.etcd.fullness import Fullness

if TYPE_CHECKING:
    from hanse.security.rings import RingKeeper

S = TypeVar("S", bound=ServiceSettings)
T = TypeVar("T")


def process_identity() -> str:
    """Return what tells this process from others of its service, on this host and on others."""
    return f"{socket.gethostname()}-{os.getpid()}"


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel background work and wait until it has ended. What it raises is told by its task group."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class ServiceShell(Generic[S]):
    """What a service's main function is given. Entered and left by `run_service`."""

    def __init__(self, runtime: Runtime[S]) -> None:
        """`runtime` is the process's."""
        self._runtime = runtime
        self._stack = contextlib.AsyncExitStack()
        self.settings: S = runtime.settings
        self.telemetry: Telemetry = runtime.telemetry
        self.health: Health = runtime.health
        self.stopping = runtime.stopping
        """Set when the process was told to stop."""
        self.identity = process_identity()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what was started and close what was opened, the last first."""
        await self._stack.__aexit__(kind, error, trace)

    async def enter(self, context: contextlib.AbstractAsyncContextManager[T]) -> T:
        """Enter a context manager for as long as the service runs; return what it gives."""
        return await self._stack.enter_async_context(context)

    def at_end(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Have `callback` awaited at the end."""
        self._stack.push_async_callback(callback)

    def start(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run `work` in the background until the end. An error in it ends the process."""
        self._stack.push_async_callback(end, self.create_task(work, name=name))

    def create_task(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run `work` in the process's task group; whoever asks for it ends it."""
        return self._runtime.tasks.create_task(work, name=name)

    async def connect_store(self) -> EtcdStore:
        """Return the store, closed at the end; /readyz says when it is full."""
        settings = self.settings
        store = await EtcdStore.connect(
            settings.etcd_endpoints, prefix=settings.etcd_prefix, tls=settings.etcd_tls
        )
        self.at_end(store.close)
        fullness = Fullness(store, partial(self.health.warn, "etcd"))
        self.start(fullness.run(), name="fullness of etcd")
        return store

    def key_ring(self, name: str) -> RingKeeper:
        """Return the ring of the settings `<name>_key_file` and `<name>_kms_socket`; /readyz says what is
        wrong with it. Nothing is asked before `RingKeeper.prepare`, or followed before `follow_key_rings`.
        Raises ConfigError.
        """
        from hanse.security.rings import RingKeeper  # with gRPC of KMS, which only holders of keys need

        return RingKeeper(
            name,
            key_file=getattr(self.settings, f"{name}_key_file"),
            kms_socket=getattr(self.settings, f"{name}_kms_socket"),
            tell=partial(self.health.warn, f"{name} keys"),
        )

    def follow_key_rings(self, *rings: RingKeeper) -> None:
        """Follow the rings of this process, and show them as metrics. Once for all of them."""
        from hanse.security.rings import observe_rings

        observe_rings(self.telemetry.meter, *rings)
        for ring in rings:
            self.start(ring.run(), name=f"{ring.name} keys")

    async def apiserver(self, *, wait_for_ready: bool = False) -> FederationServiceStub:
        """Return the apiserver's FederationService.

        With `wait_for_ready` a call waits for an apiserver that is down, until its deadline. Raises
        ConfigError if the setting apiserver_endpoint is empty.
        """
        settings = self.settings
        if not settings.apiserver_endpoint:
            raise ConfigError(
                f"the {self._runtime.service_name} needs apiserver_endpoint",
                metadata={"setting": "apiserver_endpoint"},
            )
        channel = RpcChannel(
            settings.apiserver_endpoint,
            tls=settings.tls,
            server_name=settings.apiserver_name,
            wait_for_ready=wait_for_ready,
            telemetry=self.telemetry,
        )
        await self.enter(channel)
        return FederationServiceStub(channel)

    async def peer(self, name: str) -> RpcChannel | None:
        """Return a channel to another service, until the end; None if the setting peers does not have it."""
        settings = self.settings
        address = settings.peer(name)
        if not address:
            return None
        return await self.enter(
            RpcChannel(address, tls=settings.tls, server_name=server_name(name), telemetry=self.telemetry)
        )

    async def serve(self, add: Callable[[Any, Any], None], servicer: object, *, policy: Policy) -> RpcServer:
        """Serve `servicer`, which the generated function `add` adds to a server, until the end."""
        settings = self.settings
        server = RpcServer(
            listen=settings.listen,
            tls=settings.tls,
            policy=policy,
            telemetry=self.telemetry,
            health=self.health,
            deny_list=DenyList(settings.deny_list_file, authorities=[settings.tls_ca]),
        )
        server.add(add, servicer)
        return await self.enter(server)

    def ready(self, endpoints: Mapping[str, str]) -> None:
        """Say that the service serves, at `endpoints`; see `Runtime.ready`."""
        self._runtime.ready(endpoints)

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Wait for `work` and return its result; None if the process is told to stop before."""
        async with asyncio.TaskGroup() as group:
            working, stopping = group.create_task(work), group.create_task(self.stopping.wait())
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            working.cancel()
            stopping.cancel()
        return None if working.cancelled() else working.result()

    async def until_stopped(self, endpoints: Mapping[str, str]) -> None:
        """Say that the service serves, and wait until the process is told to stop."""
        self.ready(endpoints)
        await self.stopping.wait()


def run_service(
    service_name: str,
    settings: S | type[S],
    main: Callable[[ServiceShell[S]], Awaitable[None]],
) -> int:
    """Run a service until it is told to stop; return the exit status. See `hanse.service.runtime.run`."""

    async def in_shell(runtime: Runtime[S]) -> None:
        async with ServiceShell(runtime) as shell:
            await main(shell)

    return run(service_name, settings, in_shell)
