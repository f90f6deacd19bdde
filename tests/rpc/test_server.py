"""A server of Hanse, called by real clients over mutual TLS."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

import hanse.rpc.channel as channel_module
import hanse.rpc.server as server_module
from hanse.errors import (
    CancelledByPeerError,
    CompactedError,
    ConfigError,
    ConflictError,
    DeadlineError,
    HanseError,
    InternalError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from hanse.process.health import Health
from hanse.process.settings import ServiceSettings, TlsFiles
from hanse.process.telemetry import setup, span_from_traceparent
from hanse.rpc.channel import RpcChannel
from hanse.rpc.interceptor import current_identity
from hanse.rpc.policy import AUTHENTICATED, Policy, group, service
from hanse.rpc.server import RpcServer
from hanse.security.pki import CertificateAuthority
from tests.support.machine.proxy import Proxy
from tests.support.waiting import SECONDS

from .echo import NAME, Echo, Stub, Text, add_echo

EVERYONE = Policy({f"{NAME}/*": [AUTHENTICATED]})
Tls = Mapping[str, TlsFiles]


@asynccontextmanager
async def serving(
    tls: Tls,
    echo: Echo,
    *,
    policy: Policy = EVERYONE,
    health: Health | None = None,
    caller: str = "dns",
    grace: float = 2.0,
) -> AsyncIterator[tuple[RpcServer, Stub]]:
    """A server with the echo service, and a stub that calls it as `caller`."""
    server = RpcServer(listen="127.0.0.1:0", tls=tls["registry"], policy=policy, health=health, grace=grace)
    server.add(add_echo, echo)
    async with server, RpcChannel(server.address, tls=tls[caller], timeout=5) as channel:
        yield server, Stub(channel)


async def test_a_server_that_is_far_away_is_reached(tls: Tls) -> None:
    """TLS and HTTP/2 take some round trips: longer than what lies between the first two tries."""
    async with (
        serving(tls, Echo()) as (server, _),
        Proxy(server.address, delay=0.08) as far,
        RpcChannel(far.endpoint, tls=tls["dns"]) as channel,
    ):
        assert (await Stub(channel).set(Text(value="a"))).value == "a"


def raising(error: Exception) -> Callable[[str], str]:
    """A behaviour that raises."""

    def behave(text: str) -> str:
        raise error

    return behave


async def test_all_four_kinds_of_call_work(tls: Tls) -> None:
    """Unary and streaming calls pass through the pipeline unchanged."""
    async with serving(tls, Echo(str.upper)) as (_, stub):
        assert (await stub.get(Text(value="a"))).value == "A"
        assert (await stub.sum(iter([Text(value="a"), Text(value="b")]))).value == "AB"
        replies = [reply.value async for reply in stub.chat(iter([Text(value="a"), Text(value="b")]))]
        assert replies == ["A", "B"]
        async for reply in stub.watch(Text(value="w")):
            assert reply.value == "W"
            break


async def test_calls_can_be_written_and_read_by_hand(tls: Tls) -> None:
    """The calls offer gRPC's read, write and done_writing too."""
    async with serving(tls, Echo(str.upper)) as (_, stub):
        call = stub.chat()
        await call.write(Text(value="a"))
        assert (await call.read()).value == "A"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() == grpc.StatusCode.OK
        total = stub.sum()
        await total.write(Text(value="x"))
        await total.done_writing()
        assert (await total).value == "X"


async def test_an_error_crosses_with_reason_and_metadata(tls: Tls) -> None:
    """What the handler raises is what the caller catches: class, message, reason, metadata, delay."""
    error = ResourceExhaustedError("zu viel, à la fois", reason="QUOTA", metadata={"q": "7"}, retry_after=1.5)
    async with serving(tls, Echo(raising(error))) as (_, stub):
        with pytest.raises(ResourceExhaustedError) as caught:
            await stub.get(Text())
        assert str(caught.value) == "zu viel, à la fois"
        assert caught.value.reason == "QUOTA"
        assert caught.value.metadata == {"q": "7"}
        assert caught.value.retry_after == 1.5
        assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)


