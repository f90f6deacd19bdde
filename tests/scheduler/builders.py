"""Small makers of what the scheduler's tests need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from hanse_scheduler.decide.clusters import ClusterTable, ClusterTaint, MemberCluster
from hanse_scheduler.decide.decision import PlacementDecision, decide
from hanse_scheduler.decide.inputs import AppliedReadiness, DecisionInput, Observed, Rules
from hanse_scheduler.decide.policies import compile_override, compile_placement
from hanse_scheduler.handshake.previous import PreviousPlacement

from hanse.api.registry.v1.cluster_pb2 import OFFLINE, READY
from hanse.api.scheduler.v1.placement_pb2 import Placement
from hanse.kube.model.objects import Object
from hanse.store.keys import ObjectKey
from tests.support.federation.records import NOW as NOW

WEB = ObjectKey("apps", "deployments", "shop", "web")
CONFIG = ObjectKey("", "configmaps", "shop", "settings")
SELECTOR = "federation.alpha.kubernetes.io/cluster-selector"
PREFERENCES = "federation.kubernetes.io/deployment-preferences"


def view(name: str, **fields: Any) -> MemberCluster:
    """A ready cluster, or whatever fields say."""
    fields.setdefault("labels", {"hanse.dev/cluster": name})
    fields.setdefault("ready", fields.get("state", READY) == READY)
    fields.setdefault("reachable", fields["ready"])
    return MemberCluster(name=name, **fields)


def offline(name: str, since: float = NOW) -> MemberCluster:
    """A cluster that is out of reach."""
    return view(name, state=OFFLINE, since=since)


def table(*views: MemberCluster | str) -> ClusterTable:
    """A table of clusters; names stand for ready ones."""
    return ClusterTable.of(view(item) if isinstance(item, str) else item for item in views)


def deployment(replicas: int = 9, *, uid: str = "u1", **annotations: str) -> Object:
    """The Deployment shop/web."""
    return workload("apps/v1", "Deployment", {"replicas": replicas}, uid=uid, annotations=annotations)


def workload(
    api_version: str,
    kind: str,
    spec: Mapping[str, Any],
    *,
    uid: str = "u1",
    name: str = "web",
    annotations: Mapping[str, str] | None = None,
) -> Object:
    """An object in namespace shop with a spec."""
    metadata: Object = {
        "name": name,
        "namespace": "shop",
        "uid": uid,
        "generation": 1,
        "labels": {"app": "web"},
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": dict(spec)}


def config(*, uid: str = "u1", annotations: Mapping[str, str] | None = None) -> Object:
    """The ConfigMap shop/settings."""
    metadata: Object = {"name": "settings", "namespace": "shop", "uid": uid}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": "v"}}


def selector(*requirements: Mapping[str, Any]) -> dict[str, str]:
    """The annotation with these requirements."""
    return {SELECTOR: orjson.dumps(requirements).decode()}


def policy_object(kind: str = "ClusterPlacementPolicy", name: str = "p", **spec: Any) -> Object:
    """A policy about Deployments and ConfigMaps, unless `resourceSelectors` say otherwise."""
    spec.setdefault(
        "resourceSelectors",
        [{"apiVersion": "apps/v1", "kind": "Deployment"}, {"apiVersion": "v1", "kind": "ConfigMap"}],
    )
    metadata: Object = {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    if not kind.startswith("Cluster"):
        metadata["namespace"] = "shop"
    return {"apiVersion": "hanse.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def run(
    obj: Object,
    clusters: ClusterTable,
    *,
    key: ObjectKey | None = None,
    previous: PlacementDecision | Placement | None = None,
    observed: Mapping[str, Observed] | None = None,
    policy: Object | None = None,
    overrides: Iterable[Object] = (),
    now: float = NOW,
    rules: Rules | None = None,
    **more: Any,
) -> PlacementDecision:
    """Decide about an object."""
    before = previous.placement if isinstance(previous, PlacementDecision) else previous
    keys = {"Deployment": WEB, "ConfigMap": CONFIG}
    inputs = DecisionInput(
        key=key or keys[str(obj["kind"])],
        obj=obj,
        table=clusters,
        previous=PreviousPlacement(before, 10) if before is not None else PreviousPlacement(),
        observed=observed or {},
        policy=compile_placement(policy) if policy else None,
        overrides=[compile_override(item) for item in overrides],
        **more,
    )
    return decide(inputs, rules=rules or Rules(), now=now, explain=True)


def placed(decision: PlacementDecision) -> dict[str, int | None]:
    """Where a decision places the object, with replicas, leaving out what is suspended."""
    assert decision.placement is not None
    return {
        item.cluster: item.replicas if item.HasField("replicas") else None
        for item in decision.placement.clusters
        if not item.suspended
    }


def suspended(decision: PlacementDecision) -> set[str]:
    """Which clusters are suspended."""
    assert decision.placement is not None
    return {item.cluster for item in decision.placement.clusters if item.suspended}


def releasing(decision: PlacementDecision) -> list[str]:
    """Which clusters the object must leave."""
    assert decision.placement is not None
    return [item.cluster for item in decision.placement.releasing]


def refused(decision: PlacementDecision) -> dict[str, str]:
    """Reasons of refusals by cluster."""
    assert decision.placement is not None
    return {item.cluster: item.reason for item in decision.placement.refused}


def leaving(decision: PlacementDecision) -> dict[str, int | None]:
    """Which clusters keep something of an object that moves away from them, with replicas."""
    assert decision.placement is not None
    return {
        item.cluster: item.replicas if item.HasField("replicas") else None
        for item in decision.placement.clusters
        if item.leaving
    }


def ready(replicas: int | None = None, *, generation: int = 1, revision: int = 20, **more: Any) -> Observed:
    """What is applied, healthy, and ready with so many replicas."""
    return Observed(
        replicas=replicas,
        readiness=AppliedReadiness(
            uid="u1", generation=generation, placement_revision=revision, replicas=replicas, healthy=True
        ),
        **more,
    )


def taint(key: str, *, execute: bool = False, added: float = NOW) -> ClusterTaint:
    """A taint without value."""
    return ClusterTaint(key=key, execute=execute, added=added)
