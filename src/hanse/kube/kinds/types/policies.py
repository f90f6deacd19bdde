"""Types of what bounds and allows: quotas and limits, roles, priorities, runtimes, leases, nodes, storage.

Pure. Next: `hanse.kube.kinds.types.table`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from hanse.kube.kinds.types.checks import (
    Check,
    Given,
    Plain,
    amount,
    both,
    choice,
    each,
    longest,
    nothing,
    quantity,
    struct,
    text,
    unique,
    within,
)
from hanse.kube.kinds.types.metadata import LABELS
from hanse.kube.kinds.types.pods import overhead
from hanse.kube.kinds.types.resources import (
    QUOTA_RESOURCES,
    amount_errors,
    container_name_errors,
    may_be_overcommitted,
    name_errors,
    quota_name_errors,
)
from hanse.kube.kinds.types.volumes import driver_name
from hanse.kube.model.fielderrors import FieldError, duplicate, forbidden, invalid, not_supported, required
from hanse.kube.model.names import (
    label_problems,
    path_segment_problems,
    qualified_name_problems,
    subdomain_problems,
)
from hanse.kube.model.objects import mapping, sequence

_RBAC: Final = "rbac.authorization.k8s.io"
_SUBDOMAIN: Final = text(subdomain_problems)
_SCOPES: Final = ("BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating",
                  "PriorityClass", "Terminating", "VolumeAttributesClass")  # fmt: skip
_BARE_SCOPES: Final = frozenset(_SCOPES) - {"PriorityClass", "VolumeAttributesClass"}
HIGHEST_USER_PRIORITY: Final = 10**9
SYSTEM_PRIORITIES: Final = {
    "system-cluster-critical": 2 * HIGHEST_USER_PRIORITY,
    "system-node-critical": 2 * HIGHEST_USER_PRIORITY + 1000,
}
"""The PriorityClasses that each API server makes, and their values."""
_OPPOSITES: Final = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_MEASURED: Final = frozenset(
    {
        "cpu",
        "ephemeral-storage",
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "memory",
        "pods",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    }
)
_CLAIMED: Final = frozenset({"persistentvolumeclaims", "requests.storage"})
_LIMITED: Final = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
_LIMIT_TYPES: Final = ("Container", "PersistentVolumeClaim", "Pod")


def _limit(value: Any, where: str) -> Iterator[FieldError]:
    kind = value.get("type") or ""
    problems = qualified_name_problems(kind)
    for problem in problems:
        yield invalid(f"{where}.type", kind, problem)
    if not problems and "/" not in kind and kind not in _LIMIT_TYPES:
        yield invalid(f"{where}.type", kind, "must be a standard limit type or fully qualified")
    named = container_name_errors if kind in ("Pod", "Container") else name_errors
    for field in _LIMITED:
        amounts = mapping(value, field)
        if kind == "Pod" and field in ("default", "defaultRequest"):
            if amounts:
                yield forbidden(f"{where}.{field}", "may not be specified when `type` is 'Pod'")
            continue
        for name in amounts:
            yield from named(name, f"{where}.{field}[{name}]")
    if kind == "PersistentVolumeClaim" and not any(
        "storage" in mapping(value, field) for field in ("min", "max")
    ):
        message = "either minimum or maximum storage value is required, but neither was provided"
        yield required(f"{where}.limits", message)
    for name in sorted({name for field in _LIMITED for name in mapping(value, field)}):
        yield from _limits_of(value, where, name)


def _limits_of(value: Any, where: str, name: str) -> Iterator[FieldError]:
    found = {
        field: amount(mapping(value, field)[name]) for field in _LIMITED if name in mapping(value, field)
    }
    for less, more in (
        ("min", "max"), ("min", "defaultRequest"), ("defaultRequest", "max"), ("defaultRequest", "default"),
        ("min", "default"), ("default", "max"),
    ):  # fmt: skip
        low, high = found.get(less), found.get(more)
        if low is not None and high is not None and low > high:
            text_ = str(mapping(value, less)[name])
            yield invalid(f"{where}.{less}[{name}]", text_, f"{less} value is greater than {more} value")
    ratio = found.get("maxLimitRequestRatio")
    at = f"{where}.maxLimitRequestRatio[{name}]"
    if ratio is not None:
        if ratio < 10**9:
            yield invalid(at, str(ratio), "ratio is less than 1")
        low, high = found.get("min"), found.get("max")
        if low and high and ratio > high * 10**9 // low:
            yield invalid(at, str(ratio), "ratio is greater than max/min")
    default, asked = found.get("default"), found.get("defaultRequest")
    if None not in (default, asked) and default != asked and not may_be_overcommitted(name):
        at = f"{where}.defaultRequest[{name}]"
        yield invalid(at, asked, "default value must equal to defaultRequest value")


def _quota(value: Any, where: str) -> Iterator[FieldError]:
    hard = mapping(value, "hard")
    for name, said in hard.items():
        yield from quota_name_errors(name, f"{where}.hard[{name}]")
        yield from amount_errors(name, said, f"{where}.hard[{name}]")
    selected = sequence(value, "scopeSelector", "matchExpressions")
    for scopes, at in (
        (sequence(value, "scopes"), f"{where}.scopes"),
        ([each_.get("scopeName") for each_ in selected], f"{where}.scopeSelector.matchExpressions"),
    ):
        for scope in scopes:
            if scope not in _SCOPES:
                yield invalid(at, scope, "unsupported scope")
            for name in hard:
                if not _applies(scope, name):
                    yield invalid(at, scopes, "unsupported scope applied to resource")
        if any(pair <= set(scopes) for pair in _OPPOSITES):
            yield invalid(at, scopes, "conflicting scopes")


def _applies(scope: str, name: str) -> bool:
    """Report whether a scope may stand with a resource; what is not standard may with all."""
    if name not in QUOTA_RESOURCES:
        return True
    if scope == "VolumeAttributesClass":
        return name in _CLAIMED
    if scope == "BestEffort":
        return name == "pods"
    if scope in _SCOPES:
        return name in _MEASURED
    return True


def _scoped(value: Any, where: str) -> Iterator[FieldError]:
    scope, operator, values = value.get("scopeName"), value.get("operator"), value.get("values")
    if scope in _BARE_SCOPES and operator != "Exists":
        yield invalid(f"{where}.operator", operator, "must be 'Exists' when scope has no values")
    if operator in ("In", "NotIn"):
        if not values:
            message = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            yield required(f"{where}.values", message)
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            message = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            yield invalid(f"{where}.values", values, message)
    else:
        yield invalid(f"{where}.operator", operator, "not a valid selector operator")


def _subject(value: Any, where: str) -> Iterator[FieldError]:
    kind, group, name = value.get("kind"), value.get("apiGroup") or "", value.get("name")
    if kind == "ServiceAccount":
        if name:
            yield from _SUBDOMAIN(name, f"{where}.name")
        if group:
            yield not_supported(f"{where}.apiGroup", group, ("",))
    elif kind in ("User", "Group"):
        if group != _RBAC:
            yield not_supported(f"{where}.apiGroup", group, (_RBAC,))
    else:
        yield not_supported(f"{where}.kind", kind, ("ServiceAccount", "User", "Group"))


def _rule(value: Any, where: str) -> Iterator[FieldError]:
    if not value.get("verbs"):
        yield required(f"{where}.verbs", "verbs must contain at least one value")
    if value.get("nonResourceURLs"):
        if value.get("apiGroups") or value.get("resources") or value.get("resourceNames"):
            message = "rules cannot apply to both regular resources and non-resource URLs"
            yield invalid(f"{where}.nonResourceURLs", value["nonResourceURLs"], message)
        return
    if not value.get("apiGroups"):
        yield required(f"{where}.apiGroups", "resource rules must supply at least one api group")
    if not value.get("resources"):
        yield required(f"{where}.resources", "resource rules must supply at least one resource")


def _priority(value: Any, where: str) -> Iterator[FieldError]:
    name, number = mapping(value, "metadata").get("name") or "", value.get("value") or 0
    if name.startswith("system-"):
        if trouble := _not_of_system(name, number, value.get("globalDefault") or False):
            message = "priority class names with 'system-' prefix are reserved for system use only. error: "
            yield forbidden("metadata.name", message + trouble)
    elif number > HIGHEST_USER_PRIORITY:
        message = f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"
        yield forbidden("value", message)


def _not_of_system(name: str, number: Any, is_default: bool) -> str:
    """Return why a PriorityClass is none of those that each API server makes; "" if it is one."""
    if name not in SYSTEM_PRIORITIES:
        return f"{name} is not a known system priority class"
    if number != SYSTEM_PRIORITIES[name]:
        return f"value of {name} PriorityClass must be {SYSTEM_PRIORITIES[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if is_default else ""


def _taints(value: Any, where: str) -> Iterator[FieldError]:
    seen: list[tuple[Any, Any]] = []
    for index, taint in enumerate(value):
        key = (taint.get("key"), taint.get("effect"))
        if key in seen:
            yield duplicate(f"{where}[{index}]", taint)
        seen.append(key)


def _attachment(value: Any, where: str) -> Iterator[FieldError]:
    inline, name = value.get("inlineVolumeSpec"), value.get("persistentVolumeName")
    message = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and name is None:
        yield required(where, message)
    elif inline is not None and name is not None:
        yield forbidden(where, message)
    elif name:
        yield from _SUBDOMAIN(name, f"{where}.persistentVolumeName")
    elif name == "":
        yield required(f"{where}.persistentVolumeName", "must specify non empty persistentVolumeName")
    elif inline is not None and mapping(inline).get("csi") is None:
        yield required(
            f"{where}.inlineVolumeSpec.csi", "has to be specified in the context of inline volumes"
        )


def _provisioner(value: Any, where: str) -> Iterator[FieldError]:
    for problem in qualified_name_problems(value.lower()):
        yield invalid(where, value, problem)


def _parameters(value: Any, where: str) -> Iterator[FieldError]:
    if len(value) > 512:
        yield FieldError(where, "FieldValueTooLong", "may not be more than 512 bytes")
    if "" in value:
        yield invalid(where, "", "field can not be empty.")
    if sum(len(k) + len(str(v)) for k, v in value.items()) > 256 * 1024:
        yield FieldError(where, "FieldValueTooLong", f"may not be more than {256 * 1024} bytes")


_MODES: Final = ("Ephemeral", "Persistent")
_NODE_DRIVER: Final = struct(needs="name nodeID", name=driver_name, nodeID=longest(192))

TYPES: Final[dict[str, Check]] = {
    "coordination.v1.LeaseSpec": struct(
        leaseDurationSeconds=Given(within(1, message="must be greater than 0")),
        leaseTransitions=within(0),
    ),
    "core.v1.LimitRangeItem": struct(_limit),
    "core.v1.LimitRangeSpec": struct(limits=unique("type")),
    "core.v1.NodeConfigSource": nothing,
    "core.v1.NodeSpec": struct(taints=_taints),
    "core.v1.ResourceQuotaSpec": struct(_quota),
    "core.v1.ScopedResourceSelectorRequirement": struct(_scoped),
    "core.v1.TopologySelectorLabelRequirement": struct(
        needs="values", key=Plain(text(qualified_name_problems)),
        values=each(nothing, unique=True),
    ),
    "node.v1.Overhead": struct(podFixed=overhead),
    "node.v1.RuntimeClass": struct(needs="handler", handler=text(label_problems)),
    "node.v1.Scheduling": struct(
        nodeSelector=LABELS, tolerations=unique("key", "operator", "value", "effect")
    ),
    "scheduling.v1.PriorityClass": struct(
        _priority, preemptionPolicy=Given(choice("Never", "PreemptLowerPriority"))
    ),
    "rbac.v1.PolicyRule": struct(_rule),
    "rbac.v1.RoleRef": struct(
        needs="name", apiGroup=Plain(choice(_RBAC)), kind=Plain(choice("ClusterRole", "Role")),
        name=text(path_segment_problems),
    ),
    "rbac.v1.AggregationRule": struct(needs="clusterRoleSelectors"),
    "rbac.v1.Subject": struct(_subject, needs="name"),
    "storage.v1.CSIDriverSpec": struct(
        fsGroupPolicy=Given(choice("File", "None", "ReadWriteOnceWithFSType")),
        volumeLifecycleModes=each(choice(*_MODES)),
        tokenRequests=unique("audience"),
        nodeAllocatableUpdatePeriodSeconds=Given(within(10)),
    ),
    "storage.v1.CSINodeDriver": both(
        _NODE_DRIVER, struct(topologyKeys=each(text(qualified_name_problems), unique=True))
    ),
    "storage.v1.CSINodeSpec": struct(drivers=unique("name")),
    "storage.v1.CSIStorageCapacity": struct(
        storageClassName=Plain(_SUBDOMAIN), capacity=quantity()
    ),
    "storage.v1.StorageClass": struct(
        needs="provisioner",
        provisioner=_provisioner,
        parameters=_parameters,
        reclaimPolicy=choice("Delete", "Retain"),
        volumeBindingMode=Given(choice("Immediate", "WaitForFirstConsumer")),
    ),
    "storage.v1.TokenRequest": struct(expirationSeconds=Given(within(600, 2**32))),
    "storage.v1.VolumeAttachmentSource": struct(_attachment),
    "storage.v1.VolumeAttachmentSpec": struct(
        needs="attacher source", attacher=driver_name, nodeName=Plain(_SUBDOMAIN)
    ),
    "storage.v1.VolumeAttributesClass": struct(
        needs="driverName parameters", driverName=driver_name, parameters=_parameters
    ),
    "storage.v1.VolumeNodeResources": struct(count=within(0)),
}  # fmt: skip
"""The checks of these types, by their short names."""