async def test_a_compacted_revision_crosses_a_stream(tls: Tls) -> None:
    """CompactedError keeps its revision over the wire, in streams too."""
    async with serving(tls, Echo(raising(CompactedError("gone", compact_revision=42)))) as (_, stub):
        with pytest.raises(CompactedError) as caught:
            async for _ in stub.watch(Text()):
                pass
        assert caught.value.compact_revision == 42
        with pytest.raises(CompactedError):
            await stub.watch(Text()).read()


async def test_a_very_long_error_still_arrives(tls: Tls) -> None:
    """Messages and metadata are cut so that they fit into the trailers."""
    error = ConflictError("x" * 100_000, metadata={f"k{n}": "v" * 10_000 for n in range(50)})
    async with serving(tls, Echo(raising(error))) as (_, stub):
        with pytest.raises(ConflictError, match=r"^x+\.\.\.$"):
            await stub.get(Text())


async def test_an_unexpected_exception_tells_the_caller_nothing(
    tls: Tls, capsys: pytest.CaptureFixture[str]
) -> None:
    """A defect is INTERNAL without its text; the log has it."""
    async with serving(tls, Echo(raising(KeyError("secret")))) as (_, stub):
        with pytest.raises(InternalError) as caught:
            await stub.get(Text())
        assert "secret" not in str(caught.value)
        logged = capsys.readouterr()
        assert "secret" in logged.out + logged.err


async def test_a_method_that_is_left_out_is_unimplemented(tls: Tls) -> None:
    """As generated servicers have it."""
    async with serving(tls, Echo(raising(NotImplementedError("Method not implemented!")))) as (_, stub):
        with pytest.raises(UnimplementedError):
            await stub.get(Text())


@pytest.mark.parametrize(
    ("caller", "allowed"), [("dns", True), ("registry", False), ("nobody", False), ("admin", True)]
)
async def test_a_method_is_for_those_whom_its_rule_names(tls: Tls, caller: str, allowed: bool) -> None:
    """One named service and the admins may call; other identities get PERMISSION_DENIED."""
    policy = Policy({f"{NAME}/*": [], f"{NAME}/GetEcho": [service("dns")]})
    async with serving(tls, Echo(), policy=policy, caller=caller) as (_, stub):
        if allowed:
            await stub.get(Text())
        else:
            with pytest.raises(PermissionDeniedError, match=f"may not call {NAME}/GetEcho"):
                await stub.get(Text())


async def test_streams_are_authorized_before_they_run(tls: Tls) -> None:
    """A stream that is refused never reaches the handler."""
    echo = Echo()
    policy = Policy({f"{NAME}/*": [group("hanse:services")]})
    async with serving(tls, echo, policy=policy, caller="nobody") as (_, stub):
        with pytest.raises(PermissionDeniedError):
            await stub.watch(Text()).read()
    assert echo.calls == 0


async def test_a_handler_knows_its_caller(tls: Tls) -> None:
    """current_identity() is the name and groups of the client certificate."""
    async with serving(tls, Echo(lambda _: str(current_identity()))) as (_, stub):
        assert (await stub.get(Text())).value == "hanse:service:dns (hanse:services)"


async def test_a_certificate_of_another_authority_cannot_connect(tls: Tls) -> None:
    """Even with an admin's name in it."""
    async with serving(tls, Echo(), caller="stranger") as (_, stub):
        with pytest.raises(UnavailableError):
            await stub.set(Text(), timeout=3)


async def test_no_certificate_cannot_connect(tls: Tls) -> None:
    """Client certificates are required."""
    async with serving(tls, Echo()) as (server, _):
        credentials = grpc.ssl_channel_credentials(root_certificates=tls["dns"].ca.read_bytes())
        async with grpc.aio.secure_channel(server.address, credentials) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await Stub(channel).get(Text(), timeout=3)


