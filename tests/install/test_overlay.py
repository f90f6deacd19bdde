"""What init applies is deploy/k8s: byte for byte without flags, and with them what they say and no more."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from hanse_install.options import OVERLAYS, InitOptions
from hanse_install.overlay import manifests_directory, parsed, render

from tests.deploy import manifests as deploy
from tests.deploy.generated import K8S
from tests.deploy.manifests import build, container, environment, named, of_kind, pod, rendered

pytestmark = deploy.needs_kubectl
ROOT = Path(__file__).resolve().parents[2]
IMAGE = "registry.example.org/hanse:0.1.0"


def made(**given: Any) -> list[deploy.Manifest]:
    """The manifests with flags."""
    return parsed(render(InitOptions(given.pop("federation", "hanse"), **given)))


def changed(before: list[deploy.Manifest], after: list[deploy.Manifest]) -> set[str]:
    """Which objects are others, as KIND/NAME; hashes of ConfigMaps are left out of names."""

    def by_name(manifests: list[deploy.Manifest]) -> dict[str, deploy.Manifest]:
        return {f"{each['kind']}/{each['metadata']['name']}": each for each in manifests}

    old, new = by_name(before), by_name(after)
    differ = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    return {name.rpartition("-")[0] if name.startswith("ConfigMap/") else name for name in differ}


def test_the_overlays_are_those_of_deploy_k8s() -> None:
    """No overlay is unknown to init."""
    assert set(OVERLAYS) == set(deploy.OVERLAYS)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_flags_give_the_overlay_itself(overlay: str) -> None:
    """`kubefed init hanse --overlay X --dry-run -o yaml` is `kubectl kustomize deploy/k8s/overlays/X`."""
    assert render(InitOptions("hanse", overlay=overlay)) == rendered(overlay)


def test_the_manifests_are_in_the_wheel(tmp_path: Path) -> None:
    """In a source tree they are deploy/k8s; in the wheel they are a part of the package, all of them."""
    assert manifests_directory() == K8S
    build_it = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build_it, "--wheel-dir", tmp_path, ROOT], check=True, timeout=90)
    (wheel,) = tmp_path.glob("hanse-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packaged = {
            name.removeprefix("hanse_install/k8s/"): archive.read(name)
            for name in archive.namelist()
            if name.startswith("hanse_install/k8s/")
        }
    files = [path for path in K8S.rglob("*") if path.is_file()]
    assert packaged == {path.relative_to(K8S).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_image_is_of_all_services_and_their_job(overlay: str) -> None:
    """And of nothing else."""
    found = made(overlay=overlay, image=IMAGE, etcd_image="registry.example.org/etcd:v3.6.5")
    for each in of_kind(found, "Deployment", "Job"):
        assert container(each)["image"] == IMAGE
    assert container(named(found, "StatefulSet", "hanse-etcd"))["image"] == "registry.example.org/etcd:v3.6.5"
    assert changed(build(overlay), found) == {
        *(f"Deployment/hanse-{service}" for service in deploy.SERVICES),
        "Job/hanse-etcd-roles",
        "StatefulSet/hanse-etcd",
    }


def test_name_and_zone_reach_all_services() -> None:
    """By the one ConfigMap that they share."""
    found = made(federation="east", dns_zone_name="fed.example.com")
    for each in of_kind(found, "Deployment"):
        service = each["metadata"]["labels"]["hanse.dev/service"].upper()
        own = environment(found, each)
        assert own[f"HANSE_{service}_FEDERATION_NAME"] == "east"
        assert own[f"HANSE_{service}_DNS_SUFFIX"] == "fed.example.com"


def test_a_namespace_is_that_of_everything() -> None:
    """Also where it is in a setting or in a subject of a binding."""
    found = made(overlay="host-member", namespace="federation-system")
    namespaces = {each["metadata"]["namespace"] for each in found if "namespace" in each["metadata"]}
    assert namespaces == {"federation-system"}
    assert named(found, "Namespace", "federation-system")
    apiserver = environment(found, named(found, "Deployment", "hanse-apiserver"))
    assert apiserver["HANSE_APISERVER_ADVERTISE_ADDRESS"] == "hanse-api.federation-system.svc:443"
    (subject,) = named(found, "ClusterRoleBinding", "hanse-member")["subjects"]
    assert subject["namespace"] == "federation-system"


def test_an_etcd_of_yours_takes_the_place_of_the_one_here() -> None:
    """No StatefulSet, and its endpoints for all."""
    found = made(overlay="ha", etcd_servers="https://a.example.org:2379,https://b.example.org:12379")
    assert not list(of_kind(found, "StatefulSet"))
    registry = environment(found, named(found, "Deployment", "hanse-registry"))
    assert registry["HANSE_REGISTRY_ETCD_ENDPOINTS"] == "a.example.org:2379,b.example.org:12379"
    (rule,) = named(found, "NetworkPolicy", "hanse-external-etcd")["spec"]["egress"]
    assert [each["port"] for each in rule["ports"]] == [2379, 12379]


def test_the_volume_of_etcd() -> None:
    """Its size and class, or none."""
    own = named(made(etcd_pv_capacity="40Gi", etcd_pv_storage_class="fast"), "StatefulSet", "hanse-etcd")
    (claim,) = own["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "40Gi"
    assert claim["spec"]["storageClassName"] == "fast"

    none = named(made(etcd_persistent_storage=False), "StatefulSet", "hanse-etcd")
    assert "volumeClaimTemplates" not in none["spec"]
    assert {"name": "data", "emptyDir": {}} in pod(none)["spec"]["volumes"]


def test_how_the_kubernetes_api_is_reached() -> None:
    """The type and port of its Service, and what the apiserver says of itself."""
    found = made(
        api_server_service_type="NodePort", api_server_port=30443, api_server_advertise_address="192.0.2.7"
    )
    service = named(found, "Service", "hanse-api")
    assert service["spec"]["type"] == "NodePort"
    assert service["spec"]["ports"][0]["nodePort"] == 30443
    own = environment(found, named(found, "Deployment", "hanse-apiserver"))
    assert own["HANSE_APISERVER_ADVERTISE_ADDRESS"] == "192.0.2.7:30443"
    assert named(found, "Service", "hanse-names") == named(build("single"), "Service", "hanse-names")


def test_where_pods_run_and_how_images_come() -> None:
    """Every workload has the selector and the policy, every ServiceAccount the Secret."""
    found = made(node_selector="disk=ssd", image_pull_policy="Always", image_pull_secrets="pull")
    for each in of_kind(found, *deploy.WORKLOADS):
        assert pod(each)["spec"]["nodeSelector"] == {"disk": "ssd"}
        assert container(each)["imagePullPolicy"] == "Always"
    for each in of_kind(found, "ServiceAccount"):
        assert each["imagePullSecrets"] == [{"name": "pull"}]


def test_overrides_are_settings() -> None:
    """In the ConfigMap of the service, whose name changes with it, so that its Pods are new."""
    found = made(
        apiserver_arg_overrides="--event-ttl=60",
        controllermanager_arg_overrides="--syncer.lease-seconds=9",
    )
    syncer = named(found, "Deployment", "hanse-syncer")
    assert environment(found, syncer)["HANSE_SYNCER_LEASE_SECONDS"] == "9"
    assert changed(build("single"), found) == {
        "ConfigMap/hanse-apiserver",
        "ConfigMap/hanse-syncer",
        "Deployment/hanse-apiserver",
        "Deployment/hanse-syncer",
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_flags_together_are_valid(overlay: str) -> None:
    """Kubernetes' own schema has every field of what comes out."""
    found = made(
        federation="east",
        overlay=overlay,
        namespace="east",
        dns_zone_name="fed.example.com",
        image=IMAGE,
        image_pull_policy="Always",
        image_pull_secrets="pull",
        etcd_image="registry.example.org/etcd:v3.6.5",
        etcd_pv_capacity="40Gi",
        etcd_pv_storage_class="fast",
        api_server_service_type="NodePort",
        api_server_port=30443,
        api_server_advertise_address="192.0.2.7",
        node_selector="disk=ssd",
        apiserver_arg_overrides="--event-ttl=60",
        controllermanager_arg_overrides="--leader-ttl=9",
    )
    assert len(found) == len(build(overlay))
    for each in found:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
