"""Who gets in, who may do what, and that health alone is open."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import orjson
import pytest

from hanse.errors import ConfigError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from hanse.kube.client.access import ClusterAccess
from hanse.kube.client.expect import ADocument
from hanse.kube.client.requests import GroupVersionResource
from hanse.store import MAX_REQUEST_BYTES
from tests.kube.server.world import CONFIGMAPS, World
from tests.support.machine.raw import raw
from tests.support.object_client import ObjectClient

REVIEWS = GroupVersionResource("authorization.k8s.io/v1", "selfsubjectaccessreviews")


@pytest.mark.parametrize("path", ["/api", "/apis", "/version", "/openapi/v3", "/api/v1/configmaps", "/nope"])
async def test_anonymous_gets_nothing(world: World, path: str) -> None:
    """Without credentials every path but health is 401, and says nothing about what is there."""
    nobody = ClusterAccess(world.server.url, ca_pem=world.authority.ca_pem)
    async with ObjectClient(nobody) as client:
        status, _, body = await raw(client, "GET", path)
    assert status == 401
    assert b'"reason":"Unauthorized"' in body


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/readyz/engine"])
async def test_health_is_open(world: World, path: str) -> None:
    """Probes need no credentials."""
    nobody = ClusterAccess(world.server.url, ca_pem=world.authority.ca_pem)
    async with ObjectClient(nobody) as client:
        status, _, body = await raw(client, "GET", path)
    assert (status, body) == (200, b"ok")


async def test_a_wrong_token_is_nobody(world: World) -> None:
    """An unknown token is refused, also beside nothing else."""
    async with world.client(token="wrong") as client:
        with pytest.raises(UnauthenticatedError):
            await client.list(CONFIGMAPS)


async def test_a_known_user_without_rights_is_forbidden(world: World) -> None:
    """403 names the user, the verb and the resource; discovery and self reviews stay open."""
    async with world.client(token="low-token") as client:
        with pytest.raises(PermissionDeniedError, match='User "eve" cannot list resource "configmaps"'):
            await client.list(CONFIGMAPS)
        assert await client.version()
        asked = {"resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": "default"}}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "metadata": {},
            "spec": asked,
        }
        expected = ADocument(("SelfSubjectAccessReview",))
        path = REVIEWS.url()
        answer = await client.ask_for("POST", path, expect=expected, body=orjson.dumps(review))
        assert answer["status"]["allowed"] is False


async def test_a_certificate_of_another_authority_is_refused(world: World) -> None:
    """TLS itself refuses who our CA did not sign, or the server treats it as nobody."""
    from hanse.security.pki import CertificateAuthority

    other = CertificateAuthority.create().issue("admin", organizations=["system:masters"])
    access = ClusterAccess(
        world.server.url,
        ca_pem=world.authority.ca_pem,
        client_cert_pem=other.cert_pem,
        client_key_pem=other.key_pem,
    )
    async with ObjectClient(access) as client:
        with pytest.raises((UnauthenticatedError, Exception), match=r"(?i)unauthorized|reached"):
            await client.list(CONFIGMAPS)


async def test_a_request_that_is_too_big_is_refused(world: World) -> None:
    """Above 3 MiB: 413 as a Status."""
    async with world.client() as client:
        status, _, body = await raw(
            client,
            "POST",
            "/api/v1/namespaces/default/configmaps",
            body=b"{" + b" " * (3 * 1024 * 1024),
            headers={"Content-Type": "application/json"},
        )
    assert status == 413
    assert b"RequestEntityTooLarge" in body


async def test_an_object_that_the_store_does_not_take_is_refused(world: World) -> None:
    """Between etcd's 1.5 MiB and the body's 3 MiB: 413 with the bound, and nothing is stored."""
    container = {"name": "web", "image": "nginx", "args": ["x" * 2 * 1024 * 1024]}
    labels = {"app": "web"}
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "large"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    async with world.client() as client:
        status, _, body = await raw(
            client,
            "POST",
            "/apis/apps/v1/namespaces/default/deployments",
            body=orjson.dumps(obj),
            headers={"Content-Type": "application/json"},
        )
        assert (status, orjson.loads(body)["reason"]) == (413, "RequestEntityTooLarge")
        assert str(MAX_REQUEST_BYTES) in orjson.loads(body)["message"]
        with pytest.raises(NotFoundError):
            await client.get(GroupVersionResource("apps/v1", "deployments"), "large", namespace="default")


@pytest.mark.parametrize(
    ("method", "path", "content", "code"),
    [
        ("POST", "/api/v1/namespaces/default/configmaps", "text/html", 415),
        ("PATCH", "/api/v1/namespaces/default/configmaps/x", "application/json", 415),
        ("POST", "/api/v1/namespaces/default/configmaps", "application/json", 400),
        ("PUT", "/api/v1/namespaces/default/configmaps", "application/json", 405),
        ("POST", "/api/v1/namespaces/default/nonsense", "application/json", 404),
        ("POST", "/apis/apps/v9/deployments", "application/json", 404),
    ],
)
async def test_bad_requests_get_a_status(
    world: World, method: str, path: str, content: str, code: int
) -> None:
    """Every failure is a Kubernetes Status with the right code."""
    async with world.client() as client:
        status, headers, body = await raw(
            client, method, path, body=b"{nonsense", headers={"Content-Type": content}
        )
    assert status == code
    assert headers["content-type"] == "application/json"
    assert b'"kind":"Status"' in body


async def test_a_plain_http_request_is_not_served(world: World) -> None:
    """There is no clear text port."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(world.server.url.replace("https", "http") + "/healthz")


def test_a_kubeconfig_is_read_from_data_and_files(tmp_path: Path) -> None:
    """Certificates from files, tokens from files; errors say what is missing."""
    (tmp_path / "ca.pem").write_text("CA")
    (tmp_path / "token").write_text("secret\n")
    config = {
        "current-context": "a",
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": "https://x:1/", "certificate-authority": f"{tmp_path}/ca.pem"},
            }
        ],
        "users": [
            {"name": "file", "user": {"tokenFile": f"{tmp_path}/token"}},
        ],
        "contexts": [
            {"name": "a", "context": {"cluster": "c", "user": "file"}},
            {"name": "broken", "context": {"cluster": "nope"}},
        ],
    }
    first = ClusterAccess.from_kubeconfig(config)
    assert (first.server, first.ca_pem, first.token) == ("https://x:1", b"CA", "secret")
    with pytest.raises(ConfigError, match="no cluster 'nope'; it has: c"):
        ClusterAccess.from_kubeconfig(config, context="broken")
    with pytest.raises(ConfigError, match="cannot read the kubeconfig"):
        ClusterAccess.from_kubeconfig(tmp_path / "absent")