async def test_without_tls_nobody_is_authenticated() -> None:
    """A policy is not switched off with TLS; only allow_all() is open."""
    server = RpcServer(listen="127.0.0.1:0", tls=None, policy=EVERYONE)
    server.add(add_echo, Echo())
    async with server, RpcChannel(server.address, tls=None) as channel:
        with pytest.raises(UnauthenticatedError):
            await Stub(channel).get(Text())
    opened = RpcServer(listen="127.0.0.1:0", tls=None, policy=Policy.allow_all())
    opened.add(add_echo, Echo())
    async with opened, RpcChannel(opened.address, tls=None) as channel:
        assert (await Stub(channel).get(Text(value="a"))).value == "a"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({f"{NAME}/GetEcho": [AUTHENTICATED]}, "does not say who may call .*SumEcho"),
        ({f"{NAME}/*": [], f"{NAME}/Gone": []}, "unknown methods .*Gone"),
        ({f"{NAME}/*": [], "other.Service/*": []}, "unknown methods other.Service"),
    ],
)
async def test_a_server_refuses_a_policy_that_does_not_fit(
    tls: Tls, rules: dict[str, list[str]], message: str
) -> None:
    """Every method needs a rule, and every rule a method."""
    server = RpcServer(listen="127.0.0.1:0", tls=tls["registry"], policy=Policy(rules))
    server.add(add_echo, Echo())
    with pytest.raises(ConfigError, match=message):
        await server.__aenter__()


async def test_a_port_that_is_taken_is_a_config_error(tls: Tls) -> None:
    """The error names the setting."""
    async with serving(tls, Echo()) as (server, _):
        second = RpcServer(listen=server.address, tls=None, policy=Policy({}))
        with pytest.raises(ConfigError, match="setting listen"):
            await second.__aenter__()


