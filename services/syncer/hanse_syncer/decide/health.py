"""How a member's object is: the rules of health, and of a workload that lags.

Owns the rules. They follow what `kubectl rollout status` and kstatus (sigs.k8s.io/cli-utils) say. Pure
functions over spec, status and metadata as the member serves them, whatever their shape: what is not of the
type that a rule reads counts as not said.

Next: `hanse_syncer.decide.kinds`, which says which rule is for which kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hanse.api.syncer.v1.sync_state_pb2 import DEGRADED, HEALTHY, PROGRESSING, Health
from hanse.kube.model.objects import Object
from hanse.kube.model.untrusted import count, generation, mapping, mappings

HealthRule = Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], "Health.ValueType"]
"""Returns the health for spec, status and metadata."""
LagRule = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]
"""Reports for spec and status whether fewer Pods are ready than are wanted: some may be unschedulable."""
RefusedRule = Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], int]
"""Returns for spec, status and metadata how many Pods the member refuses to create."""
ReadyRule = Callable[[Mapping[str, Any], Mapping[str, Any]], "int | None"]
"""Returns for status and metadata how many Pods of the wanted revision are ready; None if it does not say."""


def never(spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Report that what runs no Pods, or one on each node, does not lag."""
    return False


def replicas_lag(spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Return whether a workload with replicas lags."""
    return count(status.get("readyReplicas")) < count(spec.get("replicas"), 1)


def job_lags(spec: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Return whether a Job lags."""
    return not is_finished(status) and count(status.get("ready")) < count(status.get("active"))


def _condition(status: Mapping[str, Any], kind: str) -> Object:
    for condition in mappings(status.get("conditions")):
        if condition.get("type") == kind:
            return condition
    return {}


def _observed(status: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    return generation(status.get("observedGeneration")) >= generation(metadata.get("generation"))


def none_ready(status: Mapping[str, Any], metadata: Mapping[str, Any]) -> int | None:
    """Return None: the status of other kinds says nothing of ready Pods that could be moved one by one."""
    return None


def deployment_ready(status: Mapping[str, Any], metadata: Mapping[str, Any]) -> int | None:
    """Return how many Pods of a Deployment are available and updated for certain, as it counts both apart."""
    if not _observed(status, metadata):
        return None
    outdated = max(0, count(status.get("replicas")) - count(status.get("updatedReplicas")))
    return max(0, count(status.get("availableReplicas")) - outdated)


def replicas_ready(status: Mapping[str, Any], metadata: Mapping[str, Any]) -> int | None:
    """Return how many Pods of a ReplicaSet or ReplicationController are available."""
    return count(status.get("availableReplicas")) if _observed(status, metadata) else None


def none_refused(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> int:
    """Return 0: the status of other kinds does not say that Pods are refused."""
    return 0


def refused_replicas(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> int:
    """Return how many Pods of a Deployment, ReplicaSet or ReplicationController cannot be created."""
    if not _observed(status, metadata) or _condition(status, "ReplicaFailure").get("status") != "True":
        return 0
    return max(0, count(spec.get("replicas"), 1) - count(status.get("replicas")))


def deployment(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    """Return the health of a Deployment."""
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


def stateful_set(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    """Return the health of a StatefulSet."""
    wanted = count(spec.get("replicas"), 1)
    if not _observed(status, metadata) or count(status.get("readyReplicas")) < wanted:
        return PROGRESSING
    rolling = mapping(mapping(spec.get("updateStrategy")).get("rollingUpdate"))
    partition = count(rolling.get("partition"))
    if not _rolls(spec):
        return HEALTHY
    if count(status.get("updatedReplicas"), wanted) < wanted - partition:
        return PROGRESSING
    return HEALTHY


def _rolls(spec: Mapping[str, Any]) -> bool:
    """Return whether Pods are replaced by themselves: not so with OnDelete."""
    return mapping(spec.get("updateStrategy")).get("type") != "OnDelete"


def replica_set(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    """Return the health of a ReplicaSet or ReplicationController."""
    if not _observed(status, metadata):
        return PROGRESSING
    if _condition(status, "ReplicaFailure").get("status") == "True":
        return DEGRADED
    return (
        HEALTHY if count(status.get("availableReplicas")) >= count(spec.get("replicas"), 1) else PROGRESSING
    )


def daemon_set(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    """Return the health of a DaemonSet."""
    wanted = count(status.get("desiredNumberScheduled"))
    done = (
        _observed(status, metadata)
        and (not _rolls(spec) or count(status.get("updatedNumberScheduled")) >= wanted)
        and count(status.get("numberAvailable")) >= wanted
    )
    return HEALTHY if done else PROGRESSING


def job(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> Health.ValueType:
    """Return the health of a Job."""
    if _condition(status, "Failed").get("status") == "True":
        return DEGRADED
    if _condition(status, "Complete").get("status") == "True" or spec.get("suspend"):
        return HEALTHY
    return PROGRESSING


def service(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    """Return the health of a Service: one of type LoadBalancer needs an address."""
    if spec.get("type") != "LoadBalancer":
        return HEALTHY
    return HEALTHY if mapping(status.get("loadBalancer")).get("ingress") else PROGRESSING


def claim(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    """Return the health of a PersistentVolumeClaim."""
    phase = status.get("phase")
    return HEALTHY if phase == "Bound" else DEGRADED if phase == "Lost" else PROGRESSING


def pod(spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]) -> Health.ValueType:
    """Return the health of a Pod."""
    if status.get("phase") == "Failed":
        return DEGRADED
    if status.get("phase") == "Succeeded" or _condition(status, "Ready").get("status") == "True":
        return HEALTHY
    return PROGRESSING


def definition(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    """Return the health of a CustomResourceDefinition."""
    if _condition(status, "NamesAccepted").get("status") == "False":
        return DEGRADED
    return HEALTHY if _condition(status, "Established").get("status") == "True" else PROGRESSING


def always(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    """Return that it is healthy: of kinds whose status says nothing of that."""
    return HEALTHY


def by_conditions(
    spec: Mapping[str, Any], status: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Health.ValueType:
    """Return the health of kinds without a rule: their Ready or Available condition, if any (kstatus)."""
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


def is_finished(status: Mapping[str, Any]) -> bool:
    """Return whether the status of a Job says that it has completed or failed."""
    return any(_condition(status, kind).get("status") == "True" for kind in ("Complete", "Failed"))
