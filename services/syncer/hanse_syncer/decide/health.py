"""How a member's object is: its health by the rules of its kind, and its replicas.

Owns the rules. They follow what `kubectl rollout status` and kstatus (sigs.k8s.io/cli-utils) say. Pure
functions over the object as the member serves it, whatever its shape: what is not of the type that a rule
reads counts as not said.

Next: `hanse_syncer.report.transitions`, which writes the answers into sync states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from hanse.api.syncer.v1.sync_state_pb2 import DEGRADED, HEALTHY, PROGRESSING, Health
from hanse.kube.model.objects import Object
from hanse.kube.model.untrusted import count, generation, mapping, mappings

STATELESS_KINDS: Final = frozenset(
    {
        ("", "configmaps"),
        ("", "secrets"),
        ("", "serviceaccounts"),
        ("", "limitranges"),
        ("", "podtemplates"),
        ("", "endpoints"),
        ("discovery.k8s.io", "endpointslices"),
        ("scheduling.k8s.io", "priorityclasses"),
        ("storage.k8s.io", "storageclasses"),
        ("networking.k8s.io", "ingressclasses"),
        ("networking.k8s.io", "networkpolicies"),
        ("node.k8s.io", "runtimeclasses"),
        ("rbac.authorization.k8s.io", "roles"),
        ("rbac.authorization.k8s.io", "rolebindings"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
    }
)
"""(group, resource) of what has no status: there only metadata is watched."""


def health_of(obj: Mapping[str, Any]) -> Health.ValueType:
    """Return the health of a live object. An object that is being deleted is on its way."""
    metadata = mapping(obj.get("metadata"))
    if metadata.get("deletionTimestamp"):
        return PROGRESSING
    group, slash, _ = str(obj.get("apiVersion") or "").partition("/")
    rule = _RULES.get((group if slash else "", str(obj.get("kind"))), _any)
    return rule(mapping(obj.get("spec")), mapping(obj.get("status")), metadata)


def desired_replicas(obj: Mapping[str, Any]) -> int | None:
    """Return how many pods the object asks for; None for what has no replicas."""
    spec = mapping(obj.get("spec"))
    kind = str(obj.get("kind"))
    if kind == "Job":
        return count(spec.get("parallelism"), 1)
    if kind in _SCALED:
        return count(spec.get("replicas"), 1)
    replicas = count(spec.get("replicas"), -1)
    return replicas if replicas >= 0 else None


def lags(obj: Mapping[str, Any]) -> bool:
    """Whether a workload has fewer ready pods than it wants, so that some may be unschedulable."""
    spec, status = mapping(obj.get("spec")), mapping(obj.get("status"))
    kind = str(obj.get("kind"))
    if kind in _SCALED:
        return count(status.get("readyReplicas")) < count(spec.get("replicas"), 1)
    if kind == "Job" and not _finished(status):
        return count(status.get("ready")) < count(status.get("active"))
    return False


def finished_job(obj: Mapping[str, Any]) -> bool:
    """Whether the object is a Job that has completed or failed."""
    return obj.get("kind") == "Job" and _finished(mapping(obj.get("status")))


_SCALED: Final = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "ReplicationController"})

_Rule = Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], "Health.ValueType"]


def _condition(status: Mapping[str, Any], kind: str) -> Object:
    for condition in mappings(status.get("conditions")):
        if condition.get("type") == kind:
            return condition
    return {}


def _observed(status: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    return generation(status.get("observedGeneration")) >= generation(metadata.get("generation"))


def _deployment(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    if not _observed(status, metadata):
        return PROGRESSING
    if _condition(status, "Progressing").get("reason") == "ProgressDeadlineExceeded":
        return DEGRADED
    if _condition(status, "ReplicaFailure").get("status") == "True":
        return DEGRADED
    wanted = count(spec.get("replicas"), 1)
    done = (
        count(status.get("updatedReplicas")) >= wanted
        and count(status.get("replicas")) <= count(status.get("updatedReplicas"))
        and count(status.get("availableReplicas")) >= wanted
    )
    return HEALTHY if done else PROGRESSING


def _stateful_set(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    wanted = count(spec.get("replicas"), 1)
    if not _observed(status, metadata) or count(status.get("readyReplicas")) < wanted:
        return PROGRESSING
    rolling = mapping(mapping(spec.get("updateStrategy")).get("rollingUpdate"))
    partition = count(rolling.get("partition"))
    if count(status.get("updatedReplicas"), wanted) < wanted - partition:
        return PROGRESSING
    return HEALTHY


def _replica_set(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    if not _observed(status, metadata):
        return PROGRESSING
    if _condition(status, "ReplicaFailure").get("status") == "True":
        return DEGRADED
    return (
        HEALTHY if count(status.get("availableReplicas")) >= count(spec.get("replicas"), 1) else PROGRESSING
    )


def _daemon_set(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    wanted = count(status.get("desiredNumberScheduled"))
    done = (
        _observed(status, metadata)
        and count(status.get("updatedNumberScheduled")) >= wanted
        and count(status.get("numberAvailable")) >= wanted
    )
    return HEALTHY if done else PROGRESSING


def _job(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> Health.ValueType:
    if _condition(status, "Failed").get("status") == "True":
        return DEGRADED
    if _condition(status, "Complete").get("status") == "True" or spec.get("suspend"):
        return HEALTHY
    return PROGRESSING


def _service(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    if spec.get("type") != "LoadBalancer":
        return HEALTHY
    return HEALTHY if mapping(status.get("loadBalancer")).get("ingress") else PROGRESSING


def _claim(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    phase = status.get("phase")
    return HEALTHY if phase == "Bound" else DEGRADED if phase == "Lost" else PROGRESSING


def _pod(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> Health.ValueType:
    if status.get("phase") == "Failed":
        return DEGRADED
    if status.get("phase") == "Succeeded" or _condition(status, "Ready").get("status") == "True":
        return HEALTHY
    return PROGRESSING


def _crd(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> Health.ValueType:
    if _condition(status, "NamesAccepted").get("status") == "False":
        return DEGRADED
    return HEALTHY if _condition(status, "Established").get("status") == "True" else PROGRESSING


def _healthy(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    return HEALTHY


def _any(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> Health.ValueType:
    """Kinds without a rule: their Ready or Available condition where they have one (kstatus)."""
    if "observedGeneration" in status and not _observed(status, metadata):
        return PROGRESSING
    if _condition(status, "Stalled").get("status") == "True":
        return DEGRADED
    if _condition(status, "Reconciling").get("status") == "True":
        return PROGRESSING
    for kind in ("Ready", "Available"):
        state = _condition(status, kind).get("status")
        if state is not None:
            return HEALTHY if state == "True" else PROGRESSING if state == "Unknown" else DEGRADED
    return HEALTHY


def _finished(status: Mapping[str, Any]) -> bool:
    return any(_condition(status, kind).get("status") == "True" for kind in ("Complete", "Failed"))


_RULES: Final[Mapping[tuple[str, str], _Rule]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("", "ReplicationController"): _replica_set,
    ("batch", "Job"): _job,
    ("", "Service"): _service,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Pod"): _pod,
    ("", "Namespace"): _healthy,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _crd,
    ("policy", "PodDisruptionBudget"): _healthy,
    ("autoscaling", "HorizontalPodAutoscaler"): _healthy,
}
