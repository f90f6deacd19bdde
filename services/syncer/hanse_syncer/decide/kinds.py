"""What the syncer knows of each kind: health, what each member decides itself, which objects have no status.

Owns the table, and its lookups: by what an object carries, and by what its key says. Pure. Next:
`hanse_syncer.decide.health` and `hanse_syncer.decide.retained` for the rules in the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hanse.api.syncer.v1.sync_state_pb2 import PROGRESSING, Health
from hanse.kube.kinds.kind import Kind, group_kind_of
from hanse.kube.kinds.kubernetes import (
    apps,
    autoscaling,
    batch,
    core,
    extensions,
    networking,
    scheduling,
    security,
    storage,
)
from hanse.kube.model.objects import Object, is_deleting
from hanse.kube.model.objects import mapping as mapping_at
from hanse.kube.model.untrusted import count, mapping
from hanse_syncer.decide import health, retained
from hanse_syncer.decide.health import (
    HealthRule,
    LagRule,
    ReadyRule,
    RefusedRule,
    by_conditions,
    never,
    none_ready,
    none_refused,
    refused_replicas,
)


def _as_it_is(obj: Object) -> Object:
    return obj


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRules:
    """What the syncer knows of a kind.

    `strip` returns an object without what each member decides itself. Of a `stateless` kind nothing but
    metadata is watched. `lags` says whether Pods of it may be unschedulable, `ready` how many are ready, and
    `refused` how many the member does not let come into being. `retained` are paths that the member's
    controllers write: their ownership is never taken over. `withheld` are paths that the federation acts on
    itself: members get them from override policies alone.
    """

    health: HealthRule = by_conditions
    strip: Callable[[Object], Object] = _as_it_is
    lags: LagRule = never
    ready: ReadyRule = none_ready
    refused: RefusedRule = none_refused
    stateless: bool = False
    retained: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()


_STATELESS: Final = SyncRules(stateless=True)
_OTHER: Final = SyncRules()

RULES: Final[Mapping[Kind, SyncRules]] = {
    apps.DAEMON_SET: SyncRules(health=health.daemon_set),
    apps.DEPLOYMENT: SyncRules(
        health=health.deployment,
        lags=health.replicas_lag,
        ready=health.deployment_ready,
        refused=refused_replicas,
    ),
    apps.REPLICA_SET: SyncRules(
        health=health.replica_set,
        lags=health.replicas_lag,
        ready=health.replicas_ready,
        refused=refused_replicas,
    ),
    apps.STATEFUL_SET: SyncRules(health=health.stateful_set, lags=health.replicas_lag),
    autoscaling.HORIZONTAL_POD_AUTOSCALER: SyncRules(health=health.always),
    autoscaling.POD_DISRUPTION_BUDGET: SyncRules(health=health.always),
    batch.JOB: SyncRules(
        health=health.job,
        strip=retained.job,
        lags=health.job_lags,
        retained=retained.JOB,
        withheld=retained.JOB_WITHHELD,
    ),
    core.CONFIG_MAP: _STATELESS,
    core.ENDPOINTS: _STATELESS,
    core.LIMIT_RANGE: _STATELESS,
    core.NAMESPACE: SyncRules(health=health.always, strip=retained.namespace, retained=retained.NAMESPACE),
    core.PERSISTENT_VOLUME: SyncRules(retained=retained.VOLUME),
    core.PERSISTENT_VOLUME_CLAIM: SyncRules(health=health.claim, retained=retained.CLAIM),
    core.POD: SyncRules(health=health.pod),
    core.POD_TEMPLATE: _STATELESS,
    core.REPLICATION_CONTROLLER: SyncRules(
        health=health.replica_set, lags=health.replicas_lag, refused=refused_replicas
    ),
    core.SECRET: _STATELESS,
    core.SERVICE: SyncRules(health=health.service, retained=retained.SERVICE),
    core.SERVICE_ACCOUNT: SyncRules(retained=retained.SERVICE_ACCOUNT, stateless=True),
    extensions.API_SERVICE: SyncRules(strip=retained.api_service, retained=retained.API_SERVICE),
    extensions.CUSTOM_RESOURCE_DEFINITION: SyncRules(
        health=health.definition, strip=retained.definition, retained=retained.DEFINITION
    ),
    extensions.MUTATING_WEBHOOK_CONFIGURATION: SyncRules(strip=retained.webhooks, retained=retained.WEBHOOKS),
    extensions.VALIDATING_WEBHOOK_CONFIGURATION: SyncRules(
        strip=retained.webhooks, retained=retained.WEBHOOKS
    ),
    networking.ENDPOINT_SLICE: _STATELESS,
    networking.INGRESS_CLASS: _STATELESS,
    networking.NETWORK_POLICY: _STATELESS,
    scheduling.PRIORITY_CLASS: _STATELESS,
    scheduling.RUNTIME_CLASS: _STATELESS,
    security.CLUSTER_ROLE: _STATELESS,
    security.CLUSTER_ROLE_BINDING: _STATELESS,
    security.ROLE: _STATELESS,
    security.ROLE_BINDING: _STATELESS,
    storage.STORAGE_CLASS: _STATELESS,
}
"""Of kinds that are not here the conditions are read, and nothing is left out."""

_BY_KIND: Final = {kind.group_kind: (kind, rules) for kind, rules in RULES.items()}
_STATELESS_RESOURCES: Final = frozenset(kind.group_plural for kind, rules in RULES.items() if rules.stateless)


def _rules_of(obj: Mapping[str, Any]) -> SyncRules:
    found = _BY_KIND.get(group_kind_of(obj))
    return found[1] if found is not None else _OTHER


def is_stateless(group: str, resource: str) -> bool:
    """Return whether objects of a resource have no status: there only metadata is watched."""
    return (group, resource) in _STATELESS_RESOURCES


def health_of(obj: Mapping[str, Any]) -> Health.ValueType:
    """Return the health of a live object. An object that is being deleted is on its way."""
    metadata = mapping(obj.get("metadata"))
    if is_deleting(obj):
        return PROGRESSING
    return _rules_of(obj).health(mapping(obj.get("spec")), mapping(obj.get("status")), metadata)


def lags(obj: Mapping[str, Any]) -> bool:
    """Return whether a workload has fewer ready Pods than it wants, so that some may be unschedulable."""
    return _rules_of(obj).lags(mapping(obj.get("spec")), mapping(obj.get("status")))


def ready_replicas(obj: Mapping[str, Any]) -> int | None:
    """Return how many Pods of the wanted revision are ready; None where that is not known, or not counted."""
    return _rules_of(obj).ready(mapping(obj.get("status")), mapping(obj.get("metadata")))


def refused_pods(obj: Mapping[str, Any]) -> int:
    """Return how many Pods of a live object its member refuses to create."""
    rule = _rules_of(obj).refused
    return rule(mapping(obj.get("spec")), mapping(obj.get("status")), mapping(obj.get("metadata")))


def pod_count_field(obj: Mapping[str, Any]) -> str:
    """Return the field of the object's spec that says how many Pods run; that of most kinds where unknown."""
    found = _BY_KIND.get(group_kind_of(obj))
    return (found[0].pod_count if found is not None else "") or "replicas"


