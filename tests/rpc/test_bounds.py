"""What one caller may hold of a gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

import hanse.rpc.server as server_module
from hanse.errors import (
    DeadlineError,
    HanseError,
    InvalidArgumentError,
    PermissionDeniedError,
    ResourceExhaustedError,
)
from hanse.flow import Flow, FlowLimits
from hanse.process.settings import TlsFiles
from hanse.rpc.channel import RpcChannel
from hanse.rpc.policy import AUTHENTICATED, Policy
from hanse.rpc.server import RpcServer

from .echo import NAME, Echo, Stub, Text, add_echo

EVERYONE = Policy({f"{NAME}/*": [AUTHENTICATED]})
PATIENCE = 15.0
Tls = Mapping[str, TlsFiles]


class Endless(Echo):
    """Calls that take until they are let go, and streams that always have more."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()

    async def get(self, request: Text, context: object) -> Text:
        self.calls += 1
        await self.release.wait()
        return request

    async def watch(self, request: Text, context: object) -> AsyncIterator[Text]:
        try:
            while True:
                yield Text(value="x" * 100_000)
        finally:
            self.cancelled.set()


def server(tls: Tls, echo: Echo, **options: Any) -> RpcServer:
    """A server of the echo service."""
    made = RpcServer(listen="127.0.0.1:0", tls=tls["registry"], policy=EVERYONE, grace=0.2, **options)
    made.add(add_echo, echo)
    return made


async def test_a_stream_that_is_not_read_ends(tls: Tls) -> None:
    """Nobody keeps for its caller what it does not take; the error says why."""
    echo = Endless()
    async with (
        server(tls, echo, stall_seconds=0.3) as served,
        RpcChannel(served.address, tls=tls["nobody"], timeout=PATIENCE) as channel,
    ):
        call = Stub(channel).watch(Text())
        async with asyncio.timeout(PATIENCE):
            await echo.cancelled.wait()
            with pytest.raises(ResourceExhaustedError) as caught:
                async for _ in call:
                    pass
        assert caught.value.reason == "SLOW_READER"


async def test_a_flood_of_one_caller_waits_and_is_refused_and_services_go_on(tls: Tls) -> None:
    """With the time to come back in RetryInfo."""
    echo = Endless()
    limits = FlowLimits(requests=2, requests_per_user=1, queued_per_user=1, watches_per_user=1)
    async with (
        server(tls, echo, flow=Flow(limits)) as served,
        RpcChannel(served.address, tls=tls["nobody"], timeout=PATIENCE) as low,
        RpcChannel(served.address, tls=tls["dns"], timeout=PATIENCE) as service,
        asyncio.TaskGroup() as tasks,
    ):
        waiting = [tasks.create_task(_get(Stub(low))) for _ in range(3)]
        async with asyncio.timeout(PATIENCE):
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = [each.result() for each in done]
        assert isinstance(refused, ResourceExhaustedError)
        assert (refused.reason, refused.retry_after) == ("TOO_MANY_REQUESTS", 1.0)
        serving = [tasks.create_task(_get(Stub(service))) for _ in range(3)]
        async with asyncio.timeout(PATIENCE):
            while echo.calls < 4:  # noqa: ASYNC110 - of the service all three, of the flood one
                await asyncio.sleep(0.01)
        echo.release.set()
        assert [await each for each in serving] == [None, None, None]
        outcomes = [await each for each in waiting]
        assert outcomes.count(None) == 2
        first = Stub(low).watch(Text())
        answers = aiter(first)  # kept: a stream that nobody holds is cancelled
        await anext(answers)
        with pytest.raises(ResourceExhaustedError) as caught:
            await anext(aiter(Stub(low).watch(Text())))
        assert caught.value.reason == "TOO_MANY_WATCHES"
        first.cancel()


async def _get(stub: Stub) -> HanseError | None:
    try:
        await stub.get(Text())
    except HanseError as error:
        return error
    return None


async def test_a_connection_that_says_nothing_is_closed(tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither TLS nor HTTP/2 is waited for for ever."""
    options = dict(server_module._OPTIONS)
    assert options["grpc.server_handshake_timeout_ms"] <= 10_000
    options["grpc.server_handshake_timeout_ms"] = 300
    monkeypatch.setattr(server_module, "_OPTIONS", tuple(options.items()))
    async with server(tls, Echo()) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read(1) == b""
        writer.close()


@pytest.mark.parametrize("method", ["GetEcho", "WatchEcho"])
async def test_whoever_may_not_call_is_refused_before_a_request_is_there(tls: Tls, method: str) -> None:
    """So a certificate of no group cannot fill a server with what is never read, or is read in vain."""
    made = RpcServer(listen="127.0.0.1:0", tls=tls["registry"], policy=Policy({f"{NAME}/*": []}), grace=0.2)
    made.add(add_echo, Echo())
    async with made as served, RpcChannel(served.address, tls=tls["nobody"], timeout=PATIENCE) as channel:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(PermissionDeniedError):
                await _unsent(channel, method)


@pytest.mark.parametrize("method", ["GetEcho", "WatchEcho"])
async def test_a_request_that_does_not_come_is_not_waited_for(tls: Tls, method: str) -> None:
    """The seat of its caller is free again."""
    flow = Flow(FlowLimits(requests=1, watches=1))
    async with (
        server(tls, Echo(), flow=flow, body_seconds=0.2) as served,
        RpcChannel(served.address, tls=tls["nobody"], timeout=PATIENCE) as channel,
    ):
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(DeadlineError) as caught:
                await _unsent(channel, method)
            assert caught.value.reason == "REQUEST_TIMEOUT"
            assert (await Stub(channel).get(Text(value="next"))).value == "next"


async def test_a_call_without_a_request_and_one_that_is_too_large_are_refused(tls: Tls) -> None:
    """With what is wrong; the next one is answered."""
    async with (
        server(tls, Echo()) as served,
        RpcChannel(served.address, tls=tls["nobody"], timeout=PATIENCE) as channel,
    ):
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(InvalidArgumentError, match="no request"):
                await _unsent(channel, "GetEcho", ended=True)
            with pytest.raises(ResourceExhaustedError):
                await Stub(channel).get(Text(value="x" * server_module.MAX_REQUEST_BYTES))
            assert (await Stub(channel).get(Text(value="next"))).value == "next"


async def _unsent(channel: RpcChannel, method: str, *, ended: bool = False) -> None:
    """Begin a call and send no request; with `ended` say that none will come."""
    codec: dict[str, Any] = {
        "request_serializer": Text.SerializeToString,
        "response_deserializer": Text.FromString,
    }
    if method == "WatchEcho":
        async for _ in channel.stream_stream(f"/{NAME}/{method}", **codec)():
            pass
    else:
        call = channel.stream_unary(f"/{NAME}/{method}", **codec)()
        if ended:
            await call.done_writing()
        await call
