"""What belongs to a cluster itself: the law that no policy, annotation, placement or adoption overrides.

Owns the law, by name and by what an object carries. By name: the namespaces `default` and `kube-*` and all
that is in the latter, nodes and other kinds that only clusters make, and what each cluster has from its
start. By what it carries: what a controller of the cluster made, and what its API server keeps as it is.
Whoever asks gets the reason as a phrase, or "" for what does not belong to the cluster.

What is made for an owner (`metadata.ownerReferences` with `controller: true`) belongs to each cluster that
has the owner, and whose controllers make it. An operator can run against the federation as well: what it
makes for an owner that is in no member goes where a policy sends it, without its owner, which a member would
miss and collect it for. Of owners that Kubernetes' own controllers make something for there is no doubt.

Pure functions; an answer depends on nothing but the arguments. Next: `hanse_scheduler.decide.decision`, which
never selects what belongs to clusters, and `hanse_syncer.act.reconciler`, which never touches it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from hanse.kube.kinds.kubernetes import (
    apps,
    batch,
    core,
    extensions,
    networking,
    scheduling,
    security,
    storage,
)
from hanse.kube.model.objects import (
    Object,
    annotations_of,
    child,
    labels_of,
    mapping,
    name_of,
    namespace_of,
    sequence,
)

_NAMESPACE: Final = "default"
_PREFIX: Final = "kube-"
"""Namespaces that every cluster has: `default`, and whatever starts with `kube-`."""

_GROUPS: Final = frozenset(
    {
        "apidiscovery.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "coordination.k8s.io",
        "custom.metrics.k8s.io",
        "events.k8s.io",
        "external.metrics.k8s.io",
        "internal.apiserver.k8s.io",
        "metrics.k8s.io",
    }
)
"""Groups of which all that there is speaks of one cluster, or of one moment in it."""

_RESOURCES: Final = frozenset(
    {
        core.BINDING.group_plural,
        ("", "componentstatuses"),
        core.EVENT.group_plural,
        core.NODE.group_plural,
        apps.CONTROLLER_REVISION.group_plural,
        security.POD_CERTIFICATE_REQUEST.group_plural,
        networking.IP_ADDRESS.group_plural,
        scheduling.RESOURCE_SLICE.group_plural,
        storage.CSI_NODE.group_plural,
        storage.CSI_STORAGE_CAPACITY.group_plural,
        storage.VOLUME_ATTACHMENT.group_plural,
    }
)
"""Resources of other groups of which the same is true."""

_IN_EACH_NAMESPACE: Final = frozenset(
    {(*core.CONFIG_MAP.group_plural, "kube-root-ca.crt"), (*core.SERVICE_ACCOUNT.group_plural, "default")}
)
"""What each namespace of each cluster has by itself."""

_KUBERNETES: Final = frozenset(
    {core.SERVICE.group_plural, core.ENDPOINTS.group_plural, networking.ENDPOINT_SLICE.group_plural}
)
"""Resources of which each cluster has `kubernetes` in `default`: the way to its API server."""

_RBAC: Final = "rbac.authorization.k8s.io"
_FLOWS: Final = "flowcontrol.apiserver.k8s.io"
_BOOTSTRAP: Final = frozenset(
    {
        *((*security.CLUSTER_ROLE.group_plural, name) for name in ("admin", "cluster-admin", "edit", "view")),
        (*security.CLUSTER_ROLE_BINDING.group_plural, "cluster-admin"),
        *(
            (*scheduling.FLOW_SCHEMA.group_plural, name)
            for name in (
                "catch-all", "endpoint-controller", "exempt", "global-default", "kube-controller-manager",
                "kube-scheduler", "kube-system-service-accounts", "probes", "service-accounts",
                "system-leader-election", "system-node-high", "system-nodes", "workload-leader-election",
            )
        ),
        *(
            (*scheduling.PRIORITY_LEVEL_CONFIGURATION.group_plural, name)
            for name in (
                "catch-all", "exempt", "global-default", "leader-election", "node-high", "system",
                "workload-high", "workload-low",
            )
        ),
        (*networking.SERVICE_CIDR.group_plural, "kubernetes"),
    }
)  # fmt: skip
"""What an API server makes when it starts, and makes again."""

_BOOTSTRAP_PREFIXES: Final = (
    ((_RBAC, ""), "system:"),
    (scheduling.PRIORITY_CLASS.group_plural, "system-"),
    (security.CLUSTER_TRUST_BUNDLE.group_plural, "kubernetes.io:"),
)
"""A resource (all of the group if empty), and the beginning of names that Kubernetes keeps for itself."""

_KUBEADM: Final = "kubeadm:"
"""How the names of the roles and bindings begin by which kubeadm lets nodes and administrators in."""

_KEPT_BY_API_SERVER: Final = {
    "rbac.authorization.kubernetes.io/autoupdate": "true",
    "apf.kubernetes.io/autoupdate-spec": "true",
}
"""Annotations of what an API server brings back to what it was."""

_LABELS: Final = (
    (core.ENDPOINTS.group_plural, "endpoints.kubernetes.io/managed-by", ("endpoint-controller",)),
    (
        networking.ENDPOINT_SLICE.group_plural,
        "endpointslice.kubernetes.io/managed-by",
        ("endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"),
    ),
    ((_RBAC, ""), "kubernetes.io/bootstrapping", ("rbac-defaults",)),
    (
        extensions.API_SERVICE.group_plural,
        "kube-aggregator.kubernetes.io/automanaged",
        ("onstart", "true"),
    ),
)
"""A resource (all of the group if empty), a label, and its values on what the cluster itself made."""

_MARKED_GROUPS: Final = frozenset({"apiregistration.k8s.io", "certificates.k8s.io", _FLOWS, _RBAC})
_MARKED: Final = frozenset(
    {
        core.ENDPOINTS.group_plural,
        core.PERSISTENT_VOLUME.group_plural,
        core.POD.group_plural,
        networking.ENDPOINT_SLICE.group_plural,
    }
)
"""Where what is made by clusters is told by what it carries; of Secrets, where no name does, by the type."""

_TRIGGER: Final = "endpoints.kubernetes.io/last-change-trigger-time"
_PROVISIONED: Final = "pv.kubernetes.io/provisioned-by"
_ACCOUNT: Final = "kubernetes.io/service-account.name"
_ACCOUNT_UID: Final = "kubernetes.io/service-account.uid"
_TOKEN_TYPE: Final = "kubernetes.io/service-account-token"  # noqa: S105 - the name of a type
_TOKEN_SUFFIX: Final = re.compile(r"-token-[bcdfghjklmnpqrstvwxz2456789]{5}")
"""How Kubernetes before 1.24 named the token of each ServiceAccount; the letters are of its generator."""

_KUBELET_SIGNERS: Final = frozenset(
    {
        "kubernetes.io/kube-apiserver-client-kubelet",
        "kubernetes.io/kubelet-serving",
    }
)


_MADE_IN_EACH_CLUSTER: Final = frozenset(
    kind.group_kind
    for kind in (
        apps.DAEMON_SET,
        apps.DEPLOYMENT,
        apps.REPLICA_SET,
        apps.STATEFUL_SET,
        batch.CRON_JOB,
        batch.JOB,
        core.NODE,
        core.REPLICATION_CONTROLLER,
        core.SERVICE,
    )
)
"""Kinds of owners whose controllers every cluster has."""


@dataclass(frozen=True, slots=True)
class ControllingOwner:
    """The object that another is made for, as its ownerReference names it."""

    group: str
    kind: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def operators_owner(obj: Object) -> ControllingOwner | None:
    """Return the owner of an object that an operator may have made here; None if there is none.

    None as well for what is made in each cluster, and for a reference that names no object.
    """
    for each in sequence(mapping(obj, "metadata"), "ownerReferences"):
        if not child(each, "controller"):
            continue
        version, kind, name, uid = (child(each, field) for field in ("apiVersion", "kind", "name", "uid"))
        if not all(isinstance(text, str) and text for text in (version, kind, name, uid)):
            return None
        group = version.rpartition("/")[0]
        return None if (group, kind) in _MADE_IN_EACH_CLUSTER else ControllingOwner(group, kind, name, uid)
    return None


def made_for(owner: object) -> str:
    """Return why what is made for an owner that clusters have belongs to them."""
    return f"a controller makes it for the {owner}"


def is_system_namespace(name: str) -> bool:
    """Report whether every cluster has this namespace of its own."""
    return name == _NAMESPACE or name.startswith(_PREFIX)


def is_told_by_content(group: str, resource: str) -> bool:
    """Report whether objects of the resource can belong to a cluster by what they carry besides an owner.

    Whoever is to write one has to read it first.
    """
    return group in _MARKED_GROUPS or (group, resource) in _MARKED


def by_name(group: str, resource: str, *, namespace: str, name: str) -> str:
    """Return why an object of that name belongs to each cluster, as a phrase; "" if it does not.

    `group` is "" for core, `namespace` "" for cluster scope.
    """
    if (group, resource) == core.NAMESPACE.group_plural:
        return f"every cluster has a namespace {name} of its own" if is_system_namespace(name) else ""
    if group in _GROUPS or (group, resource) in _RESOURCES:
        return f"only the cluster itself makes {resource}"
    if namespace.startswith(_PREFIX):
        return f"what is in namespace {namespace} is the cluster's own"
    if (group, resource, name) in _IN_EACH_NAMESPACE:
        return f"every cluster has a {name} of its own in each namespace"
    if (group, resource) in _KUBERNETES and (namespace, name) == (_NAMESPACE, "kubernetes"):
        return "it is the way to the cluster's own API server"
    if (group, resource, name) in _BOOTSTRAP or name.startswith(_prefixes(group, resource)):
        return f"each API server has {name} of its own from its start"
    if group == _RBAC and name.startswith(_KUBEADM):
        return f"kubeadm made {name} for the cluster itself"
    return ""


def of(group: str, resource: str, obj: Object, *, controlled: bool = True) -> str:
    """Return why this very object belongs to a cluster, as `by_name` does; `obj` may lack its spec.

    Without `controlled` that a controller owns it is no reason: something that the federation made can get an
    owner in a cluster. That a node owns it is one in any case.
    """
    named = by_name(group, resource, namespace=namespace_of(obj), name=name_of(obj))
    return named or _carried(group, resource, obj) or _owned(obj, controlled=controlled)


@lru_cache(maxsize=1024)
def _prefixes(group: str, resource: str) -> tuple[str, ...]:
    """Return how the names of a resource begin that Kubernetes keeps for itself."""
    return tuple(prefix for which, prefix in _BOOTSTRAP_PREFIXES if _is(group, resource, which))


@lru_cache(maxsize=1024)
def _marks(group: str, resource: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the labels, with their values, that what the cluster itself made of a resource has."""
    return tuple((label, values) for which, label, values in _LABELS if _is(group, resource, which))


