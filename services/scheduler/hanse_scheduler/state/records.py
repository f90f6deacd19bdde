"""How the scheduler reads what is stored: one decoder for each prefix that it follows.

Owns the values that the collections keep. They are small on purpose: of an object only what decisions depend
on, of a sync state three numbers, so that ten thousand objects in a hundred clusters fit into little memory,
and changes that mean nothing to a decision can be told apart at once. Each stored value is parsed once.

Pure. Next: `hanse_scheduler.state.scheduler_state`, which indexes them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import orjson

from hanse.api.syncer.v1 import sync_state_pb2 as sync
from hanse.api.syncer.v1.sync_state_pb2 import SyncState
from hanse.federation import belongings, records
from hanse.federation.belongings import ControllingOwner
from hanse.federation.confirmation import confirmation_of
from hanse.federation.propagation import followed_service, lists_no_pods, object_propagates, placeable
from hanse.federation.tracing import traceparent_of
from hanse.kube.engine import unreadable
from hanse.kube.kinds.kubernetes import core
from hanse.kube.model.objects import Object, child, mapping, sequence
from hanse.security import envelope
from hanse.store import KeyValue
from hanse.store.keys import ObjectKey
from hanse.well_known import CLUSTER_SELECTOR, GROUP
from hanse_scheduler.decide.clusters import MemberCluster, ServedKinds, served_by, view_of
from hanse_scheduler.decide.inputs import AppliedReadiness, Observed
from hanse_scheduler.decide.policies import (
    OVERRIDE_RESOURCES,
    PLACEMENT_RESOURCES,
    OverridePolicy,
    PlacementPolicy,
    compile_override,
    compile_placement,
)
from hanse_scheduler.decide.workloads import INDEX_RULES, WORKLOADS
from hanse_scheduler.times import seconds_of

_SPEC_FIELDS: Final = (
    "replicas", "parallelism", "completions", "completionMode", "ttlSecondsAfterFinished", "updateStrategy",
    "ordinals", *INDEX_RULES,
)  # fmt: skip
_METADATA_FIELDS: Final = ("name", "namespace", "uid", "generation", "labels", "deletionTimestamp")
_ANNOTATIONS: Final = (CLUSTER_SELECTOR, *(kind.annotation for kind in WORKLOADS.values() if kind.annotation))


_REFUSED: Final = frozenset({sync.FAILED, sync.CONFLICT, sync.WAITING})
"""Phases in which a cluster that answers does not have what it was given."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Stands for a value that the scheduler has no use for."""


IGNORED: Final = Ignored()


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """What decisions depend on of a stored object: `reduced` is the object without everything else.

    Equal records lead to equal decisions, unless override policies look at the whole object.
    """

    reduced: Object
    propagates: bool
    belongs: str = ""
    """Why it belongs to each cluster itself; empty if it does not, or that depends on its owner."""
    owner: ControllingOwner | None = None
    """What it is made for, if that may be in the federation only."""
    follows: str = ""
    """Path of the Service whose endpoints it lists; empty if it is none of one."""
    lists_no_pods: bool = False
    """Of a Service: whether its endpoints follow it."""
    traceparent: str = field(default="", compare=False)

    @property
    def kind(self) -> str:
        """Return the object's kind."""
        return str(self.reduced.get("kind", ""))


FederatedObject: TypeAlias = ObjectRecord | PlacementPolicy | OverridePolicy | Ignored


def decode_object(kv: KeyValue) -> FederatedObject:
    """Return what is kept of an object or a policy. Raises ValueError or a HanseError."""
    key, value = ObjectKey.parse(kv.key), kv.value
    policies = key.group == GROUP and key.resource in (*PLACEMENT_RESOURCES, *OVERRIDE_RESOURCES)
    if not policies and not placeable(key.group, key.resource):
        return IGNORED
    obj, why = unreadable.decode(key, envelope.shown(value))
    if not policies:
        if why:
            raise ValueError(why)
        return record_of(obj, key=key)
    compiled = compile_placement if key.resource in PLACEMENT_RESOURCES else compile_override
    return compiled(_selecting(obj, value, why) if why else obj, fault=why)


