"""What every service is made of: in which order it starts and ends, and what is said without settings."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from hanse.api.federation.v1.federation_pb2 import Object
from hanse.api.federation.v1.federation_service_pb2 import CreateObjectRequest
from hanse.api.federation.v1.federation_service_pb2_grpc import (
    FederationServiceServicer,
    FederationServiceStub,
    add_FederationServiceServicer_to_server,
)
from hanse.errors import ConfigError, UnauthenticatedError
from hanse.process.health import Health
from hanse.process.settings import ServiceSettings
from hanse.process.telemetry import setup
from hanse.rpc.channel import RpcChannel
from hanse.rpc.policy import AUTHENTICATED, Policy
from hanse.rpc.server import RpcServer
from hanse.service.runtime import Runtime
from hanse.service.shell import ServiceShell

METHOD = "hanse.api.federation.v1.FederationService/*"


@contextlib.asynccontextmanager
async def shell_of(
    tasks: asyncio.TaskGroup, settings: ServiceSettings | None = None
) -> AsyncIterator[ServiceShell[ServiceSettings]]:
    """A shell in a task group, and nothing of a process around it."""
    settings = settings or ServiceSettings()
    telemetry = setup("example", settings)
    runtime = Runtime(
        service_name="example", settings=settings, telemetry=telemetry, tasks=tasks, health=Health()
    )
    try:
        async with ServiceShell(runtime) as shell:
            yield shell
    finally:
        telemetry.shutdown()


class Recording(FederationServiceServicer):
    """A FederationService that keeps what is to be created."""

    def __init__(self) -> None:
        self.created: list[tuple[bytes, str]] = []

    async def CreateObject(self, request: CreateObjectRequest, context: object) -> Object:  # noqa: N802
        self.created.append((request.manifest, request.field_manager))
        return Object()


async def test_it_ends_in_the_reverse_order_of_the_start() -> None:
    """What was opened first is closed last: background work may use it to its end."""
    order: list[str] = []

    @contextlib.asynccontextmanager
    async def opened(name: str) -> AsyncIterator[str]:
        yield name
        order.append(name)

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append(name)

    async with asyncio.TaskGroup() as tasks:
        async with shell_of(tasks) as shell:
            assert await shell.enter(opened("store")) == "store"
            shell.start(work("follower"), name="follower")
            await shell.enter(opened("server"))
            shell.start(work("leader"), name="leader")
            await asyncio.sleep(0)
        assert order == ["leader", "server", "follower", "store"]


async def test_an_error_in_the_background_ends_the_process() -> None:
    """Nothing fails silently: the process's task group has the error, and all that was opened is closed."""
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    async def fail() -> None:
        raise RuntimeError("a defect")

    async def process() -> None:
        async with asyncio.TaskGroup() as tasks, shell_of(tasks) as shell:
            shell.at_end(close)
            shell.start(fail(), name="work")
            await shell.until_stopped({})

    with pytest.raises(ExceptionGroup) as raised:
        await process()
    assert [str(error) for error in raised.value.exceptions] == ["a defect"]
    assert closed.is_set()


async def test_a_stop_ends_a_wait_for_work() -> None:
    """What a service waits for before it can begin does not keep it from stopping."""
    cancelled = asyncio.Event()

    async def wait() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return "never"

    async def found() -> str:
        return "there"

    async with asyncio.TaskGroup() as tasks, shell_of(tasks) as shell:
        assert await shell.unless_stopped(found()) == "there"
        asyncio.get_running_loop().call_soon(shell.stopping.set)
        assert await shell.unless_stopped(wait()) is None
        assert cancelled.is_set()


async def test_a_service_that_needs_the_apiserver_says_so() -> None:
    """The setting is named in the error."""
    async with asyncio.TaskGroup() as tasks, shell_of(tasks) as shell:
        with pytest.raises(ConfigError, match="the example needs apiserver_endpoint"):
            await shell.apiserver()


async def test_without_tls_nobody_may_call() -> None:
    """The policy of a service is not switched off with TLS, in any of them."""
    policy = Policy({METHOD: {AUTHENTICATED}})
    async with asyncio.TaskGroup() as tasks, shell_of(tasks) as shell:
        servicer = Recording()  # type: ignore[abstract]
        server = await shell.serve(add_FederationServiceServicer_to_server, servicer, policy=policy)
        async with RpcChannel(server.address, tls=None) as channel:
            with pytest.raises(UnauthenticatedError):
                await FederationServiceStub(channel).CreateObject(CreateObjectRequest(manifest=b"{}"))
        assert shell.identity


async def test_the_apiserver_is_that_of_the_settings() -> None:
    """Calls reach the FederationService at the endpoint of the settings, until the shell ends."""
    recording = Recording()  # type: ignore[abstract]
    server = RpcServer(listen="127.0.0.1:0", tls=None, policy=Policy.allow_all())
    server.add(add_FederationServiceServicer_to_server, recording)
    async with server:
        settings = ServiceSettings(apiserver_endpoint=server.address)
        async with asyncio.TaskGroup() as tasks, shell_of(tasks, settings) as shell:
            apiserver = await shell.apiserver(wait_for_ready=True)
            await apiserver.CreateObject(CreateObjectRequest(manifest=b"{}", field_manager="example"))
    assert recording.created == [(b"{}", "example")]
