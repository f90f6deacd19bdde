"""Each service has its own name: who is expected is who answers, and who calls is who may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hanse_apiserver.rpc.service import policy as federation_policy
from hanse_dns.service import POLICY as DNS
from hanse_registry.service import POLICY as REGISTRY
from hanse_scheduler.service import POLICY as SCHEDULER
from hanse_syncer.service import POLICY as SYNCER

from hanse.errors import HanseError, PermissionDeniedError, UnavailableError
from hanse.process.health import Health
from hanse.rpc.channel import RpcChannel
from hanse.rpc.policy import Policy, group
from hanse.rpc.server import RpcServer
from hanse.security.auth import ADMINS, SERVICES, VIEWERS, Identity, server_name, service_name
from hanse.security.pki import CertificateAuthority

from .echo import NAME, Echo, Stub, Text, add_echo

FEDERATION = federation_policy(admin_groups=("system:masters", ADMINS), viewer_groups=(VIEWERS,))
POLICIES: tuple[Policy, ...] = (REGISTRY, SCHEDULER, SYNCER, DNS, FEDERATION)
NEEDED = {
    "registry": {"GetObject", "CreateObject", "PatchObject", "DeleteObject"},
    "scheduler": {"CreateObject", "DeleteObject"},
    "syncer": {"GetObject", "CreateObject"},
    "dns": set(),
    "apiserver": {
        "hanse.api.scheduler.v1.SchedulerService/PreviewPlacement",
        "hanse.api.scheduler.v1.SchedulerService/PreviewPolicy",
        "hanse.api.syncer.v1.SyncerService/DryRunObject",
    },
}
"""What each service may call: in FederationService, unless another one is named."""


def allowed(identity: Identity) -> set[str]:
    """All methods in the tables that an identity may call."""
    found = set()
    for policy in POLICIES:
        for method in policy._rules:
            try:
                policy.authorize(method, identity)
            except HanseError:
                continue
            found.add(method.rpartition("/")[2] if policy is FEDERATION else method)
    return found


@pytest.mark.parametrize("service", NEEDED)
def test_a_service_may_call_what_it_needs_by_its_name(service: str) -> None:
    """The group of services opens nothing: each service is named where it is needed."""
    assert allowed(Identity(service_name(service), (SERVICES,))) == NEEDED[service]


@pytest.mark.parametrize("groups", [(), ("people",), (SERVICES,), ("hanse:admin",)])
def test_the_lowest_identity_may_call_nothing(groups: tuple[str, ...]) -> None:
    """A certificate of no group that is known may call no method of any service."""
    assert allowed(Identity("somebody", groups)) == set()


@pytest.mark.parametrize(("shown", "works"), [("registry", True), ("dns", False), ("", False)])
async def test_no_service_can_pose_as_another(tmp_path: Path, shown: str, works: bool) -> None:
    """Whoever expects the registry talks to nobody else of the same authority, at the same address."""
    ca = CertificateAuthority.create()
    names = (server_name(shown),) if shown else ()
    server_files = ca.ensure_local(tmp_path, "server", common_name=service_name("registry"), names=names)
    client = ca.ensure_local(tmp_path, "client", common_name="me", organizations=("friends",))
    server = RpcServer(
        listen="127.0.0.1:0", tls=server_files, policy=Policy({f"{NAME}/*": [group("friends")]})
    )
    server.add(add_echo, Echo())
    expected = server_name("registry")
    async with server, RpcChannel(server.address, tls=client, server_name=expected, timeout=5) as channel:
        stub = Stub(channel)
        if works:
            await stub.get(Text())
            return
        with pytest.raises(UnavailableError):
            await stub.get(Text(), timeout=2)


async def test_health_is_for_everybody_and_reflection_for_those_who_may_call(tmp_path: Path) -> None:
    """The lowest identity learns whether a service is up, and not what it serves."""
    from grpc_reflection.v1alpha import reflection_pb2

    ca = CertificateAuthority.create()
    files = ca.ensure_local(tmp_path, "server", common_name="x")
    health = Health()
    health.set("serving", True)
    policy = Policy({f"{NAME}/*": [group("friends")]})
    server = RpcServer(listen="127.0.0.1:0", tls=files, policy=policy, health=health)
    server.add(add_echo, Echo())
    lowest = ca.ensure_local(tmp_path, "lowest", common_name="somebody")
    async with server, RpcChannel(server.address, tls=lowest, timeout=5) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest())
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
        reflect = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        call = reflect()
        await call.done_writing()
        with pytest.raises(PermissionDeniedError):
            await call.read()


def test_a_certificate_from_before_is_issued_again(tmp_path: Path) -> None:
    """One without the service's own name, as older releases made them, is replaced at the next start."""
    ca = CertificateAuthority.create()
    old = ca.ensure_local(tmp_path, "dns", common_name=service_name("dns")).cert.read_bytes()
    names = (server_name("dns"),)
    new = ca.ensure_local(tmp_path, "dns", common_name=service_name("dns"), names=names).cert.read_bytes()
    assert new != old
    assert (
        ca.ensure_local(tmp_path, "dns", common_name=service_name("dns"), names=names).cert.read_bytes()
        == new
    )