def desired_replicas(obj: Mapping[str, Any]) -> int | None:
    """Return how many Pods the object asks for; None for what has no replicas."""
    spec = mapping(obj.get("spec"))
    found = _BY_KIND.get(group_kind_of(obj))
    if found is not None and found[0].pod_count:
        return count(spec.get(found[0].pod_count), 1)
    replicas = count(spec.get("replicas"), -1)
    return replicas if replicas >= 0 else None


def without_members_own(obj: Object) -> Object:
    """Return `obj` without its status and without the fields that each member decides itself."""
    return _rules_of(obj).strip({key: value for key, value in obj.items() if key != "status"})


def without_withheld(obj: Object) -> Object:
    """Return `obj` without what the federation acts on itself."""
    for path in _rules_of(obj).withheld:
        obj = retained.without_path(obj, path)
    return obj


def withheld_of(obj: Object) -> Object:
    """Return what of `obj` the federation acts on itself, in its place: what a member gets when the object is
    left to it."""
    found: Object = {}
    for path in _rules_of(obj).withheld:
        *above, name = path.split(".")
        part = mapping_at(obj, *above)
        if name in part:
            place = found
            for step in above:
                place = place.setdefault(step, {})
            place[name] = part[name]
    return found


def authored(live: Object) -> Object:
    """Return what somebody may have written of a member's object: without what its controllers wrote."""
    kept = without_members_own(live)
    headless = core.SERVICE.matches(live) and mapping(live.get("spec")).get("clusterIP") == "None"
    for path in _rules_of(live).retained:
        if not (headless and path.startswith("spec.clusterIP")):
            kept = retained.without_path(kept, path)
    return kept


def without_write_only(obj: Object) -> Object:
    """Return `obj` with fields that can only be written turned into what is stored of them."""
    return retained.stored_secret(obj) if core.SECRET.matches(obj) else obj


def retained_paths(obj: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths of an object, such as `spec.ports[].nodePort`, that stay with the member whoever
    wrote them; what the manifest has of them is applied all the same."""
    return (*retained.ANNOTATION_PATHS, *_rules_of(obj).retained)
