"""A real kube-apiserver takes every overlay of deploy/k8s, strictly, and admits its Pods as restricted."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from hanse.installation import KEYS, secrets
from hanse.kube.client.access import ClusterAccess
from hanse.security.keyring import add_key
from tests.deploy.guide import block
from tests.deploy.manifests import OVERLAYS, WORKLOADS, build, of_kind, pod
from tests.real.realcluster import ClusterSpec, RealClusters

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEFINITIONS = {
    "github.com/cert-manager/cert-manager@v1.21.2": (
        "deploy/crds/cert-manager.io_certificates.yaml",
        "deploy/crds/cert-manager.io_issuers.yaml",
    ),
    "sigs.k8s.io/gateway-api@v1.6.3": (
        "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
        "config/crd/standard/gateway.networking.k8s.io_tlsroutes.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
}
"""Definitions of the kinds of others, in the modules that they come with."""
VARIANTS = (
    *((overlay,) for overlay in OVERLAYS),
    ("ha", "external-etcd"),
    ("ha", "backup"),
    ("ha", "cert-manager", "gateway", "monitoring"),
)


def definitions() -> list[Path]:
    """The files with the CustomResourceDefinitions, from Go's module cache."""
    found: list[Path] = []
    for module, files in DEFINITIONS.items():
        told = subprocess.run(
            ["go", "mod", "download", "-json", module],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
            cwd="/",
            env={**os.environ, "GOWORK": "off", "GOFLAGS": "-mod=mod"},
        )
        found += [Path(json.loads(told.stdout)["Dir"]) / file for file in files]
    return found


