"""Every overlay is fit for a cluster that takes nothing unsafe, and every setting in it exists."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from hanse_apiserver.settings import ApiserverSettings
from hanse_dns.settings import DnsSettings
from hanse_registry.settings import RegistrySettings
from hanse_scheduler.settings import SchedulerSettings
from hanse_syncer.settings import SyncerSettings

from hanse.installation import KEYS, certificates, secrets
from hanse.process.settings import ServiceSettings
from hanse.security.auth import server_name
from tests.deploy import generated
from tests.deploy.manifests import (
    COMPONENT,
    OVERLAYS,
    SERVICES,
    WORKLOADS,
    Manifest,
    build,
    container,
    environment,
    matches,
    mounts,
    named,
    needs_kubectl,
    of_kind,
    pod,
)

pytestmark = needs_kubectl
SETTINGS: dict[str, type[ServiceSettings]] = {
    each.service: each
    for each in (ApiserverSettings, RegistrySettings, SchedulerSettings, SyncerSettings, DnsSettings)
}
VARIANTS = (
    *((overlay,) for overlay in OVERLAYS),
    ("ha", "external-etcd"),
    ("single", "backup"),
    ("ha", "backup", "external-etcd"),
    ("ha", "cert-manager", "gateway", "monitoring"),
)
"""Overlays, with components."""
FOREIGN = {"cert-manager.io/v1", "gateway.networking.k8s.io/v1", "monitoring.coreos.com/v1"}
"""Kinds of others, of which Kubernetes has no schema; tests/real has their definitions."""


@pytest.fixture(params=VARIANTS, ids="+".join)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """An overlay, alone or with components."""
    return build(*request.param)


def workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    """What makes Pods, by component."""
    return {pod(each)["metadata"]["labels"][COMPONENT]: each for each in of_kind(manifests, *WORKLOADS)}


def unsafe(workload: Manifest) -> list[str]:
    """What a workload does not keep of the Pod security standard *restricted* and of our own rules."""
    spec = pod(workload)["spec"]
    whole, own = spec.get("securityContext", {}), container(workload).get("securityContext", {})
    rules = {
        "runs as root": not whole.get("runAsNonRoot") or whole.get("runAsUser", 0) == 0,
        "has no seccomp profile": whole.get("seccompProfile", {}).get("type") != "RuntimeDefault",
        "may gain privileges": own.get("allowPrivilegeEscalation") is not False or own.get("privileged"),
        "keeps capabilities": own.get("capabilities") != {"drop": ["ALL"]},
        "may write its root": not own.get("readOnlyRootFilesystem"),
        "uses the host": any(spec.get(each) for each in ("hostNetwork", "hostPID", "hostIPC")),
        "mounts the host": any("hostPath" in each for each in spec.get("volumes", ())),
        "has a token": spec.get("automountServiceAccountToken") is not False,
        "has links to Services": spec.get("enableServiceLinks") is not False,
        "is of no priority": not spec.get("priorityClassName"),
        "init containers are not looked at here": bool(spec.get("initContainers")),
    }
    return [rule for rule, broken in rules.items() if broken]


def test_pods_are_restricted(manifests: list[Manifest]) -> None:
    """No Pod has more than the standard *restricted* lets it, and its namespace enforces that."""
    assert {name: unsafe(each) for name, each in workloads(manifests).items() if unsafe(each)} == {}
    for namespace in of_kind(manifests, "Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_an_unsafe_pod_is_found(manifests: list[Manifest]) -> None:
    """The check of Pods can fail."""
    workload = workloads(manifests)["dns"]
    container(workload)["securityContext"]["privileged"] = True
    pod(workload)["spec"]["securityContext"]["runAsUser"] = 0
    pod(workload)["spec"]["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    assert unsafe(workload) == ["runs as root", "may gain privileges", "mounts the host"]


def test_each_workload_has_an_account_limits_and_a_fixed_image(manifests: list[Manifest]) -> None:
    """Requests and limits, a ServiceAccount of its own, an image with a tag that is not `latest`."""
    accounts: list[str] = []
    for each in workloads(manifests).values():
        resources = container(each)["resources"]
        assert {*resources["requests"]} == {*resources["limits"]} == {"cpu", "memory"}
        image = container(each)["image"]
        assert re.fullmatch(r".+(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})", image), image
        accounts.append(pod(each)["spec"]["serviceAccountName"])
        account = named(manifests, "ServiceAccount", accounts[-1])
        assert account["automountServiceAccountToken"] is False
    assert len(accounts) == len(set(accounts))


def test_each_service_has_probes_and_a_disruption_budget(manifests: list[Manifest]) -> None:
    """Startup, readiness and liveness over HTTP at the metrics' port; a budget that lets nodes drain."""
    budgets = list(of_kind(manifests, "PodDisruptionBudget"))
    for name, each in workloads(manifests).items():
        if each["kind"] in {"Job", "CronJob"}:
            continue
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container(each)[probe]["httpGet"]["port"] == "metrics"
        labels = pod(each)["metadata"]["labels"]
        (budget,) = (b for b in budgets if matches(b["spec"]["selector"], labels))
        assert budget["spec"]["maxUnavailable"] == 1, name
        spread = pod(each)["spec"]["topologySpreadConstraints"]
        assert all(matches(constraint["labelSelector"], labels) for constraint in spread)
        assert {c["topologyKey"] for c in spread} == {
            "kubernetes.io/hostname", "topology.kubernetes.io/zone"
        }  # fmt: skip
        assert matches(each["spec"]["selector"], labels)