def decode_observed(kv: KeyValue) -> Observed:
    """Return what decisions depend on of a sync state. Raises ValueError or a HanseError."""
    return observed_of(records.decode_sync_state(kv))


def decode_member_cluster(kv: KeyValue) -> MemberCluster:
    """Return what decisions depend on of a cluster. Raises ValueError or a HanseError."""
    return view_of(records.decode_cluster(kv))


def decode_served(kv: KeyValue) -> ServedKinds:
    """Return which kinds a cluster serves. Raises ValueError or a HanseError."""
    return served_by(records.decode_catalogue(kv))


def observed_of(state: SyncState) -> Observed:
    """Return what a sync state says that decisions depend on."""
    refused = state.phase in _REFUSED
    return Observed(
        confirmation=confirmation_of(state),
        replicas=state.replicas if state.HasField("replicas") else None,
        unschedulable=state.unschedulable_pods,
        run=state.run if state.HasField("run") else None,
        uid=sys.intern(state.object.uid) if state.HasField("run") else "",
        readiness=_readiness(state),
        refusal=sys.intern(state.reason or "Refused") if refused else "",
        refused_since=seconds_of(state.transition_time) if refused else 0.0,
        refused_pods=state.refused_pods,
        refused_pods_since=seconds_of(state.refused_pods_time) if state.refused_pods else 0.0,
    )


def _readiness(state: SyncState) -> AppliedReadiness | None:
    """Return how ready the object is, as far as what is wanted was applied."""
    if state.phase != sync.APPLIED:
        return None
    return AppliedReadiness(
        uid=sys.intern(state.object.uid),
        generation=state.applied_generation,
        placement_revision=state.placement_revision,
        replicas=state.ready_replicas if state.HasField("ready_replicas") else None,
        healthy=state.health == sync.HEALTHY,
    )


def record_of(obj: Object, *, key: ObjectKey) -> ObjectRecord:
    """Return the record of a whole object."""
    metadata: Mapping[str, Any] = obj.get("metadata") or {}
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    reduced_metadata: Object = {name: metadata[name] for name in _METADATA_FIELDS if metadata.get(name)}
    said = {name: annotations[name] for name in _ANNOTATIONS if name in annotations}
    if said:
        reduced_metadata["annotations"] = said
    reduced: Object = {
        "apiVersion": obj.get("apiVersion", ""),
        "kind": obj.get("kind", ""),
        "metadata": reduced_metadata,
    }
    if (key.group, key.resource) in WORKLOADS:
        spec: Mapping[str, Any] = mapping(obj, "spec")
        reduced["spec"] = {name: spec[name] for name in _SPEC_FIELDS if name in spec}
    propagates = object_propagates(key.group, key.resource, obj)
    owner = belongings.operators_owner(obj)
    belongs = "" if propagates else belongings.of(key.group, key.resource, obj, controlled=owner is None)
    service = "" if belongs else followed_service(key.group, key.resource, obj)
    return ObjectRecord(
        reduced=reduced,
        propagates=propagates,
        belongs=belongs,
        owner=owner,
        follows=ObjectKey(*core.SERVICE.group_plural, key.namespace, service).path() if service else "",
        lists_no_pods=(key.group, key.resource) == core.SERVICE.group_plural and lists_no_pods(obj),
        traceparent=traceparent_of(obj),
    )


def _selecting(shown: Object, value: bytes, why: str) -> Object:
    """Return a policy that cannot be used as far as it says which objects it is about. Raises ValueError."""
    found = orjson.loads(value)
    if not sequence(found, "spec", "resourceSelectors"):
        raise ValueError(why)
    return {**shown, "kind": child(found, "kind"), "spec": found["spec"]}