class Host:
    """A cluster to install into, by kubectl."""

    def __init__(self, kubeconfig: Path, *, server: str = "") -> None:
        self.kubeconfig = str(kubeconfig)
        self.server = server

    async def kubectl(self, *arguments: str, manifests: list[dict[str, Any]] | None = None) -> str:
        """Run kubectl; a warning of the server is an error, as is a failure."""
        text = yaml.safe_dump_all(manifests) if manifests is not None else None
        result = await asyncio.to_thread(
            subprocess.run,
            ["kubectl", f"--kubeconfig={self.kubeconfig}", "--warnings-as-errors", *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        assert "Warning" not in result.stderr, result.stderr
        return result.stdout

    async def guide(self, script: str, folder: Path) -> None:
        """Run commands of the guide in a folder."""
        result = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-ec", script],
            cwd=folder,
            env={**os.environ, "KUBECONFIG": self.kubeconfig},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr

    async def tried(self, manifests: list[dict[str, Any]]) -> str:
        """Have the server do everything but store."""
        return await self.kubectl(
            "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", manifests=manifests
        )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def host(assets_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Host]:
    """A cluster that knows cert-manager's and the Prometheus operator's kinds, and has our namespace."""
    specs = [ClusterSpec("host")]
    async with RealClusters(assets_dir, tmp_path_factory.mktemp("host"), specs) as running:
        found = Host(running["host"].kubeconfig_path, server=running["host"].server)
        for file in await asyncio.to_thread(definitions):
            await found.kubectl("create", "-f", str(file))
        await found.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
        await found.kubectl(
            "create", "-f", "-", manifests=[*of_kind(build("ha"), "Namespace", "PriorityClass")]
        )
        await found.kubectl(
            "create", "-f", "-", manifests=[*of_kind(build("ha", "backup"), "ServiceAccount")]
        )
        yield found


@pytest.mark.parametrize("variant", VARIANTS, ids="+".join)
async def test_an_overlay_is_taken(host: Host, variant: tuple[str, ...]) -> None:
    """Each field is known, each value valid, and nothing is warned of, Pod security least of all."""
    manifests = build(*variant)
    taken = await host.tried(manifests)
    assert taken.count("(server dry run)") == len(manifests)


async def test_an_unknown_field_is_refused(host: Host) -> None:
    """The check of overlays can fail."""
    manifests = build("single")
    (found,) = (each for each in of_kind(manifests, "Deployment") if each["metadata"]["name"] == "hanse-dns")
    pod(found)["spec"]["containers"][0]["readOnly"] = True
    with pytest.raises(AssertionError, match="readOnly"):
        await host.tried([found])


@pytest.mark.parametrize("variant", [*((each,) for each in OVERLAYS), ("ha", "backup")], ids="+".join)
async def test_its_pods_are_admitted(host: Host, variant: tuple[str, ...]) -> None:
    """A Pod of each workload passes the admission of a namespace that enforces *restricted*."""
    pods = []
    for each in of_kind(build(*variant), *WORKLOADS):
        template = pod(each)
        claims = each["spec"].get("volumeClaimTemplates", ())
        template["spec"].setdefault("volumes", []).extend(
            {"name": claim["metadata"]["name"], "emptyDir": {}} for claim in claims
        )
        name = each["metadata"]["name"]
        metadata = {**template["metadata"], "name": name, "namespace": "hanse"}
        pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    assert len(pods) == 7 + ("backup" in variant)
    await host.tried(pods)


async def test_a_pod_that_runs_as_root_is_not_admitted(host: Host) -> None:
    """The namespace does enforce it."""
    template = pod(next(of_kind(build("single"), "Job")))
    template["spec"]["securityContext"] = {}
    metadata = {"name": "root", "namespace": "hanse"}
    with pytest.raises(AssertionError, match='violates PodSecurity "restricted'):
        await host.tried(
            [{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}]
        )


async def test_secrets_are_taken_and_a_ring_may_grow(host: Host, tmp_path: Path) -> None:
    """What the installation makes is valid, again too, and with a key more."""
    arguments = ("apply", "--server-side", "-f", "-")
    await host.kubectl(*arguments, manifests=[*secrets(tmp_path / "one")])
    await host.kubectl(*arguments, manifests=[*secrets(tmp_path / "one")])
    for file in KEYS.values():
        add_key(tmp_path / "one" / file)
    await host.kubectl(*arguments, manifests=[*secrets(tmp_path / "one", keys_only=True)])


async def test_a_credential_of_the_host_may_do_what_is_federated_and_no_more(
    host: Host, tmp_path: Path
) -> None:
    """The commands of the guide make a kubeconfig of the token, with the rights of the ClusterRole."""
    await host.kubectl("apply", "--server-side", "-f", "-", manifests=member_of_the_host())
    await host.kubectl(
        "wait", "-n", "hanse", "secret/hanse-member-token", "--for=jsonpath={.data.token}", "--timeout=60s"
    )
    await host.guide(block("sh", "hanse-member-token").rpartition("hanse --config")[0], tmp_path)
    access = ClusterAccess.from_kubeconfig(tmp_path / "host.kubeconfig")
    assert access.server == "https://kubernetes.default.svc"

    async def may(verb: str, resource: str, *more: str) -> bool:
        asked = await asyncio.to_thread(
            subprocess.run,
            [
                "kubectl",
                f"--kubeconfig={tmp_path / 'host.kubeconfig'}",
                f"--server={host.server}",
                *("auth", "can-i", verb, resource, *more),
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return asked.stdout.strip() == "yes"

    for verb, resource in (
        ("patch", "deployments.apps"),
        ("watch", "pods"),
        ("list", "nodes"),
        ("delete", "namespaces"),
        ("watch", "endpointslices.discovery.k8s.io"),
    ):
        assert await may(verb, resource, "-A"), (verb, resource)
    assert await may("get", "/readyz")
    for verb, resource in (
        ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
        ("create", "pods"),
        ("patch", "nodes"),
        ("create", "pods/exec"),
        ("impersonate", "users"),
    ):
        assert not await may(verb, resource, "-A"), (verb, resource)


async def test_the_host_joins_with_the_rights_of_the_overlay(host: Host, tmp_path: Path) -> None:
    """By the token of `hanse-member` the host is READY, runs what is federated, and leaves again."""
    await host.kubectl("apply", "--server-side", "-f", "-", manifests=member_of_the_host())
    await host.kubectl(
        "wait", "-n", "hanse", "secret/hanse-member-token", "--for=jsonpath={.data.token}", "--timeout=60s"
    )
    await host.guide(block("sh", "hanse-member-token").rpartition("hanse --config")[0], tmp_path)
    kubeconfig = yaml.safe_load((tmp_path / "host.kubeconfig").read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = host.server  # no name of Services is known here
    (tmp_path / "host.kubeconfig").write_text(yaml.safe_dump(kubeconfig))
    web = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    }
    shop = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    data = tmp_path / "data"
    await hanse("up", "--detach", "--clusters", "0", "--data-dir", str(data))
    try:
        config = ("--config", str(data / "client.toml"))
        await hanse(*config, "join", "host", "--cluster-kubeconfig", str(tmp_path / "host.kubeconfig"))
        federation = Host(data / "kubeconfig")
        await federation.kubectl("wait", "cluster/host", "--for=condition=Ready", "--timeout=60s")
        await federation.kubectl("apply", "-f", "-", manifests=[shop, web])
        await federation.kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=60s")
        assert "web" in await host.kubectl("get", "-n", "shop", "deployments", "-o", "name")
        failed = await hanse(*config, "syncer", "list-sync-states", "--filter", "phase=FAILED", "-o", "json")
        assert "web" not in failed
        await hanse(*config, "unjoin", "host", "--confirm-impact", "removed=2,moved=0")
        assert "web" not in await host.kubectl("get", "deployments", "-A", "-o", "name")
    finally:
        await hanse("down", "--data-dir", str(data))


def member_of_the_host() -> list[dict[str, Any]]:
    """What the overlay host-member adds for it."""
    return [each for each in build("host-member") if each["metadata"]["name"].startswith("hanse-member")]


async def hanse(*arguments: str) -> str:
    """Run `hanse`."""
    result = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "hanse_cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