async def test_health_follows_readiness(tls: Tls) -> None:
    """gRPC health watches turn with Health, for the server and for each service."""
    health = Health()
    async with (
        serving(tls, Echo(), health=health) as (server, _),
        RpcChannel(server.address, tls=tls["nobody"]) as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        call = stub.Watch(health_pb2.HealthCheckRequest(service=NAME))
        assert (await call.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        health.set("serving", True)
        assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
        health.set("etcd", False, "cannot be reached")
        assert (await call.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        reply = await stub.Check(health_pb2.HealthCheckRequest())
        assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING
        call.cancel()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_names_the_services(tls: Tls, version: str) -> None:
    """grpcurl can list services and find their descriptors, with either version of reflection."""
    async with serving(tls, Echo()) as (server, _), RpcChannel(server.address, tls=tls["dns"]) as channel:
        reflect = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        call = reflect()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = {each.name for each in (await call.read()).list_services_response.service}
        assert {NAME, "grpc.health.v1.Health"} <= listed
        await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=NAME))
        assert (await call.read()).file_descriptor_response.file_descriptor_proto
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_cancelling_a_stream_ends_its_handler(tls: Tls) -> None:
    """The handler's generator is closed when the client goes away."""
    echo = Echo()
    async with serving(tls, echo) as (_, stub):
        call = stub.watch(Text(value="x"))
        await call.read()
        call.cancel()
        async with asyncio.timeout(SECONDS):
            await echo.cancelled.wait()
        with pytest.raises(CancelledByPeerError):
            await call.read()


async def test_leaving_an_async_for_ends_the_handler(tls: Tls) -> None:
    """A watch that nobody reads any more is not kept."""
    echo = Echo()
    async with serving(tls, echo) as (_, stub):
        async for _ in stub.watch(Text(value="x")):
            break
        async with asyncio.timeout(SECONDS):
            await echo.cancelled.wait()


async def test_cancelling_the_task_cancels_the_call(tls: Tls) -> None:
    """A cancelled task sees CancelledError, and the server's handler ends."""
    echo = Echo()
    async with serving(tls, echo) as (_, stub):

        async def follow() -> None:
            async for _ in stub.watch(Text(value="x")):
                started.set()

        started = asyncio.Event()
        task = asyncio.create_task(follow())
        async with asyncio.timeout(SECONDS):
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await echo.cancelled.wait()


async def test_closing_the_channel_is_not_a_cancellation_of_the_task(tls: Tls) -> None:
    """A task that waits for a call whose channel closes gets an error, not CancelledError."""
    echo = Echo()
    async with serving(tls, echo) as (server, _):
        channel = RpcChannel(server.address, tls=tls["dns"])
        call = Stub(channel).watch(Text(value="x"))
        await call.read()
        reading = asyncio.create_task(call.read())
        await asyncio.sleep(0)
        await channel.close()
        async with asyncio.timeout(SECONDS):
            with pytest.raises(CancelledByPeerError):
                await reading


async def test_a_stop_ends_streams_and_lets_unary_calls_finish(tls: Tls) -> None:
    """Watchers get UNAVAILABLE at once; a call in flight gets its answer."""
    entered, leave = asyncio.Event(), asyncio.Event()

    class Slow(Echo):
        async def get(self, request: Text, context: object) -> Text:
            entered.set()
            await leave.wait()
            return request

    server = RpcServer(listen="127.0.0.1:0", tls=tls["registry"], policy=EVERYONE, grace=5)
    server.add(add_echo, Slow())
    async with asyncio.timeout(10), server, RpcChannel(server.address, tls=tls["dns"]) as channel:
        stub = Stub(channel)
        watch = stub.watch(Text(value="x"))
        await watch.read()
        call = asyncio.ensure_future(_await(stub.set(Text(value="late"))))
        await entered.wait()
        stopping = asyncio.create_task(server.stop())
        with pytest.raises(UnavailableError) as caught:
            await watch.read()
        assert caught.value.reason == "STOPPING"
        leave.set()
        assert (await call).value == "late"
        await stopping


async def _await(call: grpc.aio.UnaryUnaryCall[Text, Text]) -> Text:
    return await call


async def test_idempotent_calls_are_retried_while_the_server_is_unavailable(tls: Tls) -> None:
    """GetEcho succeeds at the third attempt; SetEcho, which is not idempotent, is tried once."""
    failures = [2]

    def flaky(text: str) -> str:
        if failures[0]:
            failures[0] -= 1
            raise UnavailableError("not now")
        return text

    echo = Echo(flaky)
    async with serving(tls, echo) as (_, stub):
        assert (await stub.get(Text(value="a"))).value == "a"
        assert echo.calls == 3
        failures[0] = 1
        with pytest.raises(UnavailableError, match="not now"):
            await stub.set(Text())
        assert echo.calls == 4


async def test_a_unary_call_has_a_deadline_by_default(tls: Tls) -> None:
    """A handler that hangs costs the caller the channel's timeout, no more."""

    class Hanging(Echo):
        async def get(self, request: Text, context: object) -> Text:
            await asyncio.Event().wait()
            return request

    server = RpcServer(listen="127.0.0.1:0", tls=tls["registry"], policy=EVERYONE, grace=0.1)
    server.add(add_echo, Hanging())
    async with server, RpcChannel(server.address, tls=tls["dns"], timeout=0.3) as channel:
        with pytest.raises(DeadlineError):
            await Stub(channel).get(Text())


async def test_a_call_fails_at_once_or_waits_as_the_channel_says(tls: Tls) -> None:
    """With wait_for_ready a call outlasts a server that is not up yet; without, it does not."""
    async with serving(tls, Echo()) as (server, _):
        address = server.address
    async with RpcChannel(address, tls=tls["dns"], timeout=10) as channel:
        with pytest.raises(UnavailableError):
            await Stub(channel).set(Text())
    async with RpcChannel(address, tls=tls["dns"], timeout=10, wait_for_ready=True) as channel:
        waiting = asyncio.ensure_future(_await(Stub(channel).set(Text(value="late"))))
        await asyncio.sleep(0.05)
        again = RpcServer(listen=address, tls=tls["registry"], policy=EVERYONE)
        again.add(add_echo, Echo())
        async with again:
            assert (await waiting).value == "late"


async def test_renewed_certificates_are_served_to_new_connections(tls: Tls, tmp_path: Path) -> None:
    """A server whose files are replaced shows the new certificate without a restart."""
    authority = CertificateAuthority.create()
    files = authority.issue_local("one").write(tmp_path, "server", ca_pem=authority.ca_pem)
    client = authority.issue_local("client").write(tmp_path, "client")
    server = RpcServer(listen="127.0.0.1:0", tls=files, policy=EVERYONE)
    server.add(add_echo, Echo())
    async with server:
        async with RpcChannel(server.address, tls=client) as channel:
            await Stub(channel).get(Text())
        renewed = CertificateAuthority.create()
        renewed.issue_local("two").write(tmp_path, "server", ca_pem=renewed.ca_pem)
        for path in (files.ca, files.cert, files.key):
            os.utime(path, ns=(1, 1))
        shutil.copy(files.ca, tmp_path / "new-ca.crt")
        fresh = renewed.issue_local("client").write(tmp_path, "fresh")
        trusting = replace(fresh, ca=tmp_path / "new-ca.crt")
        async with RpcChannel(server.address, tls=trusting) as channel:
            await Stub(channel).get(Text())


async def test_one_trace_crosses_a_call(tls: Tls, tmp_path: Path) -> None:
    """The client's, the server's and the handler's spans are in one trace, and metrics count the call."""
    import orjson

    file = tmp_path / "spans.jsonl"
    telemetry = setup("test", ServiceSettings(trace_file=str(file)), install=False)
    server = RpcServer(listen="127.0.0.1:0", tls=tls["registry"], policy=EVERYONE, telemetry=telemetry)
    server.add(add_echo, Echo(raising(ConflictError("no"))))
    async with server, RpcChannel(server.address, tls=tls["dns"], telemetry=telemetry) as channel:
        with span_from_traceparent("root", None, tracer=telemetry.tracer), pytest.raises(HanseError):
            await Stub(channel).get(Text())
    text = telemetry.render_metrics()[0].decode()
    telemetry.shutdown()
    spans = {span["kind"]: span for span in map(orjson.loads, file.read_text().splitlines())}
    assert set(spans) == {"INTERNAL", "CLIENT", "SERVER"}
    assert len({span["trace_id"] for span in spans.values()}) == 1
    assert spans["SERVER"]["parent_id"] == spans["CLIENT"]["span_id"]
    assert spans["CLIENT"]["parent_id"] == spans["INTERNAL"]["span_id"]
    assert spans["SERVER"]["attributes"]["rpc.response.status_code"] == "ABORTED"
    assert spans["SERVER"]["status"] == "UNSET"  # the caller's fault is not the server's error
    assert spans["CLIENT"]["status"] == "ERROR"
    assert f'rpc_server_call_duration_seconds_count{{rpc_method="{NAME}/GetEcho"' in text
    assert 'rpc_response_status_code="ABORTED"' in text


async def test_ids_cross_a_call_even_if_nothing_records(tls: Tls) -> None:
    """Without exporters a trace still has one id everywhere, so that logs can be joined."""
    from hanse.process.telemetry import current_trace_id

    telemetry = setup("test", ServiceSettings(), install=False)
    server = RpcServer(listen="127.0.0.1:0", tls=tls["registry"], policy=EVERYONE, telemetry=telemetry)
    server.add(add_echo, Echo(lambda _: current_trace_id()))
    async with server, RpcChannel(server.address, tls=tls["dns"], telemetry=telemetry) as channel:
        with span_from_traceparent("root", None, tracer=telemetry.tracer):
            seen = (await Stub(channel).get(Text())).value
            assert len(seen) == 32
            assert seen == current_trace_id()
    telemetry.shutdown()


@pytest.mark.parametrize("options", [server_module._OPTIONS, channel_module._OPTIONS])
def test_every_option_is_one_that_grpc_knows(options: tuple[tuple[str, int], ...]) -> None:
    """A name that gRPC does not know is ignored without a word."""
    (compiled,) = (Path(grpc.__file__).parent / "_cython").glob("cygrpc*.so")
    library = compiled.read_bytes()
    assert [name for name, _ in options if name.encode() + b"\0" not in library] == []
