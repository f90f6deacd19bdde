"""The Helm chart makes the same manifests as kustomize, for the same values, by helm itself."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hanse_apiserver.settings import ApiserverSettings
from hanse_dns.settings import DnsSettings

from tests.deploy.chart import CHART, COMPONENTS
from tests.deploy.generated import K8S
from tests.deploy.guide import block
from tests.deploy.manifests import (
    WORKLOADS,
    Manifest,
    build,
    container,
    environment,
    named,
    needs_kubectl,
    of_kind,
    pod,
)

pytestmark = needs_kubectl
ENDPOINTS = (K8S / "components" / "external-etcd" / "endpoints.env").read_text().strip().partition("=")[2]
ENDPOINTS = ENDPOINTS.replace(",", r"\,")
_HASH = re.compile(r"(hanse-(?:federation|etcd|apiserver|registry|scheduler|syncer|dns))-[a-z0-9]{10}(?=\")")


@pytest.fixture
def helm(tools: Path) -> str:
    """helm, built once."""
    return str(tools / "helm")


def template(helm: str, *flags: str, namespace: str = "hanse") -> list[Manifest]:
    """What `helm template` makes of the chart. Raises AssertionError with what helm says."""
    result = subprocess.run(
        [helm, "template", "x", CHART, "--kube-version=1.34.0", f"--namespace={namespace}", *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return [each for each in yaml.safe_load_all(result.stdout) if each]


def normal(manifests: list[Manifest]) -> dict[tuple[str, str], Any]:
    """Manifests by kind and name, without the hashes of ConfigMaps and what only helm reads."""
    found: dict[tuple[str, str], Any] = {}
    for each in manifests:
        text = _HASH.sub(r"\1", json.dumps(each))
        manifest = json.loads(text)
        annotations = manifest["metadata"].get("annotations", {})
        for name in [name for name in annotations if name.startswith("helm.sh/")]:
            del annotations[name]
        if not annotations:
            manifest["metadata"].pop("annotations", None)
        found[manifest["kind"], manifest["metadata"]["name"]] = manifest
    assert len(found) == len(manifests)
    return found


@pytest.mark.parametrize("profile", ["single", "ha"])
@pytest.mark.parametrize("component", [None, *COMPONENTS])
def test_the_chart_equals_the_overlay(helm: str, profile: str, component: str | None) -> None:
    """`helm template` and `kubectl kustomize` give the same, with each component and without."""
    flags = [f"--set=profile={profile}", "--set=createNamespace=true"]
    components: tuple[str, ...] = ()
    if component is not None:
        flags.append(f"--set=components.{component}=true")
        components = (COMPONENTS[component],)
    if component == "externalEtcd":
        flags.append(f"--set=federation.etcdEndpoints={ENDPOINTS}")
    assert normal(template(helm, *flags)) == normal(build(profile, *components))


def test_components_go_together(helm: str) -> None:
    """All of them at once, as with kustomize."""
    flags = [f"--set=components.{each}=true" for each in COMPONENTS]
    made = template(
        helm, "--set=profile=ha,createNamespace=true", f"--set=federation.etcdEndpoints={ENDPOINTS}", *flags
    )
    assert normal(made) == normal(build("ha", *COMPONENTS.values()))


def test_the_chart_can_be_air_gapped(helm: str) -> None:
    """By the values that name images and the Secret for their registry it equals the overlay."""
    made = template(
        helm,
        "--set=profile=ha,createNamespace=true",
        "--set=image.repository=registry.internal/hanse/hanse",
        "--set=etcdImage.repository=registry.internal/hanse/etcd",
        "--set=imagePullSecrets[0].name=hanse-pull",
    )
    assert normal(made) == normal(build("air-gapped"))


def test_an_external_etcd_is_named_and_its_ports_are_let_through(helm: str) -> None:
    """Without its endpoints nothing is made; other ports than 2379 are those of the NetworkPolicy."""
    with pytest.raises(
        AssertionError, match=r"needs the endpoints of your etcd in federation\.etcdEndpoints"
    ):
        template(helm, "--set=components.externalEtcd=true")
    made = template(
        helm, "--set=components.externalEtcd=true", r"--set=federation.etcdEndpoints=a:4001\,b:4002\,c:4001"
    )
    (rule,) = named(made, "NetworkPolicy", "hanse-external-etcd")["spec"]["egress"]
    assert [each["port"] for each in rule["ports"]] == [4001, 4002]
    given = environment(made, named(made, "Deployment", "hanse-dns"))
    assert DnsSettings.load([], given).etcd_endpoints == ("a:4001", "b:4002", "c:4001")
    assert not list(of_kind(made, "StatefulSet"))


def test_values_reach_what_they_are_for(helm: str) -> None:
    """Image, pull secrets, namespace, the federation's names and settings of services are the user's."""
    manifests = template(
        helm,
        "--set=image.repository=registry.example.org/hanse,image.tag=1.2.3,image.pullPolicy=Always",
        "--set=imagePullSecrets[0].name=pull",
        "--set=federation.name=shops,federation.dnsSuffix=example.net",
        "--set=settings.apiserver.HANSE_APISERVER_EVENT_TTL=60",
        "--set-string=denied=name:eve",
        "--set=components.certManager=true",
        namespace="east",
    )
    for each in of_kind(manifests, *WORKLOADS):
        if container(each)["name"] == "hanse":
            assert container(each)["image"] == "registry.example.org/hanse:1.2.3"
            assert container(each)["imagePullPolicy"] == "Always"
    for each in of_kind(manifests, "ServiceAccount"):
        assert each["imagePullSecrets"] == [{"name": "pull"}]
    assert {each["metadata"].get("namespace", "east") for each in manifests} == {"east"}
    assert not list(of_kind(manifests, "Namespace"))
    given = environment(manifests, named(manifests, "Deployment", "hanse-apiserver"))
    settings = ApiserverSettings.load([], given)
    assert (settings.federation_name, settings.dns_suffix, settings.event_ttl) == ("shops", "example.net", 60)
    assert named(manifests, "ConfigMap", "hanse-deny-list")["data"] == {"denied": "name:eve"}
    certificate = named(manifests, "Certificate", "hanse-dns-tls")
    assert "hanse-dns.east.svc.cluster.local" in certificate["spec"]["dnsNames"]
    assert not [name for name in certificate["spec"]["dnsNames"] if ".hanse.svc" in name]


def test_numbers_and_booleans_are_written_as_text(helm: str, tmp_path: Path) -> None:
    """A ConfigMap holds text only, whatever a value is; a large number stays one."""
    mine = {"HANSE_APISERVER_ETCD_QUOTA_BYTES": 8589934592, "HANSE_APISERVER_SHARED": True}
    values = {"settings": {"apiserver": mine, "registry": {"HANSE_REGISTRY_PROBE_INTERVAL": 0.5}}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    manifests = template(
        helm, f"--values={tmp_path / 'values.yaml'}", "--set=settings.dns.HANSE_DNS_DNS_TTL=60"
    )
    data = {key: value for each in of_kind(manifests, "ConfigMap") for key, value in each["data"].items()}
    assert all(isinstance(value, str) for value in data.values())
    assert data["HANSE_APISERVER_ETCD_QUOTA_BYTES"] == "8589934592"
    assert data["HANSE_APISERVER_SHARED"] == "true"
    assert data["HANSE_REGISTRY_PROBE_INTERVAL"] == "0.5"
    assert data["HANSE_DNS_DNS_TTL"] == "60"


def test_a_changed_setting_rolls_its_pods_and_no_others(helm: str) -> None:
    """The name of a ConfigMap changes with what is in it."""
    before = template(helm)
    after = template(helm, "--set=settings.dns.HANSE_DNS_DNS_TTL=60")
    changed = {
        each["metadata"]["name"]
        for each in of_kind(after, "Deployment")
        if pod(each) != pod(named(before, "Deployment", each["metadata"]["name"]))
    }
    assert changed == {"hanse-dns"}


def test_the_job_is_made_anew_at_each_upgrade(helm: str) -> None:
    """A Job cannot be changed, so it is a hook, which helm replaces."""
    job = named(template(helm), "Job", "hanse-etcd-roles")
    assert job["metadata"]["annotations"] == {
        "helm.sh/hook": "post-install,post-upgrade",
        "helm.sh/hook-delete-policy": "before-hook-creation",
    }


def test_the_values_of_the_guide_are_taken(helm: str, tmp_path: Path) -> None:
    """What docs/install.md has people write is what they get."""
    (tmp_path / "my-values.yaml").write_text(block("yaml", "profile: ha"))
    manifests = template(helm, f"--values={tmp_path / 'my-values.yaml'}")
    assert named(manifests, "StatefulSet", "hanse-etcd")["spec"]["replicas"] == 3
    assert list(of_kind(manifests, "ServiceMonitor"))
    given = environment(manifests, named(manifests, "Deployment", "hanse-apiserver"))
    assert ApiserverSettings.load([], given).advertise_address == "api.example.org:443"


def test_a_profile_that_there_is_not_is_refused(helm: str) -> None:
    """One line says which there are."""
    with pytest.raises(AssertionError, match="profile is medium: it must be single or ha"):
        template(helm, "--set=profile=medium")


def test_the_chart_has_no_fault_that_helm_sees(helm: str) -> None:
    """`helm lint`, strictly."""
    subprocess.run([helm, "lint", "--strict", "--kube-version=1.34.0", CHART], check=True, timeout=60)