def _is(group: str, resource: str, which: tuple[str, str]) -> bool:
    return group == which[0] and which[1] in ("", resource)


def _owned(obj: Object, *, controlled: bool) -> str:
    for owner in sequence(mapping(obj, "metadata"), "ownerReferences"):
        kind, name = child(owner, "kind"), child(owner, "name")
        if kind == core.NODE.name and child(owner, "apiVersion") == "v1":
            return f"it is of the node {name}"
        if controlled and child(owner, "controller"):
            return made_for(f"{kind} {name}")
    return ""


def _carried(group: str, resource: str, obj: Object) -> str:
    labels, annotations = labels_of(obj), annotations_of(obj)
    for label, values in _marks(group, resource):
        if labels.get(label) in values:
            return f"the cluster itself made it ({label}={labels[label]})"
    for annotation, value in _KEPT_BY_API_SERVER.items():
        if group in (_RBAC, _FLOWS) and annotations.get(annotation) == value:
            return f"its API server keeps it as it is ({annotation})"
    if (group, resource) == core.ENDPOINTS.group_plural and _TRIGGER in annotations:
        return f"the cluster itself made it ({_TRIGGER})"
    if (group, resource) == core.PERSISTENT_VOLUME.group_plural and annotations.get(_PROVISIONED):
        return f"a provisioner of the cluster made it ({_PROVISIONED})"
    if (group, resource) == core.SECRET.group_plural:
        return _token(obj, annotations)
    if (group, resource) == extensions.API_SERVICE.group_plural:
        spec = obj.get("spec")
        return "the API server itself serves it" if isinstance(spec, dict) and not spec.get("service") else ""
    if (group, resource) == security.CERTIFICATE_SIGNING_REQUEST.group_plural:
        signer = child(obj, "spec", "signerName")
        return f"a node asks for it ({signer})" if str(signer) in _KUBELET_SIGNERS else ""
    return ""


def _token(obj: Object, annotations: dict[str, str]) -> str:
    """Return the Secrets that clusters before Kubernetes 1.24 made for each ServiceAccount."""
    account = str(annotations.get(_ACCOUNT) or "")
    if not account or obj.get("type", _TOKEN_TYPE) != _TOKEN_TYPE:
        return ""
    name = name_of(obj)
    made = name.startswith(account) and bool(_TOKEN_SUFFIX.fullmatch(name[len(account) :]))
    if made and (account == "default" or annotations.get(_ACCOUNT_UID)):
        return f"the cluster itself made it for the ServiceAccount {account}"
    return ""
