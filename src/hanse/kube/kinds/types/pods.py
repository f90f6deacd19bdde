"""Types of whole Pods: what containers, volumes and settings of one Pod must have to do with each other.

Pure. `pod_spec` is told which `volumes` there are besides the Pod's own: a StatefulSet's claims. Next:
`hanse.kube.kinds.types.table`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from hanse.kube.kinds.kubernetes import apps
from hanse.kube.kinds.types.affinity import spreads
from hanse.kube.kinds.types.checks import (
    MAX_INT32,
    Check,
    Given,
    Plain,
    address,
    amount,
    choice,
    each,
    nothing,
    one_of,
    struct,
    text,
    unique,
    within,
)
from hanse.kube.kinds.types.containers import PROBES, USER, probes_errors
from hanse.kube.kinds.types.metadata import LABELS
from hanse.kube.kinds.types.resources import container_resources, requirements_errors
from hanse.kube.model.fielderrors import FieldError, duplicate, forbidden, invalid, not_supported, required
from hanse.kube.model.names import label_problems, qualified_name_problems, subdomain_problems
from hanse.kube.model.objects import mapping, sequence

_LABEL: Final = text(label_problems)
_SUBDOMAIN: Final = text(subdomain_problems)
_QUALIFIED: Final = text(qualified_name_problems)
_CONTAINERS: Final = ("containers", "initContainers", "ephemeralContainers")
_PART: Final = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL: Final = re.compile(rf"({_PART}[./])*{_PART}")
_SOURCES: Final = (
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "configMap", "csi", "downwardAPI",
    "emptyDir", "ephemeral", "fc", "flexVolume", "flocker", "gcePersistentDisk", "gitRepo", "glusterfs",
    "hostPath", "image", "iscsi", "nfs", "persistentVolumeClaim", "photonPersistentDisk", "portworxVolume",
    "projected", "quobyte", "rbd", "scaleIO", "secret", "storageos", "vsphereVolume",
)  # fmt: skip
_WINDOWS_POD: Final = ("appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup",
                       "fsGroupChangePolicy", "sysctls", "runAsUser", "runAsGroup", "supplementalGroups",
                       "supplementalGroupsPolicy")  # fmt: skip
_WINDOWS_CONTAINER: Final = ("appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities",
                             "readOnlyRootFilesystem", "privileged", "allowPrivilegeEscalation", "procMount",
                             "runAsUser", "runAsGroup")  # fmt: skip


def claims_of(obj: Any) -> tuple[str, ...] | None:
    """Return the names of the volumes that a StatefulSet makes for each of its Pods; None for other kinds."""
    if not apps.STATEFUL_SET.matches(obj):
        return None
    templates = sequence(obj, "spec", "volumeClaimTemplates")
    return tuple(name for each_ in templates if (name := mapping(each_, "metadata").get("name")))


def pod_spec(
    value: Any, where: str, *, volumes: tuple[str, ...] | None = None, is_pod: bool = False
) -> Iterator[FieldError]:
    """Yield what is wrong between the parts of a Pod spec. `is_pod` tells a Pod from a template of Pods.

    `volumes` are those that a StatefulSet adds, which names its Pods itself; None for every other owner.
    """
    given = sequence(value, "volumes")
    known = {str(each_.get("name")): each_ for each_ in given} | {
        name: {"persistentVolumeClaim": {}} for name in volumes or ()
    }
    if not sequence(value, "containers"):
        yield required(f"{where}.containers")
    names: set[str] = set()
    for field in _CONTAINERS:
        for index, item in enumerate(sequence(value, field)):
            at = f"{where}.{field}[{index}]"
            name = item.get("name")
            if name and name in names:
                yield duplicate(f"{at}.name", name)
            names.add(name)
            yield from _mounted(item, at, known)
            yield from _sort_of_container(item, at, field)
            yield from _of_the_pod(item, at, value)
    yield from _host_ports(value, where, is_pod=is_pod)
    yield from _settings(value, where)
    yield from _host_process(value, where)
    yield from _operating_system(value, where)
    if volumes is None:
        yield from struct(hostname=_LABEL, subdomain=_LABEL)(value, where)


def _mounted(item: Any, at: str, known: dict[str, Any]) -> Iterator[FieldError]:
    for index, mount in enumerate(sequence(item, "volumeMounts")):
        if mount.get("name") and mount["name"] not in known:
            yield FieldError(f"{at}.volumeMounts[{index}].name", "FieldValueNotFound", "", mount["name"])
    for index, device in enumerate(sequence(item, "volumeDevices")):
        name, path = device.get("name"), f"{at}.volumeDevices[{index}].name"
        if name and name not in known:
            yield FieldError(path, "FieldValueNotFound", "", name)
        elif name and not {"persistentVolumeClaim", "ephemeral"} & known[name].keys():
            message = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield invalid(path, name, message)
    names = [device.get("name") for device in sequence(item, "volumeDevices")]
    for index, name in enumerate(names):
        if name and name in names[:index]:
            yield invalid(f"{at}.volumeDevices[{index}].name", name, "must be unique")


def _sort_of_container(item: Any, at: str, field: str) -> Iterator[FieldError]:
    sidecar = item.get("restartPolicy") == "Always"
    if field == "initContainers" and not sidecar:
        for name in ("lifecycle", *PROBES):
            if item.get(name) is not None:
                message = "may not be set for init containers without restartPolicy=Always"
                yield forbidden(f"{at}.{name}", message)
        for index, policy in enumerate(sequence(item, "resizePolicy")):
            if policy.get("restartPolicy") == "RestartContainer":
                message = "must not be set to 'RestartContainer' for non-sidecar initContainers"
                yield invalid(f"{at}.resizePolicy[{index}].restartPolicy", "RestartContainer", message)
    elif field != "ephemeralContainers":
        yield from probes_errors(item, at)


def _of_the_pod(item: Any, at: str, pod: Any) -> Iterator[FieldError]:
    grace = pod.get("terminationGracePeriodSeconds")
    for name in ("postStart", "preStop"):
        seconds = mapping(item, "lifecycle", name, "sleep").get("seconds")
        if seconds is not None and isinstance(grace, int) and not 0 <= seconds <= max(grace, 1):
            message = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
            yield invalid(f"{at}.lifecycle.{name}.sleep", seconds, message)
    claims = {claim.get("name"): claim for claim in sequence(pod, "resourceClaims")}
    seen: set[tuple[Any, Any]] = set()
    for index, claim in enumerate(sequence(item, "resources", "claims")):
        path = f"{at}.resources.claims[{index}]"
        key = (claim.get("name"), claim.get("request"))
        if not key[0]:
            yield required(path)
        elif key in seen:
            yield duplicate(path, key[0])
        elif key[0] not in claims:
            yield FieldError(path, "FieldValueNotFound", "", key[0])
        seen.add(key)
    if mapping(item, "securityContext").get("procMount") == "Unmasked" and pod.get("hostUsers") is not False:
        message = "`hostUsers` must be false to use `Unmasked`"
        yield invalid(f"{at}.securityContext.procMount", "Unmasked", message)
    if pod.get("restartPolicy") == "Never":
        for policy in sequence(item, "resizePolicy"):
            if policy.get("restartPolicy") != "NotRequired":
                message = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
                yield invalid(f"{at}.resizePolicy", policy.get("restartPolicy"), message)


def _host_ports(value: Any, where: str, *, is_pod: bool) -> Iterator[FieldError]:
    seen: set[tuple[Any, ...]] = set()
    for index, item in enumerate(sequence(value, "containers")):
        for number, port in enumerate(sequence(item, "ports")):
            at = f"{where}.containers[{index}].ports[{number}].hostPort"
            host = port.get("hostPort") or 0
            if value.get("hostNetwork") and (is_pod or host) and host != port.get("containerPort"):
                yield invalid(at, host, "must match `containerPort` when `hostNetwork` is true")
            key = (port.get("protocol", "TCP"), port.get("hostIP") or "", host)
            if host and key in seen:
                yield duplicate(at, f"{key[0]}/{key[1]}/{host}")
            seen.add(key)


def _host_process(value: Any, where: str) -> Iterator[FieldError]:
    of_pod = mapping(value, "securityContext", "windowsOptions").get("hostProcess")
    chosen = [
        of_pod if said is None else said
        for field in _CONTAINERS
        for item in sequence(value, field)
        for said in [mapping(item, "securityContext", "windowsOptions").get("hostProcess")]
    ]
    if any(chosen):
        if not all(chosen):
            message = "If pod contains any hostProcess containers then all must be HostProcess containers"
            yield invalid(where, "", message)
        if not value.get("hostNetwork"):
            message = "hostNetwork must be true if pod contains any hostProcess containers"
            yield invalid(f"{where}.hostNetwork", False, message)


def _settings(value: Any, where: str) -> Iterator[FieldError]:
    config = mapping(value, "dnsConfig")
    if value.get("dnsPolicy") == "None":
        if value.get("dnsConfig") is None:
            yield required(f"{where}.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None")
        elif not config.get("nameservers"):
            message = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield required(f"{where}.dnsConfig.nameservers", message)
    account, old = value.get("serviceAccountName"), value.get("serviceAccount")
    if account and old and account != old:
        message = f'must be the same as serviceAccountName: "{account}"'
        yield invalid(f"{where}.deprecatedServiceAccount", old, message)
    if value.get("hostnameOverride") is not None:
        for name in ("hostNetwork", "setHostnameAsFQDN"):
            if value.get(name):
                yield forbidden(f"{where}.hostnameOverride", f"may not be specified when {name} is true")
    yield from _host(value, where)
    yield from _sysctls(value, where)
    yield from _pod_resources(value, where)


def _host(value: Any, where: str) -> Iterator[FieldError]:
    if value.get("shareProcessNamespace") and value.get("hostPID"):
        message = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid(f"{where}.shareProcessNamespace", True, message)
    if value.get("hostUsers") is not False:
        return
    for name, shown in (("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if value.get(name):
            yield forbidden(f"{where}.{shown}", "when `hostUsers` is false")
    for field in _CONTAINERS:
        for index, item in enumerate(sequence(value, field)):
            if item.get("volumeDevices"):
                at = f"{where}.{field}[{index}].volumeDevices"
                yield forbidden(at, "when `hostUsers` is false")


_OF_THE_HOST: Final = (
    ("hostNetwork", ("net.",)),
    ("hostIPC", ("fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm")),
)


def _sysctls(value: Any, where: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, sysctl in enumerate(sequence(value, "securityContext", "sysctls")):
        name = sysctl.get("name") or ""
        at = f"{where}.securityContext.sysctls[{index}].name"
        if name and name in seen:
            yield duplicate(at, name)
        seen.add(name)
        for host, prefixes in _OF_THE_HOST:
            if value.get(host) and name.replace("/", ".").startswith(prefixes):
                yield invalid(at, name, f"may not be specified when '{host}' is true")


def _pod_resources(value: Any, where: str) -> Iterator[FieldError]:
    resources = mapping(value, "resources")
    for field in ("limits", "requests"):
        for name in mapping(resources, field):
            if name not in ("cpu", "memory") and not name.startswith("hugepages-"):
                message = "unsupported resources; only cpu, memory and hugepages are supported at pod-level"
                yield invalid(f"{where}.resources.{field}[{name}]", name, message)
    if "claims" in resources:
        yield forbidden(f"{where}.resources.claims", "claims may not be set for Resources at pod-level")
    yield from requirements_errors(resources, f"{where}.resources")
    yield from _consistent(value, resources, where)


def _consistent(pod: Any, resources: Any, where: str) -> Iterator[FieldError]:
    """Yield where containers together want more than their Pod."""
    for field in ("requests", "limits"):
        for name, said in mapping(resources, field).items():
            most = amount(said)
            asked = [
                amount(mapping(item, "resources", field).get(name, "0")) or 0
                for item in sequence(pod, "containers")
            ]
            if most is None:
                continue
            if field == "requests" and sum(asked) > most:
                message = f"must be greater than or equal to aggregate container requests of {name}"
                yield invalid(f"{where}.resources.requests[{name}]", str(said), message)
            if field == "limits" and any(each_ > most for each_ in asked):
                message = f"{name} limit of a container must be less than or equal to the pod limit"
                yield invalid(f"{where}.resources.limits[{name}]", str(said), message)


def _operating_system(value: Any, where: str) -> Iterator[FieldError]:
    system = mapping(value, "os").get("name")
    if value.get("os") is None:
        return
    if not system:
        yield required(f"{where}.os.name")
    elif system not in ("linux", "windows"):
        yield not_supported(f"{where}.os", system, ("linux", "windows"))
    owners = [(mapping(value, "securityContext"), f"{where}.securityContext", _WINDOWS_POD)] + [
        (mapping(item, "securityContext"), f"{where}.{field}[{index}].securityContext", _WINDOWS_CONTAINER)
        for field in _CONTAINERS
        for index, item in enumerate(sequence(value, field))
    ]
    for context, at, names in owners:
        if system == "linux" and context.get("windowsOptions") is not None:
            message = "windows options cannot be set for a linux pod"
            yield forbidden(f"{at}.windowsOptions", message)
        for name in names if system == "windows" else ():
            if context.get(name) is not None:
                yield forbidden(f"{at}.{name}", "cannot be set for a windows pod")
    if system == "windows":
        for name in ("hostPID", "hostIPC", "shareProcessNamespace", "resources"):
            if value.get(name):
                yield forbidden(f"{where}.{name}", "cannot be set for a windows pod")
        if value.get("hostUsers") is not None:
            yield forbidden(f"{where}.hostUsers", "cannot be set for a windows pod")


def _runs(value: Any, where: str) -> Iterator[FieldError]:
    for group, item in enumerate(sequence(value, "supplementalGroups")):
        yield from USER(item, f"{where}.supplementalGroups[{group}]")


def _searches(value: Any, where: str) -> Iterator[FieldError]:
    if len(value) > 32:
        yield invalid(where, value, "must not have more than 32 search paths")
    if len(" ".join(value)) > 2048:
        yield invalid(where, value, "must not have more than 2048 characters (including spaces)")
    for index, item in enumerate(value):
        name = item.removesuffix(".") if item != "." else "x"
        labels = [part.removeprefix("_") for part in name.split(".")]
        for problem in subdomain_problems(".".join(labels).replace("_", "-")):
            yield invalid(f"{where}[{index}]", item, problem)


def _nameservers(value: Any, where: str) -> Iterator[FieldError]:
    if len(value) > 3:
        yield invalid(where, value, "must not have more than 3 nameservers")
    yield from each(address)(value, where)


def _override(value: Any, where: str) -> Iterator[FieldError]:
    yield from _SUBDOMAIN(value, where)
    if len(value) > 64:
        yield FieldError(where, "FieldValueTooLong", "may not be more than 64 bytes")


def overhead(value: Any, where: str) -> Iterator[FieldError]:
    """Yield what is wrong with the resources that running a Pod takes by itself."""
    yield from container_resources({"limits": value}, where)


def _sysctl(value: Any, where: str) -> Iterator[FieldError]:
    if len(value) > 253 or not _SYSCTL.fullmatch(value):
        yield invalid(where, value, "must have at most 253 characters and match the form of a sysctl")


def _resource_claim(value: Any, where: str) -> Iterator[FieldError]:
    name, template = value.get("resourceClaimName"), value.get("resourceClaimTemplateName")
    both = "`resourceClaimName` or `resourceClaimTemplateName`"
    if name is not None and template is not None:
        yield invalid(where, value, f"at most one of {both} may be specified")
    elif name is None and template is None:
        yield invalid(where, value, f"must specify one of: {both.replace(' or', ',')}")


TYPES: Final[dict[str, Check]] = {
    "core.v1.EvictionResponder": nothing,
    "core.v1.HostAlias": struct(ip=Given(address), hostnames=each(_SUBDOMAIN), needs="ip"),
    "core.v1.PodDNSConfig": struct(nameservers=_nameservers, searches=_searches),
    "core.v1.PodDNSConfigOption": struct(needs="name"),
    "core.v1.PodReadinessGate": struct(conditionType=Plain(_QUALIFIED)),
    "core.v1.PodResourceClaim": struct(
        _resource_claim,
        needs="name",
        name=_LABEL,
        resourceClaimName=Given(_SUBDOMAIN),
        resourceClaimTemplateName=Given(_SUBDOMAIN),
    ),
    "core.v1.PodSchedulingGate": struct(name=Plain(_QUALIFIED)),
    "core.v1.PodSecurityContext": struct(
        _runs,
        fsGroup=USER,
        runAsUser=USER,
        runAsGroup=USER,
        fsGroupChangePolicy=Given(choice("Always", "OnRootMismatch")),
        supplementalGroupsPolicy=Given(choice("Merge", "Strict")),
        seLinuxChangePolicy=Given(choice("MountOption", "Recursive")),
    ),
    "core.v1.PodSpec": struct(
        volumes=unique("name"),
        restartPolicy=choice("Always", "Never", "OnFailure"),
        dnsPolicy=choice("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
        nodeSelector=LABELS,
        schedulingGates=unique("name"),
        topologySpreadConstraints=spreads,
        serviceAccountName=_SUBDOMAIN,
        nodeName=_SUBDOMAIN,
        activeDeadlineSeconds=Given(within(1, MAX_INT32, "must be between 1 and 2147483647, inclusive")),
        hostnameOverride=Given(_override),
        overhead=overhead,
        priorityClassName=_SUBDOMAIN,
        runtimeClassName=Given(_SUBDOMAIN),
        preemptionPolicy=Given(choice("Never", "PreemptLowerPriority")),
        resourceClaims=unique("name"),
    ),
    "core.v1.Sysctl": struct(needs="name", name=_sysctl),
    "core.v1.Volume": struct(
        one_of(*_SOURCES, message="must specify a volume type",
               found="may not specify more than 1 volume type"),
        needs="name",
        name=_LABEL,
    ),
}  # fmt: skip
"""The checks of these types, by their short names."""
