"""The five services run from the image: not as root, with nothing to write to, over mutual TLS."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hanse.security.auth import server_name
from tests.image.federation import NAMES, Federation
from tests.image.podman import Image, Podman


@pytest.fixture(scope="module")
def federation(
    podman: Podman, image: Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Federation]:
    """All five, ready."""
    with Federation(podman, image, tmp_path_factory.mktemp("federation")) as running:
        running.wait_ready()
        yield running


async def health(federation: Federation, name: str, *, identified: bool) -> int:
    """Asks a service over gRPC how it is, with or without a certificate of one's own."""
    tls = federation.admin
    own = (tls.key.read_bytes(), tls.cert.read_bytes()) if identified else (None, None)
    credentials = grpc.ssl_channel_credentials(tls.ca.read_bytes(), *own)
    options = [("grpc.ssl_target_name_override", server_name(name))]
    address = f"127.0.0.1:{federation.ports[name].grpc}"
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        return int(answer.status)


@pytest.mark.parametrize("name", NAMES)
async def test_each_is_ready_over_mutual_tls(federation: Federation, name: str) -> None:
    """It says so to whoever has a certificate of the mesh, and nothing to whoever has none."""
    assert await health(federation, name, identified=True) == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await health(federation, name, identified=False)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("name", NAMES)
def test_each_is_confined(federation: Federation, name: str) -> None:
    """It is not root, has no capability, cannot get one, and its root is read-only."""
    process = Path(f"/proc/{federation.pid(name)}")
    status = dict(re.findall(r"^(\w+):\s+(.*)$", (process / "status").read_text(), re.MULTILINE))
    assert status["Uid"].split() == status["Gid"].split() == ["65532"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    mounts = [line.split() for line in (process / "mountinfo").read_text().splitlines()]
    (options,) = [fields[5] for fields in mounts if fields[4] == "/"]
    assert "ro" in options.split(",")


def test_an_object_is_created_and_read(federation: Federation) -> None:
    """Through the Kubernetes API, from what is in etcd; a Secret too, which is sealed there."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "1"}}
    token = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "stringData": {"a": "b"}}
    federation.rest("POST", "/api/v1/namespaces", namespace)
    federation.rest("POST", "/api/v1/namespaces/shop/configmaps", settings)
    federation.rest("POST", "/api/v1/namespaces/shop/secrets", token)
    assert federation.rest("GET", "/api/v1/namespaces/shop/configmaps/settings")["data"] == {"a": "1"}
    read = federation.rest("GET", "/api/v1/namespaces/shop/secrets/token")["data"]["a"]
    assert base64.b64decode(read) == b"b"


def test_names_are_answered(federation: Federation) -> None:
    """The name server answers for its zone."""
    question = dns.message.make_query("example.org.", "SOA")
    answer = dns.query.udp(question, "127.0.0.1", port=federation.ports["dns"].extra, timeout=5)
    assert answer.answer


def test_each_ends_in_order(federation: Federation) -> None:
    """SIGTERM reaches it as process 1, and it exits with 0."""
    assert {name: federation.stop(name) for name in reversed(NAMES)} == dict.fromkeys(NAMES, 0)