def test_services_lead_to_ports_that_exist(manifests: list[Manifest]) -> None:
    """Each Service selects the Pods of one workload, and its ports are theirs."""
    for service in of_kind(manifests, "Service"):
        (target,) = (
            each
            for each in workloads(manifests).values()
            if matches({"matchLabels": service["spec"]["selector"]}, pod(each)["metadata"]["labels"])
        )
        ports = {(p["name"], p.get("protocol", "TCP")) for p in container(target)["ports"]}
        assert {(p["targetPort"], p["protocol"]) for p in service["spec"]["ports"]} <= ports


def test_names_are_served_over_udp_and_tcp(manifests: list[Manifest]) -> None:
    """Resolvers reach the name server over both at port 53, and it sees who they are where it is outside."""
    spec = named(manifests, "Service", "hanse-names")["spec"]
    assert {(port["port"], port["protocol"]) for port in spec["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert spec["externalTrafficPolicy"] == "Local"


def test_manifests_fit_the_schemas_of_kubernetes() -> None:
    """Each manifest has only fields that Kubernetes has, of their types."""
    every = [each for variant in VARIANTS for each in build(*variant)]
    different = {json.dumps(each, sort_keys=True): each for each in every}  # most are in several overlays
    for each in different.values():
        if each["apiVersion"] not in FOREIGN:
            kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def test_nothing_may_call_the_host_cluster(manifests: list[Manifest]) -> None:
    """No ServiceAccount that a Pod has is bound to a role."""
    used = {pod(each)["spec"]["serviceAccountName"] for each in workloads(manifests).values()}
    bound = {
        subject["name"]
        for binding in of_kind(manifests, "RoleBinding", "ClusterRoleBinding")
        for subject in binding["subjects"]
    }
    assert not used & bound


def test_manifests_are_in_one_namespace(manifests: list[Manifest]) -> None:
    """Whatever has a namespace has ours."""
    cluster = {"Namespace", "PriorityClass", "ClusterRole", "ClusterRoleBinding"}
    wrong = [
        each["metadata"]["name"]
        for each in manifests
        if (each["metadata"].get("namespace") != "hanse") != (each["kind"] in cluster)
    ]
    assert wrong == []


def settings(manifests: list[Manifest], service: str) -> Any:
    """The settings of a service, from the environment that it is given."""
    workload = workloads(manifests)[service]
    assert container(workload)["command"] == ["python", "-m", f"hanse_{service}"]
    return SETTINGS[service].load([], environment(manifests, workload))


@pytest.mark.parametrize("service", SERVICES)
def test_settings_are_accepted(manifests: list[Manifest], service: str) -> None:
    """A service takes the environment that it is given, with TLS on both sides and at its ports."""
    given = settings(manifests, service)
    assert given.tls is not None
    assert given.etcd_tls is not None
    ports = {p["name"]: p["containerPort"] for p in container(workloads(manifests)[service])["ports"]}
    listens = {"grpc": given.listen, "metrics": given.metrics_listen}
    listens |= {"https": given.https_listen} if service == "apiserver" else {}
    listens |= {"dns": given.dns_listen, "dns-tcp": given.dns_listen} if service == "dns" else {}
    assert {name: f"0.0.0.0:{port}" for name, port in ports.items()} == listens


def test_every_service_is_of_one_federation(manifests: list[Manifest]) -> None:
    """Name, suffix, etcd and its prefix are the same for all, from one ConfigMap."""
    fields = ("federation_name", "dns_suffix", "etcd_endpoints", "etcd_prefix")
    found = {tuple(getattr(settings(manifests, service), each) for each in fields) for service in SERVICES}
    assert len(found) == 1
    roles = environment(manifests, workloads(manifests)["etcd-roles"])
    ((_, _, endpoints, prefix),) = found
    assert (roles["ETCD_ENDPOINTS"], roles["ETCD_PREFIX"]) == (",".join(endpoints), prefix)


@pytest.mark.parametrize("service", SERVICES)
def test_files_that_are_named_are_mounted(manifests: list[Manifest], service: str, tmp_path: Path) -> None:
    """Each file in the settings is in a volume, from a Secret that the installation makes or a ConfigMap."""
    contents = {each["metadata"]["name"]: set(each["data"]) for each in secrets(tmp_path / "pki")}
    contents |= {each["metadata"]["name"]: set(each["data"]) for each in of_kind(manifests, "ConfigMap")}
    workload = workloads(manifests)[service]
    volumes, used = mounts(workload), {"/tmp"}
    for name, value in environment(manifests, workload).items():
        if not value.startswith("/etc/"):
            continue
        folder, _, file = value.rpartition("/")
        volume = volumes[folder]
        source = volume.get("secret", {}).get("secretName") or volume["configMap"]["name"]
        assert file in contents[source], name
        assert volume.get("secret", {}).get("defaultMode", 0o440) == 0o440
        used.add(folder)
    assert used == set(volumes), "something is mounted that no setting names"


def test_a_backup_has_what_its_command_names(tmp_path: Path) -> None:
    """Each file and folder in it is mounted: etcd's root, the keys that seal, and the key of the backup,
    which is the user's; it may write its volume and nothing else."""
    job = workloads(build("single", "backup"))["backup"]
    volumes = mounts(job)
    named_paths = {
        word.partition("=")[2] for word in container(job)["command"] if re.match(r"--[\w-]+=/", word)
    }
    assert {path for path in named_paths if path not in volumes} == {
        "/etc/hanse/backup-key/backup.key",
        *(f"/etc/hanse/etcd/{file}" for file in ("ca.crt", "tls.crt", "tls.key")),
    }
    made = {each["metadata"]["name"] for each in secrets(tmp_path / "pki")}
    used = {each["secret"]["secretName"] for each in volumes.values() if "secret" in each}
    projected = volumes["/etc/hanse/keys"]["projected"]["sources"]
    assert {each["secret"]["name"] for each in projected} == set(KEYS)
    assert used == {"hanse-etcd-root", "hanse-backup-key"}
    assert used - made == {"hanse-backup-key"}
    writable = {each["mountPath"] for each in container(job)["volumeMounts"] if not each.get("readOnly")}
    assert writable == {"/tmp", "/var/lib/hanse-backup"}


def test_no_secret_of_the_installation_is_left_over(tmp_path: Path) -> None:
    """What is issued is mounted somewhere; the user's certificate is in no Secret."""
    made = {each["metadata"]["name"] for each in secrets(tmp_path / "pki")}
    mounted = {
        volume["secret"]["secretName"]
        for each in workloads(build("ha")).values()
        for volume in mounts(each).values()
        if "secret" in volume
    }
    assert made == mounted


def test_a_lost_node_leaves_one_of_each() -> None:
    """The overlay `ha` has two or more of each service and three members of etcd, on different nodes."""
    manifests = build("ha")
    least = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["minReplicas"]
        for each in of_kind(manifests, "HorizontalPodAutoscaler")
    }
    for name, each in workloads(manifests).items():
        if each["kind"] == "Deployment":
            replicas = each["spec"].get("replicas")
            assert (replicas is None) == (each["metadata"]["name"] in least), "two would set replicas"
            assert (replicas or least[each["metadata"]["name"]]) >= 2, name
    etcd = workloads(manifests)["etcd"]
    assert etcd["spec"]["replicas"] == 3
    assert pod(etcd)["spec"]["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "DoNotSchedule"


@pytest.mark.parametrize(("overlay", "members"), [("single", 1), ("ha", 3)])
def test_members_of_etcd_know_each_other(overlay: str, members: int) -> None:
    """A new etcd has as many members as Pods, at names that its certificates have."""
    manifests = build(overlay)
    etcd = workloads(manifests)["etcd"]
    given = environment(manifests, etcd)
    initial = dict(each.split("=") for each in given["ETCD_INITIAL_CLUSTER"].split(","))
    assert set(initial) == {f"hanse-etcd-{number}" for number in range(etcd["spec"]["replicas"])}
    assert len(initial) == members
    names = {each.name: each.dns_names for each in certificates()}
    for name, url in initial.items():
        assert given["ETCD_INITIAL_ADVERTISE_PEER_URLS"].replace("$(ETCD_NAME)", name) == url
        assert url.removeprefix("https://").removesuffix(":2380") in names["hanse-etcd-peer"]
    assert given["ETCD_QUOTA_BACKEND_BYTES"] == str(settings(manifests, "apiserver").etcd_quota_bytes)


def test_apiservers_know_of_each_other() -> None:
    """There may be two at any time, in an update at least, so each reads what the other has written."""
    assert all(settings(build(overlay), "apiserver").shared for overlay in OVERLAYS)


def test_images_of_the_air_gapped_overlay_are_named_in_one_place() -> None:
    """All images are from the registry that one file names, and none is pulled that is there."""
    for each in workloads(build("air-gapped")).values():
        assert container(each)["image"].startswith("registry.internal/")
        assert container(each)["imagePullPolicy"] == "IfNotPresent"


def test_a_gateway_leads_each_name_to_its_service() -> None:
    """By the name that clients expect of a service they reach it, and pass their TLS through."""
    manifests = build("ha", "gateway")
    (gateway,) = of_kind(manifests, "Gateway")
    assert {each["tls"]["mode"] for each in gateway["spec"]["listeners"]} == {"Passthrough"}
    listeners = {each["name"]: each["port"] for each in gateway["spec"]["listeners"]}
    led: dict[tuple[int, str], str] = {}
    for route in of_kind(manifests, "TLSRoute"):
        (parent,), (rule,) = route["spec"]["parentRefs"], route["spec"]["rules"]
        ((backend,), (name,)) = rule["backendRefs"], route["spec"]["hostnames"]
        ports = named(manifests, "Service", backend["name"])["spec"]["ports"]
        assert backend["port"] in [each["port"] for each in ports]
        led[listeners[parent["sectionName"]], name] = backend["name"]
    grpc = {(7000, server_name(service)): f"hanse-{service}" for service in SERVICES}
    assert led == {(443, server_name("apiserver")): "hanse-api", **grpc}


def test_an_external_etcd_leaves_nothing_of_ours() -> None:
    """With the component external-etcd there is no etcd, and everybody goes to the endpoints."""
    manifests = build("ha", "external-etcd")
    assert "etcd" not in workloads(manifests)
    assert not [each for each in manifests if each["metadata"]["name"].startswith("hanse-etcd-peers")]
    assert settings(manifests, "syncer").etcd_endpoints[0] == "etcd-1.example.org:2379"


@pytest.mark.parametrize("path", generated.WRITTEN, ids=lambda path: path.name)
def test_what_is_generated_is_as_the_code_says(path: Path) -> None:
    """cert-manager's Certificates and the PrometheusRule follow from the code and the alert rules."""
    assert path.read_text() == generated.WRITTEN[path](), "run python -m tests.deploy.generated"
